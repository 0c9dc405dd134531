// Who made what a call reads, and who reads what it makes.

import { isOutput, type Calls } from "./calls";
import type { Cell, Data } from "./data";

// The graph that is drawn: its nodes are calls, and collectives in which calls of several ranks meet.
export interface Links {
  node(call: number): number; // the node of a call: a call that stands for it
  members(node: number): number[];
  makers(node: number): number[];
  users(node: number): number[];
  crosses(node: number, from: number): boolean; // is it a collective, or of another rank than the node `from`?
  ranks(node: number): { one: string } | { several: string } | null; // where a node is, where there are ranks
}

const STATISTICS = ["Dtype", "Tensor Shape", "max", "min", "mean", "l2norm"];
const statistics = (data: Data): string[] => STATISTICS.map((name) => (data.isDump ? name : `NPU ${name}`));
const MAKERS = "@makers";
const MEETINGS = "@meetings";
const RANK = "@rank";
const VALUE = "@value";

export function isOfRuns(data: Data): boolean {
  return data.has(MAKERS);
}

export function wanted(data: Data): string[] {
  if (isOfRuns(data)) return [MAKERS, MEETINGS, RANK];
  return data.has(VALUE) ? [VALUE] : statistics(data);
}

export function linksOf(data: Data, calls: Calls): Links {
  return isOfRuns(data) ? new RunLinks(data, calls) : new ValueLinks(data, calls);
}

// One run: calls that name one value.
class ValueLinks implements Links {
  private readonly none = 0xffffffff;
  private readonly values: Uint32Array;
  private readonly maker: Int32Array; // of each value the row that first wrote it, or -1
  private readonly readers = new Map<number, number[]>();

  constructor(
    private readonly data: Data,
    private readonly calls: Calls,
  ) {
    this.values = data.has(VALUE) ? this.recorded() : this.likely();
    let most = 0;
    for (const value of this.values) if (value !== this.none && value >= most) most = value + 1;
    this.maker = new Int32Array(most).fill(-1);
    for (let row = 0; row < data.rows; row++) {
      const value = this.values[row];
      if (value === this.none) continue;
      if (isOutput(calls.argumentOf(row))) {
        if (this.maker[value] < 0) this.maker[value] = row;
      } else {
        const readers = this.readers.get(value);
        if (readers) readers.push(row);
        else this.readers.set(value, [row]);
      }
    }
  }

  node(call: number): number {
    return call;
  }

  members(node: number): number[] {
    return [node];
  }

  crosses(): boolean {
    return false;
  }

  ranks(): null {
    return null;
  }

  // The calls that wrote what the rows of `call` read.
  makers(call: number): number[] {
    const found = new Set<number>();
    for (let row = this.calls.first[call]; row < this.calls.first[call + 1]; row++) {
      const value = this.values[row];
      if (value === this.none || isOutput(this.calls.argumentOf(row)) || this.maker[value] < 0) continue;
      found.add(this.calls.ofRow[this.maker[value]]);
    }
    found.delete(call);
    return [...found];
  }

  users(call: number): number[] {
    const found = new Set<number>();
    for (let row = this.calls.first[call]; row < this.calls.first[call + 1]; row++) {
      const value = this.values[row];
      if (value === this.none || !isOutput(this.calls.argumentOf(row)) || this.maker[value] !== row) continue;
      for (const reader of this.readers.get(value) ?? []) found.add(this.calls.ofRow[reader]);
    }
    found.delete(call);
    return [...found];
  }

  private recorded(): Uint32Array {
    const block = this.data.get(VALUE);
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
}

// Several runs: each call knows its makers, and the collectives in which it met calls of other ranks.  Those of one
// collective are one node; the two ends of a message are two.
class RunLinks implements Links {
  private readonly nodes: Uint32Array;
  private readonly met = new Map<number, number>(); // the collective of a node
  private readonly together = new Map<number, number[]>();
  private readonly made: number[][];
  private readonly read: number[][];

  constructor(
    private readonly data: Data,
    private readonly calls: Calls,
  ) {
    const { size } = calls;
    this.nodes = Uint32Array.from({ length: size }, (_, call) => call);
    this.made = Array.from({ length: size }, () => []);
    this.read = Array.from({ length: size }, () => []);
    const meetings = this.meet();
    const back = listed(data.get(MAKERS).cells);
    const { codes } = data.get(MAKERS);
    for (let call = 0; call < size; call++) {
      const row = calls.first[call];
      for (const distance of back[codes[row]]) this.link(calls.ofRow[row - distance], call);
    }
    for (const [from, to] of meetings) this.link(from, to);
  }

  crosses(node: number, from: number): boolean {
    return this.met.has(node) || this.rank(node) !== this.rank(from);
  }

  node(call: number): number {
    return this.nodes[call];
  }

  members(node: number): number[] {
    return this.together.get(node) ?? [node];
  }

  makers(node: number): number[] {
    return this.made[node];
  }

  users(node: number): number[] {
    return this.read[node];
  }

  ranks(node: number): { one: string } | { several: string } | null {
    const meeting = this.met.get(node);
    if (meeting !== undefined) return { several: this.data.head.meetings[meeting].ranks };
    const rank = this.rank(node);
    return rank === null ? null : { one: String(rank) };
  }

  private rank(call: number): Cell {
    return this.data.get(RANK).at(this.calls.first[call]);
  }

  private link(from: number, to: number): void {
    const [maker, user] = [this.nodes[from], this.nodes[to]];
    if (maker === user || this.made[user].includes(maker)) return;
    this.made[user].push(maker);
    this.read[maker].push(user);
  }

  // Puts the calls of each collective together; the messages, from sender to receiver.
  private meet(): [number, number][] {
    const ends = new Map<number, number[]>();
    const ids = listed(this.data.get(MEETINGS).cells);
    const { codes } = this.data.get(MEETINGS);
    const first = new Map<number, number>();
    for (let call = 0; call < this.calls.size; call++) {
      for (const id of ids[codes[this.calls.first[call]]]) {
        const { message } = this.data.head.meetings[id];
        if (message.length) {
          const pair = ends.get(id) ?? [-1, -1];
          pair[this.rank(call) === message[0] ? 0 : 1] = call;
          ends.set(id, pair);
          continue;
        }
        const node = first.get(id) ?? call;
        first.set(id, node);
        this.nodes[call] = node;
        this.met.set(node, id);
        const members = this.together.get(node);
        if (members) members.push(call);
        else this.together.set(node, [call]);
        break; // collectives that are issued as one are one
      }
    }
    return [...ends.values()].filter(([from, to]) => from >= 0 && to >= 0) as [number, number][];
  }
}

// Cells of numbers apart by spaces.
function listed(cells: Cell[]): number[][] {
  return cells.map((cell) => (cell === null ? [] : String(cell).split(" ").map(Number)));
}
