// Rows put together to calls, in the order of the run.

import type { Data } from "./data";
import { factorText, heat, shareText, shareHeat } from "./format";
import { asNumber } from "./sorting";
import { say } from "./words";

export type Direction = "forward" | "backward" | "optimizer";
export const DIRECTIONS: Direction[] = ["forward", "backward", "optimizer"];

export const BASE = ["NPU Name", "Bench Name", "Module", "Result", "Origin", "RelL2", "Est. RelL2", "Expected", "Excess", "Name", "max", "min", "NaN", "Inf", "Range Used", "Step and Rank", "Bench Module"];
// What must be unpacked before calls can be told.

const DIFFERS = Infinity;

export function operatorOf(call: string): string {
  const parts = call.split(".");
  if (parts[0] === "Module" || parts[0] === "Cell") return parts[parts.length - 3] ?? call;
  return parts.length < 4 ? (parts[1] ?? call) : parts.slice(1, -2).join(".");
}

export function directionOf(call: string): Direction {
  if (call.startsWith("Optimizer.")) return "optimizer";
  return /\.(backward|parameters_grad)(\.\d+)?$/.test(call) ? "backward" : "forward";
}

export function isOutput(argument: string): boolean {
  return /^(output|written|parameters_grad)/.test(argument);
}

export class Calls {
  readonly ofRow: Uint32Array;
  readonly first: Uint32Array; // the first row of each call, and the number of rows at the end
  readonly names: string[] = [];
  readonly direction: Uint8Array;
  readonly error: Float64Array; // of the worst of what a call wrote, of one dump its largest value; NaN where none was measured
  readonly expected: Float64Array;
  readonly excess: Float64Array; // of one dump the share of its type's range
  readonly worst: Uint32Array; // the row that these are of
  readonly side: Uint8Array; // 0 both, 1 the NPU side alone, 2 the bench alone
  readonly modules: string[] = [];
  readonly benchModules: string[] = []; // where a call ran on the bench side
  readonly places: string[] = []; // step and rank, where there are several
  readonly replayed: Map<string, { verdict: string; says: string }>;
  readonly suspect: Uint8Array; // 1 a suspect, 2 one of its like
  private readonly index = new Map<string, number>();

  constructor(private readonly data: Data) {
    const { rows } = data;
    const [ours, theirs] = data.head.names;
    const npu = data.get(ours);
    const bench = theirs === null ? npu : data.get(theirs);
    this.replayed = new Map(data.head.replayed.map((each) => [each.call, each]));
    const place = data.has("Step and Rank") ? data.get("Step and Rank") : null;
    this.ofRow = new Uint32Array(rows);
    const first: number[] = [];
    for (let row = 0; row < rows; row++) {
      const same = row > 0 && npu.codes[row] === npu.codes[row - 1] && bench.codes[row] === bench.codes[row - 1];
      const halves = row > 0 && this.nameOf(row) === this.nameOf(row - 1); // an argument that one side has alone
      const elsewhere = place !== null && row > 0 && place.codes[row] !== place.codes[row - 1];
      if ((!same && !halves) || elsewhere) {
        this.places.push(place ? String(place.at(row) ?? "") : "");
        first.push(row);
        const name = this.nameOf(row);
        this.names.push(name);
        for (const key of [name, `${name}\0${this.places[this.places.length - 1]}`]) if (!this.index.has(key)) this.index.set(key, first.length - 1);
      }
      this.ofRow[row] = first.length - 1;
    }
    const size = first.length;
    this.first = Uint32Array.from([...first, rows]);
    this.direction = Uint8Array.from(this.names, (name) => DIRECTIONS.indexOf(directionOf(name)));
    this.error = new Float64Array(size).fill(NaN);
    this.expected = new Float64Array(size).fill(NaN);
    this.excess = new Float64Array(size).fill(NaN);
    this.worst = Uint32Array.from(first);
    this.side = new Uint8Array(size);
    this.suspect = new Uint8Array(size);
    this.measure();
    for (const { call, place } of data.head.alike) this.mark(call, place, 2);
    for (const suspect of data.head.suspects) this.mark(suspect.call, suspect.place, 1);
  }

  get isDump(): boolean {
    return this.data.isDump;
  }

  get size(): number {
    return this.names.length;
  }

  // The number of the call of that name, where `place` is given of that step and rank; -1 where there is none.
  find(name: string, place = ""): number {
    return this.index.get(place ? `${name}\0${place}` : name) ?? -1;
  }

  nameOf(row: number): string {
    return String(this.data.name(row, 0) ?? "");
  }

