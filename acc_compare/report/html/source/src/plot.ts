// Error through the run: calls in order against relative error, over what is expected of each.

import uPlot from "uplot";
import { DIRECTIONS, type Calls } from "./calls";
import { colour, el } from "./dom";
import { quantity } from "./format";
import { say } from "./words";

const HEIGHT = 340;
const PAPER = 684; // pixels across a sheet of A4 within its margins
const REACH = 14; // pixels within which the pointer finds a call
const LANE = 0.7; // decades between the least error and the lane of calls that are equal

export interface PlotEvents {
  chosen: (call: number) => void;
}

export class Plot {
  private readonly plot: uPlot;
  private readonly y: Float64Array;
  private readonly visible = [true, true, true];
  private readonly tip = el("div", { class: "tip", role: "status" });
  private readonly low: number;
  private readonly high: number;
  private near = -1;
  private chosen = -1;

  constructor(
    root: HTMLElement,
    private readonly calls: Calls,
    private readonly differs: boolean,
    private readonly events: PlotEvents,
  ) {
    const finite = calls.error.filter((error) => error > 0 && Number.isFinite(error));
    const normal = calls.expected.filter((each) => each > 0 && Number.isFinite(each));
    const sizes = finite.length + normal.length ? Float64Array.from([...finite, ...normal]) : Float64Array.of(1e-7, 1e-6);
    const least = sizes.reduce((a, b) => Math.min(a, b));
    const most = sizes.reduce((a, b) => Math.max(a, b));
    this.low = Math.max(-40, Math.log10(least)) - LANE;
    this.high = Math.min(40, Math.log10(most)) + LANE;
    this.y = Float64Array.from(calls.error, (error) => this.place(error));
    const frame = el("div", { class: "plot", tabindex: 0, role: "application", "aria-label": say("plot.label") });
    root.append(this.legend(), frame, el("p", { class: "hint" }, say("plot.hint")));
    this.plot = new uPlot(this.options(frame.clientWidth), this.series(), frame);
    this.plot.over.append(this.tip);
    this.listen(frame);
    const fit = (width: number): void => this.plot.setSize({ width, height: HEIGHT });
    new ResizeObserver(() => fit(frame.clientWidth)).observe(frame);
    addEventListener("beforeprint", () => fit(PAPER));
    addEventListener("afterprint", () => fit(frame.clientWidth));
  }

  redraw(): void {
    this.plot.redraw(false, true);
  }

  choose(call: number): void {
    this.chosen = call;
    this.redraw();
  }

  private series(): uPlot.AlignedData {
    const { size } = this.calls;
    const x = Float64Array.from({ length: size }, (_, call) => call);
    return [x, this.y] as unknown as uPlot.AlignedData;
  }

  // Where an error stands on the scale of powers of ten: equal calls below all, what has no size above all.
  private place(error: number): number {
    if (Number.isNaN(error)) return NaN;
    if (error === 0) return this.low;
    return Number.isFinite(error) ? Math.min(this.high, Math.max(this.low, Math.log10(error))) : this.high;
  }

