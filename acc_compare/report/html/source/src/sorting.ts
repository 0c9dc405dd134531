// Orders of rows: each distinct cell has a rank, and rows are put in order by counting.

import type { Block, Cell } from "./data";

const LAST = 0xffffffff;

// 0, 1, 2 ... `size` - 1.
export function inOrder(size: number): Uint32Array<ArrayBuffer> {
  const order = new Uint32Array(size);
  for (let i = 0; i < size; i++) order[i] = i;
  return order;
}

// Those of `order` that `mask` lets pass, as they stand.
export function passing(order: Uint32Array, mask: Uint8Array): Uint32Array {
  const found = new Uint32Array(order.length);
  let size = 0;
  for (let i = 0; i < order.length; i++) {
    found[size] = order[i];
    size += mask[order[i]];
  }
  return found.subarray(0, size);
}

// The indices of `values` in ascending order, NaN last: a radix sort over the bits, 16 at a time.
export function ascending(values: Float64Array): Uint32Array {
  const size = values.length;
  const words = new Uint32Array(new Float64Array(values).buffer);
  for (let i = 0; i < size; i++) {
    if (Number.isNaN(values[i])) {
      words[2 * i] = words[2 * i + 1] = LAST;
    } else if (words[2 * i + 1] >>> 31) {
      words[2 * i] = ~words[2 * i];
      words[2 * i + 1] = ~words[2 * i + 1];
    } else {
      words[2 * i + 1] |= 0x80000000;
    }
  }
  let order = inOrder(size);
  let other = new Uint32Array(size);
  const counts = new Uint32Array(65537);
  for (let digit = 0; digit < 4; digit++) {
    const word = digit >> 1;
    const shift = (digit & 1) * 16;
    counts.fill(0);
    for (let i = 0; i < size; i++) counts[((words[2 * i + word] >>> shift) & 0xffff) + 1]++;
    for (let i = 1; i < 65537; i++) counts[i] += counts[i - 1];
    for (let i = 0; i < size; i++) {
      const index = order[i];
      other[counts[(words[2 * index + word] >>> shift) & 0xffff]++] = index;
    }
    [order, other] = [other, order];
  }
  return order;
}

export function asNumber(cell: Cell): number {
  if (typeof cell === "number") return cell;
  if (cell === "inf" || cell === "nan") return Infinity;
  return cell === "-inf" ? -Infinity : NaN;
}

// The rank of each distinct cell of a block, equal cells equal; LAST for a cell that holds nothing.
export function ranks(block: Block, isText: boolean): Uint32Array {
  const { cells } = block;
  const found = new Uint32Array(cells.length).fill(LAST);
  if (isText) {
    const order = cells.map((_, i) => i).filter((i) => cells[i] !== null && cells[i] !== "");
    const texts = cells.map((cell) => (cell === null ? "" : String(cell)));
    order.sort((a, b) => (texts[a] < texts[b] ? -1 : texts[a] > texts[b] ? 1 : 0));
    order.forEach((cell, rank) => (found[cell] = rank));
    return found;
  }
  const numbers = Float64Array.from(cells, (cell) => (typeof cell === "boolean" ? Number(cell) : asNumber(cell)));
  let rank = -1;
  let before = NaN;
  for (const cell of ascending(numbers)) {
    if (Number.isNaN(numbers[cell])) break;
    if (numbers[cell] !== before) rank++;
    before = numbers[cell];
    found[cell] = rank;
  }
  return found;
}

// `order`, stably put in order by the rank of each row; rows that hold nothing stay last both ways.
export function byRank(order: Uint32Array, codes: Uint32Array, rank: Uint32Array, descending: boolean): Uint32Array {
  const last = rank.length + 1;
  const place = rank.map((each) => (each === LAST ? last : descending ? rank.length - each : each));
  const counts = new Uint32Array(last + 2);
  for (let i = 0; i < codes.length; i++) counts[place[codes[i]] + 1]++;
  for (let i = 1; i < counts.length; i++) counts[i] += counts[i - 1];
  const sorted = new Uint32Array(order.length);
  for (let i = 0; i < order.length; i++) {
    const row = order[i];
    sorted[counts[place[codes[row]]]++] = row;
  }
  return sorted;
}