  argumentOf(row: number): string {
    return String(this.data.name(row, 1) ?? "");
  }

  // How warm a call's excess is, and how it is told.
  heat(excess: number): number {
    return this.data.isDump ? shareHeat(excess) : heat(excess);
  }

  // What is to be said of a call's excess beside its error; null for nothing.
  excessTold(excess: number): string | null {
    if (Number.isNaN(excess) || (this.data.isDump && !Number.isFinite(excess))) return null;
    return say("plot.tip.excess", { excess: this.excessText(excess) });
  }

  excessText(excess: number): string {
    return this.data.isDump ? shareText(excess) : factorText(excess);
  }

  private mark(name: string, place: string, kind: number): void {
    const call = this.find(name, place);
    if (call >= 0) this.suspect[call] = kind;
  }

  private measure(): void {
    const { data } = this;
    const errors = data.isDump ? largest(data) : rowErrors(data);
    const expected = numbers(data, "Expected");
    const excess = numbers(data, data.isDump ? "Range Used" : "Excess");
    const [first, second] = data.head.names;
    const npu = data.get(first);
    const bench = second === null ? npu : data.get(second);
    const hasModule = data.has("Module");
    const hasBench = data.has("Bench Module");
    for (let call = 0; call < this.size; call++) {
      const start = this.first[call];
      const end = this.first[call + 1];
      let best = -1;
      let both = false;
      let ours = false;
      for (let row = start; row < end; row++) {
        const here = npu.at(row) !== null;
        both ||= here && bench.at(row) !== null;
        ours ||= here;
        if (Number.isNaN(errors[row])) continue;
        if (best < 0 || this.isWorse(row, best, excess, errors)) best = row;
      }
      this.side[call] = both ? 0 : ours ? 1 : 2;
      const module = hasModule ? String(data.get("Module").at(start) ?? "") : "";
      this.modules.push(module);
      this.benchModules.push(hasBench ? String(data.get("Bench Module").at(start) ?? module) : module);
      if (best < 0) continue;
      this.worst[call] = best;
      this.error[call] = errors[best];
      this.expected[call] = expected[best];
      this.excess[call] = excess[best];
    }
  }

  // What a call wrote tells more of it than what it read.
  private isWorse(row: number, than: number, excess: Float64Array, errors: Float64Array): boolean {
    const written = isOutput(this.argumentOf(row));
    if (written !== isOutput(this.argumentOf(than))) return written;
    const [a, b] = [excess[row], excess[than]];
    if (!Number.isNaN(a) && !Number.isNaN(b) && a !== b) return a > b;
    if (Number.isNaN(a) !== Number.isNaN(b)) return !Number.isNaN(a);
    return errors[row] > errors[than];
  }
}

export function numbers(data: Data, name: string): Float64Array {
  if (!data.has(name)) return new Float64Array(data.rows).fill(NaN);
  const block = data.get(name);
  const cells = Float64Array.from(block.cells, asNumber);
  return Float64Array.from(block.codes, (code) => cells[code]);
}

// The largest modulus of each row of one dump; infinite where NaN or Inf is among the elements.
export function largest(data: Data): Float64Array {
  const columns = ["max", "min"].map((name) => numbers(data, name));
  const broken = ["NaN", "Inf"].map((name) => numbers(data, name));
  return Float64Array.from({ length: data.rows }, (_, row) => {
    if (broken.some((each) => each[row] > 0)) return Infinity;
    const ends = columns.map((each) => Math.abs(each[row])).filter((end) => !Number.isNaN(end));
    return ends.length ? Math.max(...ends) : NaN;
  });
}

// The relative error of each row: as measured, else from excess and what is expected; of digests equal or not.
export function rowErrors(data: Data): Float64Array {
  const name = ["RelL2", "Est. RelL2"].find((each) => data.has(each));
  const expected = numbers(data, "Expected");
  const excess = numbers(data, "Excess");
  const found = name ? numbers(data, name) : new Float64Array(data.rows).fill(NaN);
  const digests = data.head.mode === "md5" && data.has("NPU MD5") && data.isLoaded("NPU MD5");
  for (let row = 0; row < data.rows; row++) {
    if (!Number.isNaN(found[row])) continue;
    if (digests) {
      const [ours, theirs] = [data.get("NPU MD5").at(row), data.get("BENCH MD5").at(row)];
      if (ours !== null && theirs !== null) found[row] = ours === theirs ? 0 : DIFFERS;
    } else {
      found[row] = expected[row] * excess[row];
    }
  }
  return found;
}
