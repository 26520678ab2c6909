import { setImmediate as turn } from "node:timers/promises";
import type { Cell, Column, Row } from "../tabular/table.ts";
import type { GenerateColumn, GenerateSpec } from "./generate-spec.ts";
import { readPattern } from "./pattern.ts";
import { permuted, Random } from "./random.ts";
import { realistic } from "./realistic.ts";
import type { RowSource } from "./row-source.ts";

const ROWS_PER_BATCH = 1_000;
const DAY_MS = 86_400_000;

export interface GeneratorOptions {
  signal: AbortSignal;
  /** The first row, from 0: every row can be made by itself. */
  from?: number;
}

/** Makes the cell of a row; `random` is at the place of that cell. */
type MakeCell = (random: Random, row: number) => Cell;

/** Makes rows of a specification: the same ones for the same seed, on every machine. */
export async function openGenerator(spec: GenerateSpec, { signal, from = 0 }: GeneratorOptions): Promise<RowSource> {
  const columns = spec.columns.map(columnOf);
  const makers = await Promise.all(spec.columns.map((column, stream) => makerOf(column, spec.seed, stream)));
  let pages = 0;
  let closed = false;
  async function* batches(): AsyncGenerator<readonly Row[]> {
    for (let first = from; first < spec.rows; first += ROWS_PER_BATCH) {
      // Rows are made without a wait: others must have their turn.
      await turn();
      signal.throwIfAborted();
      if (closed) return;
      const last = Math.min(first + ROWS_PER_BATCH, spec.rows);
      pages += 1;
      yield Array.from({ length: last - first }, (_, index) => makers.map((make) => make(first + index)));
    }
  }
  return {
    columns,
    batches: batches(),
    position: () => ({
      pages,
      totalPages: Math.ceil(Math.max(spec.rows - from, 0) / ROWS_PER_BATCH),
      totalRows: Math.max(spec.rows - from, 0),
    }),
    close: async () => void (closed = true),
  };
}

function columnOf({ name, kind }: GenerateColumn): Column {
  const column = { key: name, title: name };
  if (kind === "decimal") return { ...column, type: "number" };
  return kind === "date" || kind === "datetime" ? { ...column, type: kind } : column;
}

async function makerOf(column: GenerateColumn, seed: number, stream: number): Promise<(row: number) => Cell> {
  const make = await makeCell(column, seed, stream);
  const random = new Random(seed, stream);
  const nulls = column.null_ratio;
  return (row) => {
    random.moveTo(row);
    return nulls > 0 && random.next() < nulls ? null : make(random, row);
  };
}

async function makeCell(column: GenerateColumn, seed: number, stream: number): Promise<MakeCell> {
  if ("locale" in column) return realistic(column.kind, column.locale);
  switch (column.kind) {
    case "sequence":
      return (_, row) => column.start + column.step * row;
    case "integer": {
      const { min, max, unique } = column;
      if (!unique) return (random) => random.integer(min, max);
      return (_, row) => min + permuted(row, max - min + 1, seed, stream);
    }
    case "decimal":
      return decimals(column.min, column.max, column.scale);
    case "boolean":
      return (random) => random.next() < column.probability;
    case "uuid":
      return uuid;
    case "enum":
      return choices(column.values, column.weights);
    case "pattern":
      return readPattern(column.pattern);
    case "date": {
      const [min, max] = [Date.parse(column.min) / DAY_MS, Date.parse(column.max) / DAY_MS];
      return (random) => new Date(random.integer(min, max) * DAY_MS).toISOString().slice(0, 10);
    }
    case "datetime": {
      const [min, max] = [Date.parse(column.min) / 1_000, Date.parse(column.max) / 1_000];
      return (random) => new Date(random.integer(min, max) * 1_000).toISOString().slice(0, 19).replace("T", " ");
    }
    case "constant":
      return () => column.value;
  }
}

/** Texts of whole units, because a double has no 0.1. */
function decimals(min: number, max: number, scale: number): MakeCell {
  const [from, to] = [Math.round(min * 10 ** scale), Math.round(max * 10 ** scale)];
  return (random) => {
    const units = random.integer(from, to);
    const digits = String(Math.abs(units)).padStart(scale + 1, "0");
    const text = scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
    return units < 0 ? `-${text}` : text;
  };
}

function choices(values: readonly Cell[], weights: readonly number[] | undefined): MakeCell {
  if (!weights) return (random) => values[random.integer(0, values.length - 1)];
  const ends: number[] = [];
  for (const weight of weights) ends.push((ends.at(-1) ?? 0) + weight);
  const total = ends.at(-1)!;
  return (random) => {
    const at = random.next() * total;
    return values[ends.findIndex((end) => at < end)];
  };
}

/** Of version 4 (RFC 9562). */
function uuid(random: Random): string {
  const part = (digits: number) =>
    random
      .integer(0, 16 ** digits - 1)
      .toString(16)
      .padStart(digits, "0");
  const variant = (8 + random.integer(0, 3)).toString(16);
  return `${part(8)}-${part(4)}-4${part(3)}-${variant}${part(3)}-${part(12)}`;
}
