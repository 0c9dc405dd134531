// The elements of a tensor: how the values of both sides spread, where they differ, the worst of them, and their bits.

import uPlot from "uplot";
import type { Panel } from "./data";
import { colour, el } from "./dom";
import { quantity } from "./format";
import { say } from "./words";

const WIDTH = 292;
const HEIGHT = 150;
const FULL_WIDTH = 592;
const BROKEN = 255;

// Sign, exponent and fraction of the floating dtypes.
const LAYOUTS: Record<string, number[]> = {
  "torch.float64": [1, 11, 52],
  "torch.float32": [1, 8, 23],
  "torch.float16": [1, 5, 10],
  "torch.bfloat16": [1, 8, 7],
  "torch.float8_e4m3fn": [1, 4, 3],
  "torch.float8_e4m3fnuz": [1, 4, 3],
  "torch.float8_e5m2": [1, 5, 2],
  "torch.float8_e5m2fnuz": [1, 5, 2],
};

export class PanelView {
  private readonly redraws: (() => void)[] = [];

  constructor(private readonly panel: Panel) {}

  draw(): HTMLElement {
    const { panel } = this;
    const pair = panel.bench_dtype !== "";
    const parts = [
      el("p", { class: "hint" }, this.told(pair)),
      el("div", { class: "charts" }, this.values(pair), this.difference()),
      this.map(pair),
      this.worst(pair),
      this.bits(pair),
    ];
    return el("div", { class: "panel" }, ...parts);
  }

  // After the colours have changed.
  redraw(): void {
    for (const each of this.redraws) each();
  }

  private told(pair: boolean): string {
    const { elements, different, nonfinite, bench_nonfinite } = this.panel;
    const broken = nonfinite || bench_nonfinite;
    const parts = [pair ? say("panel.different", { different, elements }) : say("panel.elements", { elements })];
    if (broken) parts.push(pair ? say("panel.nonfinite", { npu: nonfinite, bench: bench_nonfinite }) : say("panel.nonfinite_one", { number: nonfinite }));
    return parts.join(" · ");
  }

  private values(pair: boolean): HTMLElement | null {
    const { values } = this.panel;
    if (!values) return null;
    const sides = pair ? [values.npu, values.bench] : [values.npu];
    const key = pair ? el("span", { class: "keys" }, el("span", { class: "key npu" }, el("i", {}), "NPU"), el("span", { class: "key bench" }, el("i", {}), say("panel.bench"))) : null;
    return this.histogram(say("panel.values"), values.low, values.high, sides, ["npu", "bench"], key);
  }

  private difference(): HTMLElement | null {
    const { difference } = this.panel;
    if (!difference) return null;
    return this.histogram(say("panel.difference"), difference.low, difference.high, [difference.npu], ["suspect"], null);
  }

  private histogram(title: string, low: number, high: number, sides: number[][], colours: string[], key: HTMLElement | null): HTMLElement {
    const bins = sides[0].length;
    const width = (high - low) / bins || 1;
    const x = Float64Array.from({ length: bins + 1 }, (_, at) => low + at * width);
    // A bin holds from 0 to millions: its height is the logarithm.
    const heights = sides.map((counts) => Float64Array.from([...counts, counts[bins - 1]], (count) => Math.log10(1 + count)));
    const most = Math.max(...heights.map((each) => Math.max(...each)), 0.31);
    const total = sides[0].reduce((a, b) => a + b, 0);
    const stepped = uPlot.paths.stepped!({ align: 1 });
    const label = `${title}: ${say("panel.range", { low: quantity(low), high: quantity(high), elements: total })}`;
    return this.chart(title, label, key, {
      x: [low, bins > 1 ? high : low + width],
      y: most,
      ticks: (_: uPlot, places: number[]) => places.map((place) => (place === 0 ? "0" : Number.isInteger(place) ? (10 ** place).toLocaleString("en-US") : "")),
      splits: Array.from({ length: Math.floor(most) + 1 }, (_, place) => place),
      data: [x, ...heights] as unknown as uPlot.AlignedData,
      series: sides.map((_, side) => ({ stroke: () => colour(colours[side]), fill: side ? undefined : () => `${colour(colours[side])}40`, width: 1.5, paths: stepped, points: { show: false } })),
      named: (place: number) => quantity(place),
    });
  }

