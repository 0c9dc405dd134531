// Which rows are shown: text, operator, module, result, origin, direction, suspects alone.

import { DIRECTIONS, operatorOf, type Calls } from "./calls";
import type { Block, Data } from "./data";
import { el } from "./dom";
import type { Side } from "./tree";
import { say } from "./words";

const OPERATORS = 400;

export class Filter {
  private readonly text = el("input", { type: "search", id: "search", placeholder: say("filter.text"), "aria-label": say("filter.text"), autocomplete: "off", spellcheck: "false" });
  private readonly operator: HTMLSelectElement;
  private readonly result: HTMLSelectElement;
  private readonly origin: HTMLSelectElement;
  private readonly direction: HTMLSelectElement;
  private readonly suspects = el("input", { type: "checkbox" });
  private readonly module = el("button", { type: "button", class: "chip", hidden: true });
  private path: string | null = null;
  private side: Side = "npu"; // whose module `path` is
  private waiting = 0;

  constructor(
    holder: HTMLElement,
    private readonly data: Data,
    private readonly calls: Calls,
    private readonly changed: (mask: Uint8Array | null) => void,
  ) {
    this.operator = this.choice("operator", this.operators());
    this.result = this.choice("result", distinct(data, "Result"));
    this.origin = this.choice("origin", distinct(data, "Origin"));
    this.direction = this.choice("direction", DIRECTIONS.filter((_, kind) => calls.direction.includes(kind)).map((name) => [name, say(`plot.${name}`)]));
    this.text.addEventListener("input", () => {
      cancelAnimationFrame(this.waiting); // several keys before a frame are one search
      this.waiting = requestAnimationFrame(() => this.apply());
    });
    this.suspects.addEventListener("change", () => this.apply());
    this.module.addEventListener("click", () => this.setModule(null));
    const reset = el("button", { type: "button" }, say("filter.reset"));
    reset.addEventListener("click", () => this.reset());
    const suspects = calls.suspect.some((kind) => kind > 0) ? el("label", { class: "check" }, this.suspects, say("filter.suspects")) : null;
    holder.append(this.text, this.operator, this.direction, this.result, this.origin, suspects ?? "", this.module, reset);
  }

  focus(): void {
    this.text.focus();
  }

  setModule(path: string | null, side: Side = "npu"): void {
    this.path = path;
    this.side = side;
    this.module.hidden = path === null;
    this.module.replaceChildren(say("filter.module", { module: path || say("tree.none") }), " ✕");
    this.module.setAttribute("aria-label", say("filter.remove", { module: path || say("tree.none") }));
    this.apply();
  }

  reset(): void {
    this.text.value = "";
    for (const select of [this.operator, this.result, this.origin, this.direction]) select.value = "";
    this.suspects.checked = false;
    this.setModule(null);
  }

  apply(): void {
    this.changed(this.mask());
  }

  // 1 for each row that passes; null where all do.
  private mask(): Uint8Array | null {
    const masks: Uint8Array[] = [];
    const byCall = this.callMask();
    if (byCall) masks.push(picked(this.calls.ofRow, byCall));
    for (const [select, name] of [[this.result, "Result"], [this.origin, "Origin"]] as const) {
      if (!select.value) continue;
      const block = this.data.get(name);
      masks.push(picked(block.codes, Uint8Array.from(block.cells, (cell) => (cell === select.value ? 1 : 0))));
    }
    for (const word of this.text.value.toLowerCase().split(/\s+/).filter(Boolean)) masks.push(this.containing(word));
    const found = masks.pop() ?? null;
    for (const mask of masks) for (let row = 0; row < mask.length; row++) found![row] &= mask[row];
    return found;
  }