  private options(width: number): uPlot.Options {
    const axis = (): Partial<uPlot.Axis> => ({
      stroke: () => colour("muted"),
      grid: { stroke: () => colour("grid"), width: 1 },
      ticks: { stroke: () => colour("grid"), width: 1 },
      font: "12px system-ui, sans-serif",
    });
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { points: { show: false }, y: false, drag: { x: true, y: false, setScale: true, uni: 10 } },
      scales: {
        x: { time: false, range: (_, min, max) => [min - Math.max(0.5, (max - min) * 0.005), max + Math.max(0.5, (max - min) * 0.005)] },
        y: { range: () => [this.low - this.margin, this.high + this.margin] },
      },
      axes: [
        { ...axis(), values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) && tick >= 0 ? tick.toLocaleString("en-US") : "")), label: say("plot.call"), labelSize: 22, labelFont: "12px system-ui, sans-serif" },
        { ...axis(), size: 64, splits: () => this.splits(), values: (_, ticks) => ticks.map((tick) => this.tick(tick)), filter: (_, ticks) => ticks },
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { drawClear: [(plot) => this.drawBand(plot)], draw: [(plot) => this.drawCalls(plot)] },
    };
  }

  // Decades beyond the lanes, so that a ring around a call in one is whole.
  private get margin(): number {
    return Math.max(0.35, (this.high - this.low) * 0.05);
  }

  private splits(): number[] {
    if (this.differs) return [this.low, this.high]; // digests say equal or not, and no size
    const powers: number[] = [];
    const span = this.high - this.low;
    const step = span > 24 ? 4 : span > 10 ? 2 : 1;
    for (let power = Math.ceil(this.low + 0.5); power < this.high - 0.3; power++) if (power % step === 0) powers.push(power);
    return [this.low, ...powers, this.high];
  }

  private tick(at: number): string {
    if (at === this.low) return say("plot.equal");
    return at === this.high ? (this.differs ? say("plot.differs") : "∞") : `1e${at}`;
  }

  // What is expected of the calls of each pixel column, from the least to the most, and all beneath it paler.
  private drawBand(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const { expected, direction } = this.calls;
    const columns = Math.ceil(bbox.width);
    const least = new Float64Array(columns).fill(Infinity);
    const most = new Float64Array(columns).fill(-Infinity);
    const [from, to] = this.range();
    const half = Math.max(1, plot.valToPos(1, "x", true) - plot.valToPos(0, "x", true)) / 2;
    for (let call = from; call < to; call++) {
      const y = expected[call] === Infinity ? NaN : this.place(expected[call]); // an error of any size is no band
      if (Number.isNaN(y) || !this.visible[direction[call]]) continue;
      const x = plot.valToPos(call, "x", true) - bbox.left;
      const end = Math.min(columns - 1, Math.floor(x + half));
      for (let column = Math.max(0, Math.floor(x - half)); column <= end; column++) {
        if (y < least[column]) least[column] = y;
        if (y > most[column]) most[column] = y;
      }
    }
    const bottom = bbox.top + bbox.height;
    const under = colour("band-under");
    const band = colour("band");
    ctx.save();
    // Columns alike are one piece: where a printer draws each by itself, seams would show.
    for (let column = 0, width = 1; column < columns; column += width, width = 1) {
      while (column + width < columns && most[column + width] === most[column] && least[column + width] === least[column]) width++;
      if (most[column] === -Infinity) continue;
      const top = plot.valToPos(most[column], "y", true);
      const edge = plot.valToPos(least[column], "y", true);
      ctx.fillStyle = under;
      ctx.fillRect(bbox.left + column, top, width, bottom - top);
      ctx.fillStyle = band;
      ctx.fillRect(bbox.left + column, top, width, Math.max(2, edge - top));
    }
    ctx.restore();
  }

  private drawCalls(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const { direction, suspect } = this.calls;
    const colours = DIRECTIONS.map((name) => colour(name));
    const [from, to] = this.range();
    const ratio = devicePixelRatio;
    const size = Math.max(2, Math.min(5, Math.round(1200 / (to - from + 1)) + 2)) * ratio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const taken = new Uint8Array(Math.ceil(bbox.width + 1) * Math.ceil(bbox.height + 1));
    const wide = Math.ceil(bbox.width + 1);
    for (let kind = 0; kind < 3; kind++) {
      if (!this.visible[kind]) continue;
      ctx.fillStyle = colours[kind];
      for (let call = from; call < to; call++) {
        if (direction[call] !== kind || Number.isNaN(this.y[call])) continue;
        const x = plot.valToPos(call, "x", true);
        const y = plot.valToPos(this.y[call], "y", true);
        const pixel = Math.round(y - bbox.top) * wide + Math.round(x - bbox.left);
        if (taken[pixel]) continue; // another call is drawn there already
        taken[pixel] = 1;
        ctx.fillRect(x - size / 2, y - size / 2, size, size);
      }
    }
    this.drawPlaces(plot, from, to);
    for (let call = from; call < to; call++) {
      const made = this.calls.replayed.get(this.calls.names[call])?.verdict;
      if (made === "confirmed" || made === "cleared") this.diamond(plot, call, colour(made === "confirmed" ? "suspect" : "green"));
      if (suspect[call]) this.ring(plot, call, colour("suspect"), suspect[call] === 1 ? 7 : 5);
    }
    if (this.near >= 0) this.ring(plot, this.near, colour("ink"), 6);
    if (this.chosen >= 0) this.ring(plot, this.chosen, colour("accent"), 9);
    ctx.restore();
  }

  private ring(plot: uPlot, call: number, stroke: string, radius: number): void {
    const y = Number.isNaN(this.y[call]) ? this.low : this.y[call];
    const { ctx } = plot;
    ctx.strokeStyle = stroke;
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.beginPath();
    ctx.arc(plot.valToPos(call, "x", true), plot.valToPos(y, "y", true), radius * devicePixelRatio, 0, 2 * Math.PI);
    ctx.stroke();
  }

  // A call that was made again.
  private diamond(plot: uPlot, call: number, stroke: string): void {
    if (Number.isNaN(this.y[call])) return;
    const { ctx } = plot;
    const [x, y, size] = [plot.valToPos(call, "x", true), plot.valToPos(this.y[call], "y", true), 6 * devicePixelRatio];
    ctx.strokeStyle = stroke;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, y - size);
    for (const [across, up] of [[size, 0], [0, size], [-size, 0], [0, -size]]) ctx.lineTo(x + across, y + up);
    ctx.stroke();
  }

  // Where one step or rank ends and the next begins.
  private drawPlaces(plot: uPlot, from: number, to: number): void {
    const { places } = this.calls;
    const { ctx, bbox } = plot;
    ctx.fillStyle = colour("muted");
    ctx.strokeStyle = colour("line");
    ctx.lineWidth = devicePixelRatio;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    let free = -Infinity; // labels that would lie on another are left out
    for (let call = from; call < to; call++) {
      if (!places[call] || (call > from && places[call] === places[call - 1])) continue;
      const x = plot.valToPos(call - 0.5, "x", true);
      if (call > 0 && places[call] !== places[call - 1]) {
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      const left = Math.max(x, bbox.left) + 4 * devicePixelRatio;
      if (left < free) continue;
      ctx.fillText(places[call], left, bbox.top + 11 * devicePixelRatio);
      free = left + ctx.measureText(places[call]).width + 8 * devicePixelRatio;
    }
  }

  private range(): [number, number] {
    const { min, max } = this.plot?.scales.x ?? { min: 0, max: this.calls.size };
    return [Math.max(0, Math.floor(min ?? 0)), Math.min(this.calls.size, Math.ceil(max ?? this.calls.size) + 1)];
  }

  private listen(frame: HTMLElement): void {
    const { over } = this.plot;
    over.addEventListener("mousemove", (event) => this.point(event));
    over.addEventListener("mouseleave", () => this.hover(-1));
    over.addEventListener("click", () => this.near >= 0 && this.events.chosen(this.near));
    frame.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, PageDown: 20, PageUp: -20 }[event.key];
      if (step !== undefined) {
        event.preventDefault();
        this.hover(this.next(this.near, step));
      } else if (event.key === "Home" || event.key === "End") {
        event.preventDefault();
        this.hover(event.key === "Home" ? this.next(-1, 1) : this.next(this.calls.size, -1));
      } else if (event.key.toLowerCase() === "s") {
        const suspect = this.calls.suspect.findIndex((kind, call) => kind === 1 && call > this.near);
        this.hover(suspect >= 0 ? suspect : this.calls.suspect.indexOf(1));
      } else if (event.key === "Enter" && this.near >= 0) {
        this.events.chosen(this.near);
      } else if (event.key === "Escape") {
        this.plot.setScale("x", { min: 0, max: this.calls.size - 1 });
      }
    });
  }

  private next(from: number, step: number): number {
    const sign = Math.sign(step);
    let left = Math.abs(step);
    let found = from;
    for (let call = from + sign; call >= 0 && call < this.calls.size && left; call += sign) {
      if (Number.isNaN(this.y[call]) || !this.visible[this.calls.direction[call]]) continue;
      found = call;
      left--;
    }
    return found;
  }

  private point(event: MouseEvent): void {
    const box = this.plot.over.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const from = Math.max(0, Math.floor(this.plot.posToVal(x - REACH, "x")));
    const to = Math.min(this.calls.size - 1, Math.ceil(this.plot.posToVal(x + REACH, "x")));
    let best = -1;
    let least = REACH * REACH;
    for (let call = from; call <= to; call++) {
      if (Number.isNaN(this.y[call]) || !this.visible[this.calls.direction[call]]) continue;
      const across = this.plot.valToPos(call, "x") - x;
      const up = this.plot.valToPos(this.y[call], "y") - y;
      const distance = (across * across + up * up) * (this.calls.suspect[call] ? 0.25 : 1);
      if (distance < least) [best, least] = [call, distance];
    }
    this.hover(best);
  }

  private hover(call: number): void {
    if (call === this.near) return;
    this.near = call;
    this.plot.over.classList.toggle("found", call >= 0);
    this.tip.classList.toggle("shown", call >= 0);
    if (call >= 0) this.tell(call);
    this.redraw();
  }

  private tell(call: number): void {
    const { names, modules, error, expected, excess } = this.calls;
    const lines = [this.differs && error[call] > 0 ? say("plot.differs") : say("plot.tip.error", { error: describe(error[call]) })];
    if (!Number.isNaN(expected[call])) lines.push(say("plot.tip.expected", { expected: quantity(expected[call]) }));
    const told = this.calls.excessTold(excess[call]);
    if (told) lines.push(told);
    const made = this.calls.replayed.get(names[call]);
    if (made) lines.push(`${say("replayed")} ${made.verdict}`);
    this.tip.replaceChildren(
      el("b", {}, names[call]),
      ...(this.calls.places[call] ? [el("span", { class: "muted" }, this.calls.places[call])] : []),
      ...(modules[call] ? [el("span", { class: "muted" }, modules[call])] : []),
      el("span", {}, lines.join(" · ")),
    );
    const x = this.plot.valToPos(call, "x");
    const y = this.plot.valToPos(Number.isNaN(this.y[call]) ? this.low : this.y[call], "y");
    const { width, height } = this.plot.over.getBoundingClientRect();
    const right = x > width / 2;
    const low = y > height / 2;
    Object.assign(this.tip.style, {
      left: right ? "auto" : `${Math.max(0, x + 14)}px`,
      right: right ? `${Math.max(0, width - x + 14)}px` : "auto",
      top: low ? "auto" : `${Math.max(0, y + 10)}px`,
      bottom: low ? `${Math.max(0, height - y + 10)}px` : "auto",
      maxWidth: `${Math.max(x, width - x) - 20}px`,
    });
  }

  private legend(): HTMLElement {
    const kinds = DIRECTIONS.map((name, kind) => {
      const number = this.calls.direction.filter((each) => each === kind).length;
      const box = el("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        this.visible[kind] = box.checked;
        this.redraw();
      });
      return number ? el("label", { class: `key ${name}` }, box, el("i", {}), `${say(`plot.${name}`)} (${number.toLocaleString("en-US")})`) : null;
    });
    return el(
      "div",
      { class: "legend" },
      ...kinds,
      this.calls.expected.some((each) => !Number.isNaN(each)) ? el("span", { class: "key band" }, el("i", {}), say("plot.band")) : null,
      this.calls.replayed.size ? el("span", { class: "key made" }, el("i", {}), say("plot.replayed")) : null,
      this.calls.suspect.includes(1) ? el("span", { class: "key suspect" }, el("i", {}), say("plot.suspect")) : null,
    );
  }
}

function describe(error: number): string {
  return error === 0 ? say("plot.equal") : Number.isFinite(error) ? quantity(error) : "∞";
}
