/** The bench's table: ten columns of what exports hold, texts of two scripts, numbers, a date, an empty cell. */
import type { Cell, Row } from "../../../lib/tabular/table.ts";

export const COLUMNS = Array.from({ length: 10 }, (_, index) => ({ key: `c${index}`, title: `Column ${index}` }));

export const BATCH = 1_000;
/** As many rows differ; then they begin again. libxlsxwriter.c has the same. */
const DISTINCT = 20_000;

function rowOf(number: number): Cell[] {
  const index = number % DISTINCT;
  return [
    index,
    `用户名称${index % 9973}`,
    `user${index}@example.com`,
    index * 1.25,
    index % 2 === 0,
    `2026-11-${10 + (index % 20)} 10:00:00`,
    `order-${(index * 7919) % 1_000_003}`,
    index % 7,
    null,
    `some text, with a comma ${index % 100}`,
  ];
}

/** `count` rows from number `first` on. */
export function rowsFrom(first: number, count: number): Row[] {
  return Array.from({ length: count }, (_, index) => rowOf(first + index));
}

/** Made once and read over and over: what rows cost to make says nothing of their writers. */
export function* keptBatches(rows: number): Generator<Row[]> {
  const kept = Array.from({ length: DISTINCT / BATCH }, (_, batch) => rowsFrom(batch * BATCH, BATCH));
  yield* batchesOf(rows, (batch) => kept[batch % kept.length]!);
}

/** Made as they are read, as a source makes them: memory is theirs, too, until they are collected. */
export function* freshBatches(rows: number): Generator<Row[]> {
  yield* batchesOf(rows, (batch) => rowsFrom(batch * BATCH, BATCH));
}

function* batchesOf(rows: number, batchAt: (batch: number) => Row[]): Generator<Row[]> {
  const whole = Math.floor(rows / BATCH);
  for (let batch = 0; batch < whole; batch += 1) yield batchAt(batch);
  if (rows % BATCH > 0) yield batchAt(whole).slice(0, rows % BATCH);
}
