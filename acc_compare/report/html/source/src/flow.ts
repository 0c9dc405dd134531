// The dataflow around one call as a picture.

import { Graph, layout } from "@dagrejs/dagre";
import { operatorOf, type Calls } from "./calls";
import type { Data } from "./data";
import { svg } from "./dom";
import { linksOf, wanted, type Links } from "./links";
import { say } from "./words";

const WIDE = 168;
const HIGH = 44;
const LINE = 15; // of the rank
const MOST = 36; // nodes in a picture
const FAN = 6; // nodes that one node leads to
const BEYOND = 3; // nodes before and after the next collective
const FARTHEST = 99; // their depth
const CARRIES = ["introduced", "propagated"];

interface Edge {
  from: number;
  to: number;
  between?: number; // calls that are left out
}

// What is told of a node: of a collective the member that is furthest off.
interface State {
  worst: number;
  excess: number;
  origin: string;
  suspect: boolean;
}

export class Flow {
  private kept: Links | undefined;

  constructor(
    private readonly data: Data,
    private readonly calls: Calls,
  ) {}

  static wants(data: Data): string[] {
    return wanted(data);
  }

  // Made when it is first asked for, after what it wants is loaded.
  private get links(): Links {
    this.kept ??= linksOf(this.data, this.calls);
    return this.kept;
  }

  // Of calls that are too many to draw those that are furthest off, of each rank one before any has two.
  private chosen(all: number[], most: number): number[] {
    if (all.length <= most) return all;
    const off = new Map(all.map((node) => [node, this.state(node).excess || 0]));
    const turns = new Map<string, number>();
    const furthest = [...all].sort((a, b) => off.get(b)! - off.get(a)!);
    const turn = new Map(furthest.map((node) => {
      const rank = JSON.stringify(this.links.ranks(node));
      turns.set(rank, (turns.get(rank) ?? 0) + 1);
      return [node, turns.get(rank)!];
    }));
    return furthest.sort((a, b) => turn.get(a)! - turn.get(b)!).slice(0, most);
  }

  private state(node: number): State {
    const found: State = { worst: node, excess: NaN, origin: "", suspect: false };
    for (const call of this.links.members(node)) {
      const excess = this.calls.excess[call];
      if (Number.isNaN(found.excess) || excess > found.excess) Object.assign(found, { worst: call, excess });
      found.suspect ||= this.calls.suspect[call] > 0;
      const origin = this.data.has("Origin") ? String(this.data.get("Origin").at(this.calls.worst[call]) ?? "") : "";
      const rank = (name: string): number => (CARRIES.includes(name) ? 2 - CARRIES.indexOf(name) : 0);
      if (!found.origin || rank(origin) > rank(found.origin)) found.origin = origin;
    }
    return found;
  }

