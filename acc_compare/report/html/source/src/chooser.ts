// Which columns the table shows.

import type { Data } from "./data";
import { el } from "./dom";
import { say } from "./words";

const FIRST = ["NPU Name", "Name", "Step and Rank", "Module", "Result", "Origin", "RelL2", "Est. RelL2", "Expected", "Excess", "NPU Dtype", "NPU Tensor Shape", "NPU l2norm", "Bench l2norm", "NPU MD5", "BENCH MD5", "Err_Message", "Dtype", "Tensor Shape", "max", "min", "mean", "l2norm", "NaN", "Inf", "Range Used", "Value"];

export class Chooser {
  private readonly chosen: Set<string>;
  private readonly names: string[];

  constructor(
    holder: HTMLElement,
    data: Data,
    private readonly changed: (columns: string[]) => Promise<void>,
  ) {
    this.names = [
      ...FIRST.filter((name) => data.has(name)),
      ...data.head.columns.map(({ name }) => name).filter((name) => !FIRST.includes(name) && !name.startsWith("@")),
    ];
    this.chosen = new Set(FIRST.filter((name) => data.has(name)));
    const boxes = this.names.map((name) => {
      const box = el("input", { type: "checkbox", checked: this.chosen.has(name) });
      box.addEventListener("change", () => {
        if (box.checked) this.chosen.add(name);
        else this.chosen.delete(name);
        void this.apply();
      });
      return el("label", { class: "check", title: data.column(name).says }, box, name);
    });
    const menu = el("details", { class: "columns" }, el("summary", {}, say("table.columns")), el("div", { class: "menu" }, ...boxes));
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape") menu.open = false;
    });
    document.addEventListener("click", (event) => {
      if (!menu.contains(event.target as Node)) menu.open = false;
    });
    holder.append(menu);
  }

  apply(): Promise<void> {
    return this.changed(this.names.filter((name) => this.chosen.has(name)));
  }
}