  private chart(title: string, label: string, key: HTMLElement | null, what: { x: [number, number]; y: number; ticks: uPlot.Axis.Values; splits: number[]; data: uPlot.AlignedData; series: uPlot.Series[]; named: (place: number) => string; marks?: number[]; width?: number }): HTMLElement {
    const frame = el("div", { class: "chart", role: "img", "aria-label": label });
    const axis = (): Partial<uPlot.Axis> => ({
      stroke: () => colour("muted"),
      grid: { stroke: () => colour("grid"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
    });
    const plot = new uPlot(
      {
        width: what.width ?? WIDTH,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        padding: [8, 12, 0, 0],
        scales: { x: { time: false, range: () => what.x }, y: { range: () => [0, what.y * 1.05] } },
        axes: [
          { ...axis(), size: 24, gap: 2, space: 60, splits: what.marks ? () => what.marks! : undefined, values: (_, places) => places.map((place) => what.named(place)) },
          { ...axis(), size: 48, gap: 3, values: what.ticks, splits: () => what.splits },
        ],
        series: [{}, ...what.series],
      },
      what.data,
      frame,
    );
    this.redraws.push(() => plot.redraw(false, true));
    return el("figure", {}, el("figcaption", {}, title, " ", key), frame);
  }

  private map(pair: boolean): HTMLElement | null {
    const { map, shape } = this.panel;
    if (!map || !map.high) return null;
    const levels = Uint8Array.from(atob(map.levels), (char) => char.charCodeAt(0));
    const cell = Math.max(3, Math.min(18, Math.floor(room() / map.columns)));
    const high = Math.max(cell, 4);
    const canvas = el("canvas", { width: map.columns * cell, height: map.rows * high, role: "img", "aria-label": this.mapLabel(levels) });
    const tip = el("p", { class: "hint told", role: "status" }, this.axes());
    const paint = (): void => {
      const ctx = canvas.getContext("2d")!;
      const ramp = [0, 1, 2, 3, 4, 5, 6].map((warmth) => rgb(colour(`h${warmth}`)));
      levels.forEach((level, at) => {
        ctx.fillStyle = level === BROKEN ? colour("ink") : level ? mixed(ramp, 1 + ((level - 1) / 253) * 5) : mixed(ramp, 0);
        ctx.fillRect((at % map.columns) * cell, Math.floor(at / map.columns) * high, cell, high);
      });
    };
    paint();
    this.redraws.push(paint);
    canvas.addEventListener("mousemove", (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * map.columns);
      const row = Math.floor(((event.clientY - box.top) / box.height) * map.rows);
      if (column >= 0 && row >= 0 && column < map.columns && row < map.rows) tip.replaceChildren(this.boxTold(row, column, levels[row * map.columns + column]));
    });
    canvas.addEventListener("mouseleave", () => tip.replaceChildren(this.axes()));
    const scale = [1, 2, 3, 4, 5, 6].map((warmth) => el("i", { class: `heat${warmth}` }));
    const legend = el("span", { class: "scale" }, quantity(map.low), ...scale, quantity(map.high));
    const title = pair ? say("panel.map") : say("panel.map_one");
    return el("figure", { class: "map-figure" }, el("figcaption", {}, `${title} ${shape.length > 2 ? say("panel.map_rest") : ""}`, legend), canvas, tip);
  }

  private axes(): string {
    const { axes, extents } = this.panel.map!;
    return axes.length === 2
      ? say("panel.axes", { down: axes[0], rows: extents[0], across: axes[1], columns: extents[1] })
      : say("panel.axis", { across: axes[0], columns: extents[0] });
  }

  // The index from the first to the last of a box.
  private span(place: number, boxes: number, extent: number): string {
    const first = Math.ceil((place * extent) / boxes);
    const last = Math.ceil(((place + 1) * extent) / boxes) - 1;
    return first === last ? String(first) : `${first}–${last}`;
  }

  private boxTold(row: number, column: number, level: number): string {
    const { extents, rows, columns } = this.panel.map!;
    const across = this.span(column, columns, extents[extents.length - 1]);
    const place = extents.length === 2 ? `[${this.span(row, rows, extents[0])}, ${across}]` : `[${across}]`;
    return say("panel.box", { place, size: this.sizeOf(level) });
  }

  private sizeOf(level: number): string {
    const { low, high } = this.panel.map!;
    if (level === BROKEN) return "NaN/Inf";
    return level ? quantity(low * (high / low) ** ((level - 1) / 253)) : "0";
  }

  private mapLabel(levels: Uint8Array): string {
    const { columns } = this.panel.map!;
    const worst = levels.reduce((best, level, at) => (level > levels[best] ? at : best), 0);
    return `${this.axes()}. ${this.boxTold(Math.floor(worst / columns), worst % columns, levels[worst])}`;
  }

  private worst(pair: boolean): HTMLElement | null {
    const { worst, dtype, bench_dtype } = this.panel;
    if (!worst.length) return null;
    const heads = pair ? ["index", "npu", "bench", "apart", "bits"] : ["index", "value", "bits"];
    const lines = worst.map((each) => {
      const index = el("th", { scope: "row" }, `[${each.index.join(", ")}]`);
      const bits = pattern(each.npu_bits, dtype, pair && dtype === bench_dtype ? each.bench_bits : "");
      if (!pair) return el("tr", {}, index, el("td", {}, precise(each.npu)), el("td", { class: "bits" }, bits));
      const apart = typeof each.npu === "number" && typeof each.bench === "number" ? quantity(each.npu - each.bench) : "–";
      const below = pattern(each.bench_bits, bench_dtype, dtype === bench_dtype ? each.npu_bits : "");
      return el("tr", {}, index, el("td", {}, precise(each.npu)), el("td", {}, precise(each.bench)), el("td", {}, apart), el("td", { class: "bits" }, bits, el("br", {}), below));
    });
    const head = el("tr", {}, ...heads.map((key) => el("th", { scope: "col" }, say(`panel.${key}`))));
    const title = pair ? say("panel.worst") : say("panel.largest");
    const table = el("table", { class: "worst" }, el("caption", {}, title), el("thead", {}, head), el("tbody", {}, ...lines));
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, table);
  }

