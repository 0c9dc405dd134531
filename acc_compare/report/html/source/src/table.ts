// The table of all rows: only those in sight are elements.

import type { Data } from "./data";
import { el } from "./dom";
import { ABSENT, shown } from "./format";
import { byRank, inOrder, passing, ranks } from "./sorting";
import { say } from "./words";

const LINE = 28; // pixels of a row, as the style sheet has it
const SCROLLBAR = 18; // pixels of one that may lie beneath
const SPARE = 8; // rows above and below what is in sight
const TALLEST = 8_000_000; // pixels that every browser can scroll

const WIDTHS: Record<string, number> = { "NPU Name": 340, "Bench Name": 340, Name: 340, Stack: 420, "Step and Rank": 150, Err_Message: 420, Module: 200, NPU_Stack_Info: 420, Origin: 104, Result: 92 };
const NUMBER_WIDTH = 124;
const TEXT_WIDTH = 128;

export interface TableEvents {
  chosen: (row: number) => void;
  sorted: () => void;
}

export class Table {
  private columns: string[] = [];
  private order: Uint32Array; // all rows as they are sorted
  private view: Uint32Array; // those that the filter lets pass
  private mask: Uint8Array | null = null;
  private sorting: { name: string; descending: boolean } | null = null;
  private readonly ranks = new Map<string, Uint32Array[]>();
  private readonly head = el("div", { role: "row", class: "head", "aria-rowindex": 1 });
  private readonly lines = el("div", { class: "lines", role: "rowgroup" });
  private readonly space = el("div", { class: "space", role: "presentation" });
  private readonly scroller: HTMLElement;
  private chosen = -1;
  private top = -1;

