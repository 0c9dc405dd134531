// What is known of one call: its arguments, its stack, and the dataflow around it.

import type { Calls } from "./calls";
import { rowErrors } from "./calls";
import type { Cell, Data, Panel } from "./data";
import { el } from "./dom";
import { Flow } from "./flow";
import { isOfRuns } from "./links";
import { PanelView } from "./panels";
import { errorText, factorText, heat, quantity, shown } from "./format";
import { say } from "./words";

const ALWAYS = ["Dtype", "Tensor Shape", "Stack", "mean", "l2norm", "Value", "NPU Dtype", "Bench Dtype", "NPU Tensor Shape", "Bench Tensor Shape", "Err_Message", "NPU_Stack_Info"];
const DEEPEST = 5;
const RUNS = 1000; // steps and ranks that are listed

export interface DetailEvents {
  chosen: (call: number) => void;
  closed: () => void;
}

export class Detail {
  private readonly panel = el("div", { id: "detail", role: "dialog", "aria-labelledby": "detail-title", hidden: true, tabindex: -1 });
  private readonly flow: Flow;
  private errors: Float64Array | undefined;
  private depth = 2;
  private opener: Element | null = null;
  private views: PanelView[] = [];

  constructor(
    private readonly data: Data,
    private readonly calls: Calls,
    private readonly events: DetailEvents,
  ) {
    this.flow = new Flow(data, calls);
    document.body.append(this.panel);
    this.panel.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  close(): void {
    if (this.panel.hidden) return;
    this.panel.hidden = true;
    document.body.classList.remove("with-detail");
    if (this.opener instanceof HTMLElement) this.opener.focus({ preventScroll: true });
    this.events.closed();
  }

  // After the colours have changed.
  redraw(): void {
    for (const view of this.views) view.redraw();
  }

  async open(row: number): Promise<void> {
    await this.data.load([...ALWAYS, ...Flow.wants(this.data)]);
    if (this.panel.hidden) this.opener = document.activeElement;
    this.errors ??= rowErrors(this.data);
    const call = this.calls.ofRow[row];
    const close = el("button", { type: "button", class: "close", "aria-label": say("detail.close") }, "✕");
    close.addEventListener("click", () => this.close());
    const title = el("h2", { id: "detail-title" }, el("code", {}, this.calls.names[call]));
    const theirs = this.data.head.names[1];
    const other = theirs === null ? "" : String(this.data.get(theirs).at(this.calls.first[call]) ?? "");
    this.panel.replaceChildren(
      el("div", { class: "title" }, title, close),
      el("p", { class: "facts" }, ...this.facts(call, other)),
      ...(this.calls.places[call] ? this.acrossRuns(call) : this.arguments(call, row)),
    );
    this.panel.hidden = false;
    document.body.classList.add("with-detail");
    this.panel.querySelector(".many .chosen")?.scrollIntoView({ block: "nearest" });
    this.panel.scrollTop = 0;
    this.panel.focus({ preventScroll: true });
  }

  private facts(call: number, other: string): Node[] {
    const { modules, names, side, error, expected, excess } = this.calls;
    const made = this.calls.replayed.get(names[call]);
    const parts: (string | null)[] = [
      this.calls.places[call] || null,
      modules[call] ? say("detail.module", { module: modules[call] }) : null,
      side[call] === 1 ? say("tree.only_npu", { number: 1 }) : side[call] === 2 ? say("tree.only_bench", { number: 1 }) : null,
      other && other !== names[call] && side[call] === 0 ? say("detail.against", { call: other }) : null,
      Number.isNaN(error[call]) ? null : say("plot.tip.error", { error: quantity(error[call]) }),
      Number.isNaN(expected[call]) ? null : say("plot.tip.expected", { expected: quantity(expected[call]) }),
      this.calls.excessTold(excess[call]),
    ];
    const told: Node[] = parts.filter((part) => part !== null).map((part) => el("span", {}, part));
    if (made) told.push(el("span", { class: `replayed ${made.verdict}` }, say("replayed"), " ", el("b", {}, made.verdict), ": ", made.says));
    return told;
  }

  private table(call: number, chosen: number): HTMLElement {
    const { data } = this;
    const heads = ["argument", "type", "error", "expected", "excess", "origin"];
    const lines = [];
    const messages = new Set<string>();
    for (let row = this.calls.first[call]; row < this.calls.first[call + 1]; row++) {
      const error = this.errors![row];
      const message = data.has("Err_Message") ? data.get("Err_Message").at(row) : null;
      if (message) messages.add(`${this.calls.argumentOf(row)}: ${message}`);
      const cells = [
        el("a", { href: `#row=${row + 1}` }, this.calls.argumentOf(row) || "–"),
        this.both(row),
        errorText(error),
        plain(shown(data.has("Expected") ? data.get("Expected").at(row) : null, "error")),
        plain(shown(data.has("Excess") ? data.get("Excess").at(row) : null, "factor")),
        plain(shown(data.has("Origin") ? data.get("Origin").at(row) : null, "text")),
      ];
      const excess = data.has("Excess") ? data.get("Excess").at(row) : null;
      const warmth = `heat${heat(typeof excess === "number" ? excess : excess === "inf" ? Infinity : NaN)}`;
      lines.push(el("tr", row === chosen ? { class: "chosen", "aria-current": "true" } : {}, ...cells.map((cell, i) => el(i ? "td" : "th", i ? (i === 4 && excess !== null ? { class: warmth } : {}) : { scope: "row" }, cell))));
    }
    const head = el("tr", {}, ...heads.map((key) => el("th", { scope: "col" }, say(`detail.${key}`))));
    const table = el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines));
    const said = [...messages].slice(0, 8).map((message) => el("li", {}, message));
    return el("div", { class: "arguments" }, el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("detail.arguments") }, table), said.length ? el("ul", { class: "messages" }, ...said) : null);
  }

  private arguments(call: number, row: number): Node[] {
    return [
      this.data.isDump ? this.values(call, row) : this.table(call, row),
      ...this.panels(call, row),
      ...this.stack(call),
      el("h3", {}, say("flow.title")),
      this.picture(call),
    ];
  }

  private acrossRuns(call: number): Node[] {
    const picture = isOfRuns(this.data) ? [el("h3", {}, say("flow.title")), this.picture(call)] : [];
    return [this.runs(call), ...picture];
  }

  // The same call in every step and rank.
  private runs(call: number): HTMLElement {
    const { names, places, error, expected, excess, first } = this.calls;
    const lines = names.flatMap((name, other) => {
      if (name !== names[call]) return [];
      const warmth = Number.isNaN(excess[other]) ? {} : { class: `heat${heat(excess[other])}` };
      const cells = [
        el("th", { scope: "row" }, el("a", { href: `#row=${first[other] + 1}` }, places[other])),
        el("td", {}, errorText(error[other])),
        el("td", {}, errorText(expected[other])),
        el("td", warmth, Number.isNaN(excess[other]) ? "–" : factorText(excess[other])),
      ];
      return [el("tr", other === call ? { class: "chosen", "aria-current": "true" } : {}, ...cells)];
    });
    const heads = ["run", "error", "expected", "excess"].map((key) => el("th", { scope: "col" }, say(`detail.${key}`)));
    const table = el("table", { class: "of-runs" }, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...lines.slice(0, RUNS)));
    return el("div", {}, el("h3", {}, say("detail.runs")), el("div", { class: "scroll many", tabindex: 0, role: "region", "aria-label": say("detail.runs") }, table));
  }

  // The arguments of a call of one dump, with what was measured of each.
  private values(call: number, chosen: number): HTMLElement {
    const { data } = this;
    const heads = ["max", "min", "mean", "l2norm", "NaN", "Inf"];
    const lines = [];
    for (let row = this.calls.first[call]; row < this.calls.first[call + 1]; row++) {
      const cell = (name: string): Cell => (data.has(name) ? data.get(name).at(row) : null);
      const type = [cell("Dtype"), cell("Tensor Shape")].filter((each) => each !== null).join(" ").replace("torch.", "");
      const numbers = heads.map((name) => {
        const value = cell(name);
        const broken = (name === "NaN" || name === "Inf") && Number(value) > 0;
        return el("td", broken ? { class: "heat6" } : {}, typeof value === "number" ? quantity(value) : value === null ? "–" : String(value));
      });
      lines.push(
        el(
          "tr",
          row === chosen ? { class: "chosen", "aria-current": "true" } : {},
          el("th", { scope: "row" }, el("a", { href: `#row=${row + 1}` }, this.calls.argumentOf(row) || "–")),
          el("td", {}, type || "–"),
          ...numbers,
          el("td", {}, plain(shown(cell("Value"), "text"))),
        ),
      );
    }
    const names = ["argument", "type", ...heads, "value"];
    const head = el("tr", {}, ...names.map((key) => el("th", { scope: "col" }, say(`detail.${key}`))));
    const table = el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines));
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("detail.arguments") }, table);
  }

  // dtype and shape, of both sides where they are not alike.
  private both(row: number): string {
    const of = (side: string): string => {
      const cells = [`${side} Dtype`, `${side} Tensor Shape`].map((name) => (this.data.has(name) ? this.data.get(name).at(row) : null));
      return cells.filter((cell) => cell !== null).join(" ").replace("torch.", "");
    };
    const [ours, theirs] = [of("NPU"), of("Bench")];
    if (!ours || !theirs) return ours || theirs || "–";
    return ours === theirs ? ours : `${ours} | ${theirs}`;
  }

  // The elements of the call's tensors, where the page has them; those of the chosen row, or else of the first, are open.
  private panels(call: number, chosen: number): Node[] {
    this.views = [];
    const found: [number, Panel][] = [];
    for (let row = this.calls.first[call]; row < this.calls.first[call + 1]; row++) {
      const name = this.data.text(this.data.head.names[0], row);
      const panel = this.data.head.panels.find((each) => each.name === name);
      if (panel) found.push([row, panel]);
    }
    if (!found.length) return [];
    const open = found.find(([row]) => row === chosen) ?? found[found.length - 1];
    const parts = found.map((each) => {
      const [row, panel] = each;
      const argument = this.calls.argumentOf(row);
      const summary = el("summary", {}, el("b", {}, argument), ` ${panel.dtype.replace("torch.", "")} [${panel.shape.join(", ")}]`);
      const part = el("details", { class: "elements", open: each === open }, summary);
      const fill = (): void => {
        if (!part.open || part.childElementCount > 1) return;
        const view = new PanelView(panel);
        this.views.push(view);
        part.append(view.draw());
      };
      part.addEventListener("toggle", fill);
      fill();
      return part;
    });
    return [el("h3", {}, say("panel.title")), ...parts];
  }

  private stack(call: number): Node[] {
    const name = this.data.isDump ? "Stack" : "NPU_Stack_Info";
    if (!this.data.has(name)) return [];
    const stack = this.data.get(name).at(this.calls.first[call]);
    return stack ? [el("details", {}, el("summary", {}, say("stack")), el("pre", { tabindex: 0 }, String(stack)))] : [];
  }

  private picture(call: number): HTMLElement {
    const frame = el("div", { class: "picture" });
    const draw = (): void => {
      const { picture, left, size, middle } = this.flow.draw(call, this.depth, (other) => this.events.chosen(other));
      const less = el("button", { type: "button", "aria-label": say("flow.less"), disabled: this.depth <= 1 }, "−");
      const more = el("button", { type: "button", "aria-label": say("flow.more"), disabled: this.depth >= DEEPEST }, "+");
      for (const [button, by] of [[less, -1], [more, 1]] as const) {
        button.addEventListener("click", () => {
          this.depth = Math.max(1, Math.min(DEEPEST, this.depth + by));
          draw();
        });
      }
      const hint = [say(isOfRuns(this.data) ? "flow.job" : "flow.hint"), left ? say("flow.left", { number: left }) : ""];
      const told = size === 1 ? say("flow.alone") : hint.filter(Boolean).join(" ");
      const scroller = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("flow.title") }, picture);
      // Of a picture that is too wide the call itself is in sight, as soon as its place is known.
      new ResizeObserver((_, observer) => {
        scroller.scrollLeft = scroller.scrollWidth * middle - scroller.clientWidth / 2;
        if (scroller.clientWidth) observer.disconnect();
      }).observe(scroller);
      frame.replaceChildren(
        el("div", { class: "bar" }, less, el("span", {}, say("flow.depth", { number: this.depth })), more),
        el("p", { class: "hint" }, told),
        scroller,
      );
    };
    draw();
    return frame;
  }
}

function plain(text: string): string {
  return text === "N/A" ? "–" : text;
}