  // The nodes within `depth` steps of the node `call`, both ways.
  around(call: number, depth: number): { nodes: Map<number, number>; edges: Edge[]; left: number } {
    const nodes = new Map([[call, 0]]);
    const edges: Edge[] = [];
    let left = 0;
    for (const upward of [true, false]) {
      let rim = [call];
      for (let level = 1; level <= depth; level++) {
        const next: number[] = [];
        for (const at of rim) {
          const all = upward ? this.links.makers(at) : this.links.users(at);
          const chosen = this.chosen(all, level === 1 ? 2 * FAN : FAN);
          left += all.length - chosen.length;
          for (const other of chosen) {
            const edge = upward ? { from: other, to: at } : { from: at, to: other };
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
      left += this.goOn(call, upward, depth, nodes, edges);
    }
    return { nodes, edges, left };
  }

  // Adds the nearest place where `call` gives to other ranks or takes from them, however far it is, and what stands
  // about it; says how much it left out.
  private goOn(call: number, upward: boolean, depth: number, nodes: Map<number, number>, edges: Edge[]): number {
    const path = this.wayAcross(call, upward);
    let last = path.length - 1;
    while (last >= 0 && !nodes.has(path[last])) last--;
    if (last < 0) return 0;
    const [near, far, between] = [path[last], path[path.length - 1], path.length - last - 2];
    if (far !== near) edges.push(upward ? { from: far, to: near, between } : { from: near, to: far, between });
    else if (Math.abs(nodes.get(far)!) < depth) return 0; // it stands in the midst of the picture
    nodes.set(far, upward ? -FARTHEST : FARTHEST);
    let left = 0;
    for (const isMaker of [true, false]) {
      const all = (isMaker ? this.links.makers(far) : this.links.users(far)).filter((each) => !path.includes(each) && !nodes.has(each));
      const chosen = this.chosen(all, BEYOND);
      left += all.length - chosen.length;
      for (const other of chosen) {
        nodes.set(other, isMaker ? -FARTHEST : FARTHEST);
        edges.push(isMaker ? { from: other, to: far } : { from: far, to: other });
      }
    }
    return left;
  }

  // The calls from `call` to the nearest at which ranks meet, both among them; none where there is no such.
  private wayAcross(call: number, upward: boolean): number[] {
    const before = new Map([[call, -1]]);
    for (const at of before.keys()) {
      if (at !== call && this.links.crosses(at, call)) {
        const path = [];
        for (let node = at; node >= 0; node = before.get(node)!) path.unshift(node);
        return path;
      }
      for (const next of upward ? this.links.makers(at) : this.links.users(at)) if (!before.has(next)) before.set(next, at);
    }
    return [];
  }

  draw(call: number, depth: number, chosen: (call: number) => void): { picture: SVGElement; left: number; size: number; middle: number } {
    const centre = this.links.node(call);
    const { nodes, edges, left } = this.around(centre, depth);
    const graph = new Graph();
    graph.setGraph({ rankdir: "TB", nodesep: 14, ranksep: 30, marginx: 8, marginy: 8 });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const each of nodes.keys()) graph.setNode(String(each), { width: WIDE, height: HIGH + (this.links.ranks(each) ? LINE : 0) });
    for (const { from, to, between } of edges) graph.setEdge(String(from), String(to), between ? { width: 110, height: LINE, labelpos: "c" } : {});
    layout(graph);
    const { width = 1, height = 1 } = graph.graph() as { width?: number; height?: number };
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": say("flow.title"), class: "flow" });
    for (const edge of graph.edges()) {
      const { points, x, y } = graph.edge(edge) as { points: { x: number; y: number }[]; x: number; y: number };
      const between = edges.find(({ from, to }) => String(from) === edge.v && String(to) === edge.w)!.between ?? 0;
      const { excess, origin } = this.state(Number(edge.v));
      const carries = CARRIES.includes(origin) ? " carries" : "";
      picture.append(svg("path", { d: `M${points.map(({ x, y }) => `${x} ${y}`).join("L")}`, class: `edge heat${this.calls.heat(excess)}${carries}${between ? " long" : ""}` }));
      if (between) picture.append(svg("text", { x, y: y + 4, class: "between" }, say("flow.between", { number: between })));
      const [end, before] = [points[points.length - 1], points[points.length - 2]];
      const angle = (Math.atan2(end.y - before.y, end.x - before.x) * 180) / Math.PI;
      picture.append(svg("path", { d: "M0 0L-8 -4L-8 4Z", class: "arrow", transform: `translate(${end.x} ${end.y}) rotate(${angle})` }));
    }
    for (const each of nodes.keys()) picture.append(this.node(each, graph.node(String(each)) as { x: number; y: number; height: number }, each === centre, chosen));
    return { picture, left, size: nodes.size, middle: (graph.node(String(centre)) as { x: number }).x / width };
  }

  private node(node: number, at: { x: number; y: number; height: number }, isCentre: boolean, chosen: (call: number) => void): SVGElement {
    const { worst, excess, origin, suspect } = this.state(node);
    const name = this.calls.names[worst];
    const told = [Number.isNaN(excess) ? null : this.calls.excessText(excess), origin].filter(Boolean).join(", ");
    const number = /\.(\d+)\.(forward|backward)$/.exec(name);
    const label = `${operatorOf(name)}${number ? `.${number[1]}` : ""}${/backward/.test(name) ? " ←" : ""}`;
    const short = label.length > 24 ? `${label.slice(0, 22)}…` : label;
    const ranks = this.links.ranks(node);
    const place = ranks === null ? "" : "one" in ranks ? say("flow.rank", { number: ranks.one }) : say("flow.ranks", { ranks: ranks.several });
    const isMeeting = ranks !== null && "several" in ranks;
    const lines = [
      { text: short, class: "label" },
      { text: place, class: "told" },
      { text: told, class: "told" },
    ].filter((line) => line.text);
    const top = at.height / 2 - ((lines.length - 1) * LINE) / 2 + 4;
    const kinds = [`heat${this.calls.heat(excess)}`, isCentre && "centre", suspect && "suspect", isMeeting && "meeting"].filter(Boolean);
    const group = svg(
      "g",
      { class: `node ${kinds.join(" ")}`, transform: `translate(${at.x - WIDE / 2} ${at.y - at.height / 2})`, tabindex: 0, role: "button" },
      svg("title", {}, [name, place, told].filter(Boolean).join(", ")),
      svg("rect", { width: WIDE, height: at.height, rx: isMeeting ? at.height / 2 : 6 }),
      ...lines.map((line, index) => svg("text", { x: WIDE / 2, y: top + index * LINE, class: line.class, "aria-hidden": "true" }, line.text)),
    );
    group.addEventListener("click", () => chosen(worst));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        chosen(worst);
      }
    });
    return group;
  }
}
