// Who made what a call reads, and who reads what it makes: the dataflow around one call as a picture.

import { Graph, layout } from "@dagrejs/dagre";
import { isOutput, operatorOf, type Calls } from "./calls";
import type { Data } from "./data";
import { svg } from "./dom";
import { say } from "./words";

const STATISTICS = ["Dtype", "Tensor Shape", "max", "min", "mean", "l2norm"];
const statistics = (data: Data): string[] => STATISTICS.map((name) => (data.isDump ? name : `NPU ${name}`));
const WIDE = 168;
const HIGH = 44;
const MOST = 36; // calls in a picture
const FAN = 6; // calls that one call leads to

interface Edge {
  from: number;
  to: number;
  row: number; // the row of the reader
}

export class Flow {
  private values: Uint32Array | undefined;
  private readonly none = 0xffffffff;
  private maker = new Int32Array(0); // of each value the row that first wrote it, or -1
  private readers = new Map<number, number[]>();

  constructor(
    private readonly data: Data,
    private readonly calls: Calls,
  ) {}

  static wants(data: Data): string[] {
    return data.has("@value") ? ["@value"] : statistics(data);
  }

  // The calls that wrote what the rows of `call` read.
  private makers(call: number): Edge[] {
    const found = new Map<number, Edge>();
    for (let row = this.calls.first[call]; row < this.calls.first[call + 1]; row++) {
      if (isOutput(this.calls.argumentOf(row))) continue;
      const maker = this.makerOf(row);
      if (maker < 0) continue;
      const from = this.calls.ofRow[maker];
      if (from !== call && !found.has(from)) found.set(from, { from, to: call, row });
    }
    return [...found.values()];
  }

  private users(call: number): Edge[] {
    const found = new Map<number, Edge>();
    for (let row = this.calls.first[call]; row < this.calls.first[call + 1]; row++) {
      if (!isOutput(this.calls.argumentOf(row))) continue;
      const value = this.values![row];
      if (value === this.none || this.maker[value] !== row) continue;
      for (const reader of this.readers.get(value) ?? []) {
        const to = this.calls.ofRow[reader];
        if (to !== call && !found.has(to)) found.set(to, { from: call, to, row: reader });
      }
    }
    return [...found.values()];
  }

  private makerOf(row: number): number {
    const value = this.values![row];
    return value === this.none ? -1 : this.maker[value];
  }

  private prepare(): void {
    if (this.values) return;
    this.values = this.data.has("@value") ? this.recorded() : this.likely();
    let most = 0;
    for (const value of this.values) if (value !== this.none && value >= most) most = value + 1;
    this.maker = new Int32Array(most).fill(-1);
    for (let row = 0; row < this.data.rows; row++) {
      const value = this.values[row];
      if (value === this.none) continue;
      if (isOutput(this.calls.argumentOf(row))) {
        if (this.maker[value] < 0) this.maker[value] = row;
      } else {
        const readers = this.readers.get(value);
        if (readers) readers.push(row);
        else this.readers.set(value, [row]);
      }
    }
  }

  private recorded(): Uint32Array {
    const block = this.data.get("@value");
    return Uint32Array.from(block.codes, (code) => (block.cells[code] === null ? this.none : code));
  }

  // A dump that does not say which tensors are one value: those whose statistics agree to the last digit.
  private likely(): Uint32Array {
    const blocks = statistics(this.data).filter((name) => this.data.has(name)).map((name) => this.data.get(name));
    const known = new Map<string, number>();
    const norms = this.data.isDump ? "l2norm" : "NPU l2norm";
    const norm = this.data.has(norms) ? this.data.get(norms) : null;
    return Uint32Array.from({ length: this.data.rows }, (_, row) => {
      if (!norm || typeof norm.at(row) !== "number") return this.none;
      const key = blocks.map((block) => block.codes[row]).join();
      let value = known.get(key);
      if (value === undefined) known.set(key, (value = known.size));
      return value;
    });
  }

