// Which rows are shown: text, operator, module, result, origin, direction, suspects alone.

import { DIRECTIONS, operatorOf, type Calls } from "./calls";
import type { Block, Data } from "./data";
import { el } from "./dom";
import type { Side } from "./tree";
import { say } from "./words";

const PAUSE = 60; // milliseconds after the last key
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
  private timer = 0;

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
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.apply(), PAUSE);
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
    const byCall = this.callMask();
    const words = this.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const tests: ((row: number) => boolean)[] = [];
    if (byCall) tests.push((row) => byCall[this.calls.ofRow[row]] === 1);
    for (const [select, name] of [[this.result, "Result"], [this.origin, "Origin"]] as const) {
      if (!select.value) continue;
      const block = this.data.get(name);
      const code = block.cells.indexOf(select.value);
      tests.push((row) => block.codes[row] === code);
    }
    for (const word of words) tests.push(this.contains(word));
    if (!tests.length) return null;
    const found = new Uint8Array(this.data.rows);
    for (let row = 0; row < found.length; row++) {
      let passes = true;
      for (const test of tests) {
        if (!test(row)) {
          passes = false;
          break;
        }
      }
      if (passes) found[row] = 1;
    }
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

  // Whether a row has `word` in one of its names, its module or its message.
  private contains(word: string): (row: number) => boolean {
    const { data } = this;
    const single = data.head.names.flatMap((name) => (name === null ? [] : [data.get(name), data.get(name, 1)]));
    for (const name of ["Module", "Err_Message"]) if (data.has(name) && data.isLoaded(name)) single.push(data.get(name));
    const hits = single.map((block) => ({ codes: block.codes, hit: hitsOf(block, word) }));
    const tests = hits.filter(({ hit }) => hit.includes(1));
    const name = word.includes(".") ? [data.get(data.head.names[0]), data.get(data.head.names[0], 1)] : null;
    const calls = name?.[0].lower();
    const inner = name?.[1].lower();
    const tails = name ? inner!.map((argument) => tailOf(word, argument)) : null;
    return (row) => {
      for (const { codes, hit } of tests) if (hit[codes[row]]) return true;
      if (!name) return false;
      // The word may begin in the call's name and end in the argument's.
      return tails![name[1].codes[row]].some((head) => calls![name[0].codes[row]].endsWith(head));
    };
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
  return Uint8Array.from(block.lower(), (cell) => (cell.includes(word) ? 1 : 0));
}

// What must stand at the end of a call's name so that `word` runs on into the argument.
function tailOf(word: string, argument: string): string[] {
  const found: string[] = [];
  for (let dot = word.indexOf("."); dot >= 0; dot = word.indexOf(".", dot + 1)) {
    if (argument.startsWith(word.slice(dot + 1))) found.push(word.slice(0, dot));
  }
  return found;
}