  private bits(pair: boolean): HTMLElement | null {
    const { bits, bench_bits, dtype } = this.panel;
    if (!bits.length) return null;
    const [sign, exponent] = LAYOUTS[dtype] ?? [0, 0];
    const sides = pair && bench_bits.length === bits.length ? [bits, bench_bits] : [bits];
    const x = Float64Array.from(bits, (_, at) => at);
    const colours = ["npu", "bench"];
    const series = sides.map((_, side) => ({
      stroke: () => colour(colours[side]),
      fill: () => `${colour(colours[side])}66`,
      width: 1,
      paths: uPlot.paths.bars!({ size: [side ? 0.9 : 0.5, 60] }),
      points: { show: false },
    }));
    const order = sides.length === 2 ? [1, 0] : [0]; // the wider bars of the bench stand behind
    const marks = sign ? [0, sign, sign + exponent] : [0, bits.length - 1];
    const names = new Map([[0, sign ? "±" : String(bits.length - 1)], [sign || bits.length - 1, sign ? say("panel.exponent") : "0"], [sign + exponent || -1, say("panel.fraction")]]);
    const chart = this.chart(say("panel.bits_title", { dtype: dtype.replace("torch.", "") }), say("panel.bits_label", { bits: unset(bits) }), null, {
      x: [-0.7, bits.length - 0.3],
      y: 1,
      ticks: (_: uPlot, places: number[]) => places.map((place) => `${100 * place} %`),
      splits: [0, 0.5, 1],
      data: [x, ...order.map((side) => Float64Array.from(sides[side]))] as unknown as uPlot.AlignedData,
      series: order.map((side) => series[side]),
      named: (place: number) => names.get(place) ?? "",
      marks,
      width: room(),
    });
    const never = unset(bits);
    const theirs = sides.length === 2 ? unset(bench_bits) : never;
    const told = never && pair && never !== theirs ? el("p", { class: "hint" }, say("panel.never", { bits: never })) : null;
    return el("div", { class: "bit-chart" }, chart, told);
  }
}

// Pixels that a panel has across.
function room(): number {
  return Math.min(FULL_WIDTH, innerWidth - 40);
}

// How many of the lowest bits no element has set.
function unset(bits: number[]): number {
  let count = 0;
  while (count < bits.length && bits[bits.length - 1 - count] === 0) count++;
  return count;
}

// Hexadecimal as bits in their groups; those that `other` has otherwise are marked.
function pattern(hex: string, dtype: string, other: string): HTMLElement {
  const bits = binary(hex);
  const against = other ? binary(other) : "";
  const code = el("code", {});
  const ends = new Set<number>();
  let at = 0;
  for (const width of LAYOUTS[dtype] ?? []) ends.add((at += width));
  let run = "";
  let marked = false;
  const flush = (): void => {
    if (run) code.append(marked ? el("mark", {}, run) : run);
    run = "";
  };
  [...bits].forEach((bit, place) => {
    const differs = against !== "" && bit !== against[place];
    if (differs !== marked) flush();
    marked = differs;
    run += bit;
    if (ends.has(place + 1) && place + 1 < bits.length) {
      flush();
      code.append(" ");
    }
  });
  flush();
  return code;
}

function binary(hex: string): string {
  return [...hex].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("");
}

function precise(value: number | string | null): string {
  return typeof value === "number" ? String(Number(value.toPrecision(9))) : value === null ? "–" : value;
}

function rgb(colour: string): number[] {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function mixed(ramp: number[][], place: number): string {
  const low = Math.min(ramp.length - 2, Math.floor(place));
  const share = place - low;
  const parts = ramp[low].map((part, at) => Math.round(part + (ramp[low + 1][at] - part) * share));
  return `rgb(${parts.join(" ")})`;
}