  // The calls within `depth` steps of `call`, both ways.
  around(call: number, depth: number): { nodes: Map<number, number>; edges: Edge[]; left: number } {
    this.prepare();
    const nodes = new Map([[call, 0]]);
    const edges: Edge[] = [];
    let left = 0;
    for (const upward of [true, false]) {
      let rim = [call];
      for (let level = 1; level <= depth; level++) {
        const next: number[] = [];
        for (const at of rim) {
          const all = upward ? this.makers(at) : this.users(at);
          const chosen = all.slice(0, level === 1 ? 2 * FAN : FAN);
          left += all.length - chosen.length;
          for (const edge of chosen) {
            const other = upward ? edge.from : edge.to;
            if (!nodes.has(other)) {
              if (nodes.size >= MOST) {
                left++;
                continue;
              }
              nodes.set(other, upward ? -level : level);
              next.push(other);
            }
            if (!edges.some((known) => known.from === edge.from && known.to === edge.to)) edges.push(edge);
          }
        }
        rim = next;
      }
    }
    return { nodes, edges, left };
  }

  draw(call: number, depth: number, chosen: (call: number) => void): { picture: SVGElement; left: number; size: number } {
    const { nodes, edges, left } = this.around(call, depth);
    const graph = new Graph();
    graph.setGraph({ rankdir: "TB", nodesep: 14, ranksep: 30, marginx: 8, marginy: 8 });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const each of nodes.keys()) graph.setNode(String(each), { width: WIDE, height: HIGH });
    for (const { from, to } of edges) graph.setEdge(String(from), String(to));
    layout(graph);
    const { width = 1, height = 1 } = graph.graph() as { width?: number; height?: number };
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": say("flow.title"), class: "flow" });
    for (const edge of graph.edges()) {
      const { points } = graph.edge(edge) as { points: { x: number; y: number }[] };
      const row = edges.find(({ from, to }) => String(from) === edge.v && String(to) === edge.w)!.row;
      const warm = this.calls.heat(this.calls.excess[this.calls.ofRow[this.makerOf(row)]] ?? NaN);
      picture.append(svg("path", { d: `M${points.map(({ x, y }) => `${x} ${y}`).join("L")}`, class: `edge heat${warm}` }));
      const [end, before] = [points[points.length - 1], points[points.length - 2]];
      const angle = (Math.atan2(end.y - before.y, end.x - before.x) * 180) / Math.PI;
      picture.append(svg("path", { d: "M0 0L-8 -4L-8 4Z", class: "arrow", transform: `translate(${end.x} ${end.y}) rotate(${angle})` }));
    }
    for (const each of nodes.keys()) picture.append(this.node(each, graph.node(String(each)) as { x: number; y: number }, each === call, chosen));
    return { picture, left, size: nodes.size };
  }

  private node(call: number, at: { x: number; y: number }, isCentre: boolean, chosen: (call: number) => void): SVGElement {
    const name = this.calls.names[call];
    const excess = this.calls.excess[call];
    const origin = this.data.has("Origin") ? this.data.get("Origin").at(this.calls.worst[call]) : null;
    const told = [Number.isNaN(excess) ? null : this.calls.excessText(excess), origin].filter(Boolean).join(", ");
    const number = /\.(\d+)\.(forward|backward)$/.exec(name);
    const label = `${operatorOf(name)}${number ? `.${number[1]}` : ""}${/backward/.test(name) ? " ←" : ""}`;
    const short = label.length > 24 ? `${label.slice(0, 22)}…` : label;
    const group = svg(
      "g",
      { class: `node heat${this.calls.heat(excess)}${isCentre ? " centre" : ""}${this.calls.suspect[call] ? " suspect" : ""}`, transform: `translate(${at.x - WIDE / 2} ${at.y - HIGH / 2})`, tabindex: 0, role: "button" },
      svg("title", {}, told ? `${name}, ${told}` : name),
      svg("rect", { width: WIDE, height: HIGH, rx: 6 }),
      svg("text", { x: WIDE / 2, y: told ? 19 : 27, class: "label", "aria-hidden": "true" }, short),
      told ? svg("text", { x: WIDE / 2, y: 35, class: "told", "aria-hidden": "true" }, told) : null,
    );
    group.addEventListener("click", () => chosen(call));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        chosen(call);
      }
    });
    return group;
  }
}