  private callMask(): Uint8Array | null {
    const operator = this.operator.value;
    const direction = DIRECTIONS.indexOf(this.direction.value as (typeof DIRECTIONS)[number]);
    const { path } = this;
    if (!operator && direction < 0 && path === null && !this.suspects.checked) return null;
    const { names, suspect } = this.calls;
    const modules = this.side === "bench" ? this.calls.benchModules : this.calls.modules;
    const inside = `${path}.`;
    return Uint8Array.from(names, (name, call) => {
      if (operator && operatorOf(name) !== operator) return 0;
      if (direction >= 0 && this.calls.direction[call] !== direction) return 0;
      if (this.suspects.checked && !suspect[call]) return 0;
      return path === null || modules[call] === path || (path !== "" && modules[call].startsWith(inside)) ? 1 : 0;
    });
  }

  // The rows that have `word` in one of their names, their module or their message.
  private containing(word: string): Uint8Array {
    const { data } = this;
    const blocks = data.head.names.flatMap((name) => (name === null ? [] : [data.get(name), data.get(name, 1)]));
    for (const name of ["Module", "Err_Message"]) if (data.has(name) && data.isLoaded(name)) blocks.push(data.get(name));
    const found = new Uint8Array(data.rows);
    for (const block of blocks) {
      const hits = hitsOf(block, word);
      if (hits.includes(1)) picked(block.codes, hits, found);
    }
    if (word.includes(".")) this.across(word, found);
    return found;
  }

  // Marks the rows where `word` begins in the call's name and ends in the argument's.
  private across(word: string, found: Uint8Array): void {
    const [calls, inner] = [0, 1].map((part) => this.data.get(this.data.head.names[0], part));
    const [names, tails] = [calls.lower(), inner.lower().map((argument) => tailsOf(word, argument))];
    for (let row = 0; row < found.length; row++) {
      const heads = tails[inner.codes[row]];
      if (heads.length && !found[row] && heads.some((head) => names[calls.codes[row]].endsWith(head))) found[row] = 1;
    }
  }

  private operators(): [string, string][] {
    const counts = new Map<string, number>();
    for (const name of this.calls.names) {
      const operator = operatorOf(name);
      counts.set(operator, (counts.get(operator) ?? 0) + 1);
    }
    const ranked = [...counts].sort((a, b) => b[1] - a[1]).slice(0, OPERATORS);
    ranked.sort((a, b) => (a[0].toLowerCase() < b[0].toLowerCase() ? -1 : 1));
    return ranked.map(([name, number]) => [name, `${name} (${number.toLocaleString("en-US")})`]);
  }

  private choice(key: string, values: (readonly [string, string])[]): HTMLSelectElement {
    const options = values.map(([value, label]) => el("option", { value }, label));
    const select = el("select", { "aria-label": say(`filter.${key}`) }, el("option", { value: "" }, say(`filter.${key}`)), ...options);
    select.addEventListener("change", () => this.apply());
    if (!values.length) select.hidden = true;
    return select;
  }
}

function distinct(data: Data, name: string): [string, string][] {
  if (!data.has(name)) return [];
  return data.get(name).cells.filter((cell): cell is string => typeof cell === "string" && cell !== "").map((cell) => [cell, cell]);
}

function hitsOf(block: Block, word: string): Uint8Array {
  const cells = block.lower();
  const hits = new Uint8Array(cells.length);
  for (let cell = 0; cell < cells.length; cell++) if (cells[cell].includes(word)) hits[cell] = 1;
  return hits;
}

// Marks in `found` the rows whose cell is marked.
function picked(codes: Uint32Array, marked: Uint8Array, found = new Uint8Array(codes.length)): Uint8Array {
  for (let row = 0; row < codes.length; row++) found[row] |= marked[codes[row]];
  return found;
}

// What must stand at the end of a call's name so that `word` runs on into the argument.
function tailsOf(word: string, argument: string): string[] {
  const found: string[] = [];
  for (let dot = word.indexOf("."); dot >= 0; dot = word.indexOf(".", dot + 1)) {
    if (argument.startsWith(word.slice(dot + 1))) found.push(word.slice(0, dot));
  }
  return found;
}