  constructor(
    holder: HTMLElement,
    private readonly data: Data,
    private readonly marks: (row: number) => number,
    private readonly events: TableEvents,
  ) {
    this.order = inOrder(data.rows);
    this.view = this.order;
    this.scroller = el(
      "div",
      { role: "grid", class: "scroller", tabindex: 0, "aria-labelledby": "rows-title", "aria-rowcount": data.rows + 1 },
      el("div", { role: "rowgroup", class: "heads" }, this.head),
      this.space,
    );
    this.scroller.style.setProperty("--all", `${Math.max(6, data.rows + 1) * LINE + SCROLLBAR}px`);
    this.space.append(this.lines);
    holder.append(el("div", { class: "grid" }, this.scroller));
    this.scroller.addEventListener("scroll", () => this.draw(false));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw(true)).observe(this.scroller);
  }

  get size(): number {
    return this.view.length;
  }

  async show(columns: string[]): Promise<void> {
    await this.data.load(columns);
    this.columns = columns;
    this.drawHead();
    this.draw(true);
  }

  filter(mask: Uint8Array | null): void {
    this.mask = mask;
    this.refresh();
    this.scroller.scrollTop = 0;
    this.draw(true);
  }

  async sort(name: string, descending: boolean | null): Promise<void> {
    await this.data.load([name]);
    this.sorting = descending === null ? null : { name, descending };
    this.order = inOrder(this.data.rows);
    if (this.sorting) {
      const column = this.data.column(name);
      const kept = this.ranks.get(name) ?? column.blocks.map((_, part) => ranks(this.data.get(name, part), column.style === "text"));
      this.ranks.set(name, kept);
      for (let part = column.blocks.length - 1; part >= 0; part--) {
        this.order = byRank(this.order, this.data.get(name, part).codes, kept[part], this.sorting.descending);
      }
    }
    this.refresh();
    this.drawHead();
    this.draw(true);
    this.events.sorted();
  }

  // Mark a row and bring it into sight; false where the filter hides it.
  choose(row: number, scroll = true): boolean {
    this.chosen = row;
    const place = this.view.indexOf(row);
    if (place >= 0 && scroll) this.scrollTo(place);
    this.draw(true);
    return place >= 0;
  }

  private refresh(): void {
    const { mask } = this;
    this.view = mask ? passing(this.order, mask) : this.order;
  }

  private get height(): number {
    return Math.min(TALLEST, this.view.length * LINE);
  }

  // Of a very long table one pixel of scrolling is more than a pixel of rows.
  private get stretch(): number {
    const inner = this.scroller.clientHeight - LINE;
    const real = this.view.length * LINE - inner;
    return real > 0 && this.height < this.view.length * LINE ? real / (this.height - inner) : 1;
  }

  private scrollTo(place: number): void {
    const inner = this.scroller.clientHeight - LINE;
    this.scroller.scrollTop = Math.max(0, place * LINE - inner / 2) / this.stretch;
  }

  private drawHead(): void {
    const cells = this.columns.map((name, index) => {
      const column = this.data.column(name);
      const active = this.sorting?.name === name ? this.sorting : null;
      const button = el("button", { type: "button", title: column.says }, name, el("i", { "aria-hidden": "true" }, active ? (active.descending ? " ▼" : " ▲") : ""));
      const downFirst = column.style !== "text" && column.style !== "flag";
      button.addEventListener("click", () => void this.sort(name, next(active?.descending ?? null, downFirst)));
      return el(
        "div",
        {
          role: "columnheader",
          class: `cell ${kindOf(column.style)}${column.ours ? " ours" : ""}`,
          "aria-colindex": index + 2,
          "aria-sort": active ? (active.descending ? "descending" : "ascending") : "none",
        },
        button,
      );
    });
    this.head.replaceChildren(el("div", { role: "columnheader", class: "cell number", "aria-colindex": 1 }, "#"), ...cells);
    const widths = ["72px", ...this.columns.map((name) => `${widthOf(name, this.data.column(name).style)}px`)].join(" ");
    this.scroller.style.setProperty("--columns", widths);
    this.scroller.setAttribute("aria-colcount", String(this.columns.length + 1));
  }

  private draw(anew: boolean): void {
    const { scroller, view } = this;
    const inner = Math.max(LINE, scroller.clientHeight - LINE);
    const at = (scroller.scrollTop * this.stretch) / LINE;
    const first = Math.max(0, Math.min(Math.floor(at) - SPARE, view.length));
    if (!anew && first === this.top && this.stretch === 1) return;
    this.top = first;
    const last = Math.min(view.length, Math.ceil(at + inner / LINE) + SPARE);
    this.space.style.height = `${Math.max(this.height, LINE)}px`;
    this.lines.style.transform = `translateY(${scroller.scrollTop - (at - first) * LINE}px)`;
    const focused = this.lines.contains(document.activeElement);
    const lines: HTMLElement[] = [];
    for (let place = first; place < last; place++) lines.push(this.line(place));
    if (!view.length) lines.push(el("div", { role: "row", class: "line empty" }, el("div", { role: "gridcell", class: "cell" }, say("table.none"))));
    this.lines.replaceChildren(...lines);
    this.scroller.setAttribute("aria-rowcount", String(view.length + 1));
    if (focused) scroller.focus({ preventScroll: true });
  }

  private line(place: number): HTMLElement {
    const row = this.view[place];
    const { data } = this;
    const mark = this.marks(row);
    const result = data.has("Result") ? data.text("Result", row) : "";
    const number = el("a", { href: `#row=${row + 1}`, tabindex: -1, title: say("table.link") }, (row + 1).toLocaleString("en-US"));
    const cells = this.columns.map((name, index) => {
      const { style } = data.column(name);
      const value = data.text(name, row);
      const text = shown(value, style);
      const heading = `cell ${kindOf(style)}${value === null ? " absent" : ""}${name === "Origin" ? ` origin-${text}` : ""}`;
      return el("div", { role: "gridcell", class: heading, title: text.length > 12 ? text : undefined, "aria-colindex": index + 2 }, text === ABSENT ? "–" : text);
    });
    const line = el(
      "div",
      {
        role: "row",
        class: `line ${String(result)}${mark ? " accused" : ""}${row === this.chosen ? " chosen" : ""}`,
        "aria-rowindex": place + 2,
        "aria-selected": row === this.chosen ? "true" : "false",
      },
      el("div", { role: "gridcell", class: "cell number", "aria-colindex": 1 }, number),
      ...cells,
    );
    line.addEventListener("click", (event) => {
      if ((event.target as Element).closest("a")) return;
      this.events.chosen(row);
    });
    return line;
  }

  private key(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / LINE) - 2);
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (event.target !== this.scroller || !this.view.length) return;
    if (step !== undefined) {
      event.preventDefault();
      const place = this.view.indexOf(this.chosen);
      const to = Math.max(0, Math.min(this.view.length - 1, place < 0 ? 0 : place + step));
      this.chosen = this.view[to];
      this.keepInSight(to);
      this.draw(true);
    } else if (event.key === "Enter" && this.chosen >= 0) {
      this.events.chosen(this.chosen);
    }
  }

  private keepInSight(place: number): void {
    const inner = this.scroller.clientHeight - 2 * LINE;
    const at = this.scroller.scrollTop * this.stretch;
    if (place * LINE < at) this.scroller.scrollTop = (place * LINE) / this.stretch;
    else if ((place + 1) * LINE > at + inner) this.scroller.scrollTop = ((place + 1) * LINE - inner) / this.stretch;
  }
}

function next(descending: boolean | null, downFirst: boolean): boolean | null {
  if (descending === null) return downFirst;
  return descending === downFirst ? !downFirst : null;
}

function kindOf(style: string): string {
  return style === "text" ? "text" : style === "flag" ? "flag" : "number";
}

function widthOf(name: string, style: string): number {
  return WIDTHS[name] ?? (style === "text" ? TEXT_WIDTH : NUMBER_WIDTH);
}
