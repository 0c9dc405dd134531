// What the page holds: columns whose blocks are unpacked when they are first asked for.

export type Cell = string | number | boolean | null;

export interface ColumnHead {
  name: string;
  style: string;
  says: string;
  ours: boolean;
  blocks: number[];
}

export interface Suspect {
  call: string;
  tensor: string;
  place: string; // step and rank, where the page has several
}

export interface Histogram {
  low: number;
  high: number;
  npu: number[];
  bench: number[];
}

export interface Panel {
  name: string;
  dtype: string;
  bench_dtype: string; // "" where there is one side alone
  shape: number[];
  elements: number;
  different: number;
  nonfinite: number;
  bench_nonfinite: number;
  values: Histogram | null;
  difference: Histogram | null;
  map: { axes: number[]; extents: number[]; rows: number; columns: number; low: number; high: number; levels: string } | null;
  worst: { index: number[]; npu: number | string; bench: number | string | null; npu_bits: string; bench_bits: string }[];
  bits: number[];
  bench_bits: number[];
}

export interface PageData {
  kind: "comparison" | "dump";
  names: [string, string | null]; // the columns that name each row on either side; of one dump there is one
  rows: number;
  mode: string;
  lang: string;
  words: Record<string, string>;
  columns: ColumnHead[];
  suspects: Suspect[];
  alike: { call: string; place: string }[]; // calls that show what a suspect shows
  panels: Panel[];
  meetings: { ranks: string; message: number[] }[]; // collectives of several ranks; of a message its two ends
  replayed: { call: string; verdict: string; says: string }[]; // what came of making calls again
}

// One block: distinct cells, and for each row which of them it has.
export class Block {
  private lowered: string[] | undefined;

  constructor(
    readonly cells: Cell[],
    readonly codes: Uint32Array,
  ) {}

  at(row: number): Cell {
    return this.cells[this.codes[row]];
  }

  // The distinct cells as lower-case text, for searching.
  lower(): string[] {
    this.lowered ??= this.cells.map((cell) => (cell === null ? "" : String(cell).toLowerCase()));
    return this.lowered;
  }
}

async function inflate(text: string): Promise<Uint8Array> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export async function unpack(text: string, rows: number): Promise<Block> {
  const raw = await inflate(text);
  const length = new DataView(raw.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + length))) as { cells: Cell[]; planes: number };
  const codes = new Uint32Array(rows);
  for (let plane = 0; plane < head.planes; plane++) {
    const start = 4 + length + plane * rows;
    for (let row = 0; row < rows; row++) codes[row] |= raw[start + row] << (8 * plane);
  }
  let seen = 0;
  for (let row = 0; row < rows; row++) codes[row] = codes[row] ? seen - codes[row] : seen++;
  return new Block(head.cells, codes);
}

export class Data {
  readonly head: PageData;
  private readonly loading = new Map<number, Promise<Block>>();
  private readonly ready = new Map<number, Block>();

  constructor() {
    this.head = JSON.parse(document.getElementById("data")!.textContent!) as PageData;
  }

  get isDump(): boolean {
    return this.head.kind === "dump";
  }

  // A row's name on the first side, else on the other, in two parts: the call and the argument.
  name(row: number, part: number): Cell {
    const [ours, theirs] = this.head.names;
    return this.get(ours, part).at(row) ?? (theirs === null ? null : this.get(theirs, part).at(row));
  }

  get rows(): number {
    return this.head.rows;
  }

  has(name: string): boolean {
    return this.head.columns.some((column) => column.name === name);
  }

  column(name: string): ColumnHead {
    const found = this.head.columns.find((column) => column.name === name);
    if (!found) throw new Error(`no column ${name}`);
    return found;
  }

  // The blocks of columns, unpacked; names that there is no column of are passed over.
  async load(names: Iterable<string>): Promise<void> {
    const known = new Set(names);
    const blocks = this.head.columns.filter((column) => known.has(column.name)).flatMap((column) => column.blocks);
    await Promise.all(blocks.map((number) => this.block(number)));
  }

  isLoaded(name: string): boolean {
    return this.column(name).blocks.every((number) => this.ready.has(number));
  }

  // A block of a column that has been loaded.
  get(name: string, part = 0): Block {
    const found = this.ready.get(this.column(name).blocks[part]);
    if (!found) throw new Error(`${name} is not loaded`);
    return found;
  }

  text(name: string, row: number): Cell {
    const column = this.column(name);
    const first = this.get(name).at(row);
    if (column.blocks.length === 1 || first === null) return first;
    const second = this.get(name, 1).at(row);
    return second === null ? first : `${first}.${second}`;
  }

  private block(number: number): Promise<Block> {
    let found = this.loading.get(number);
    if (!found) {
      const holder = document.getElementById(`b${number}`)!;
      found = unpack(holder.textContent!, this.rows).then((block) => {
        holder.remove();
        this.ready.set(number, block);
        return block;
      });
      this.loading.set(number, found);
    }
    return found;
  }
}
