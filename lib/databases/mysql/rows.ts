import type { FieldPacket } from "mysql2";
import type { RowSource } from "../../sources/row-source.ts";
import type { Cell, Column, Row } from "../../tabular/table.ts";
import type { Finisher } from "../batches.ts";
import { batchSource, bytesText, columnsOf, ROWS_PER_BATCH } from "../batches.ts";
import { refusedByDatabase } from "../link.ts";
import type { Session } from "./session.ts";
import { explained } from "./session.ts";

/** https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html */
const TYPE = {
  DECIMAL: 0,
  TINY: 1,
  SHORT: 2,
  LONG: 3,
  FLOAT: 4,
  DOUBLE: 5,
  TIMESTAMP: 7,
  LONGLONG: 8,
  INT24: 9,
  DATE: 10,
  DATETIME: 12,
  YEAR: 13,
  BIT: 16,
  VECTOR: 242,
  JSON: 245,
  NEWDECIMAL: 246,
  TINY_BLOB: 249,
  BLOB: 252,
  STRING: 254,
  GEOMETRY: 255,
};
const BINARY_CHARSET = 63;

const NUMBERS = [
  "DECIMAL",
  "TINY",
  "SHORT",
  "LONG",
  "FLOAT",
  "DOUBLE",
  "LONGLONG",
  "INT24",
  "YEAR",
  "BIT",
  "NEWDECIMAL",
] as const;

const COLUMN_TYPES: Readonly<Record<number, Column["type"]>> = {
  ...Object.fromEntries(NUMBERS.map((name) => [TYPE[name], "number"])),
  [TYPE.DATE]: "date",
  [TYPE.DATETIME]: "datetime",
  [TYPE.TIMESTAMP]: "datetime",
};

/** Two batches wait at most: the one that is read next, and the one that fills. */
const BATCHES_WAITING = 2;

/**
 * Reads the rows of a statement as they come; where they are read slower than that, the server waits. `stop` has to end the
 * statement on the server where not all is read; `close` is called when it has ended.
 */
export async function readRows(
  { connection, link }: Session,
  sql: string,
  { stop, close }: { stop: () => Promise<void>; close: () => Promise<void> },
): Promise<RowSource> {
  const reader = new BatchReader(
    () => connection.pause(),
    () => connection.resume(),
  );
  const query = connection.query({ sql, values: [] });
  query.on("fields", (fields: readonly FieldPacket[] | undefined) => {
    // Of a second result, which only a procedure has, nothing is read.
    if (fields) reader.begin(fields);
  });
  query.on("result", (row: unknown) => reader.add(row));
  query.on("error", (error) => reader.fail(error));
  query.on("end", () => reader.finish());
  const wait = <T>(start: () => Promise<T>) =>
    link.wait(start).catch((error: unknown) => {
      throw explained(error);
    });
  const closeAll = () =>
    link.tidy(async () => {
      if (!reader.complete) {
        await stop();
        await wait(() => reader.drain());
      }
      await close();
    });
  try {
    const columns = await wait(() => reader.columns());
    return batchSource(columns, reader.batches(wait), closeAll);
  } catch (error) {
    await closeAll();
    throw error;
  }
}

type Wait = <T>(start: () => Promise<T>) => Promise<T>;

/** Makes batches of the rows that the driver hands out one by one. */
class BatchReader {
  readonly #pause: () => void;
  readonly #resume: () => void;
  #batch: Cell[][] = [];
  #full: Row[][] = [];
  #paused = false;
  #finishers: readonly Finisher[] = [];
  #columns: Column[] | undefined;
  #end: { error?: unknown } | undefined;
  #wake: () => void = () => {};

  constructor(pause: () => void, resume: () => void) {
    this.#pause = pause;
    this.#resume = resume;
  }

  /** Whether the last row was received. */
  get complete(): boolean {
    return this.#end !== undefined;
  }

  begin(fields: readonly FieldPacket[]): void {
    if (this.#columns) return;
    this.#columns = columnsOf(fields.map((field) => ({ name: field.name, type: COLUMN_TYPES[field.columnType!] })));
    this.#finishers = fields.flatMap((field, column): Finisher[] => {
      const finish = finisherOf(field);
      return finish ? [[column, finish]] : [];
    });
    this.#wake();
  }

  add(row: unknown): void {
    if (!Array.isArray(row)) return;
    const cells = row as Cell[];
    for (const [column, finish] of this.#finishers) {
      const cell = cells[column];
      if (cell !== null) cells[column] = finish(cell as never);
    }
    if (this.#batch.push(cells) < ROWS_PER_BATCH) return;
    this.#full.push(this.#batch);
    this.#batch = [];
    if (this.#full.length >= BATCHES_WAITING && !this.#paused) {
      this.#paused = true;
      this.#pause();
    }
    this.#wake();
  }

  /** Lets what still comes pass, to the end of it. */
  async drain(): Promise<void> {
    this.add = () => {};
    this.#full = [];
    this.#resume();
    while (!this.#end) await this.#woken();
  }

  fail(error: unknown): void {
    this.#end ??= { error };
    this.#wake();
  }

  finish(): void {
    this.#end ??= {};
    if (this.#batch.length > 0) this.#full.push(this.#batch);
    this.#batch = [];
    this.#wake();
  }

  async columns(): Promise<readonly Column[]> {
    while (!this.#columns) {
      if (this.#end) throw this.#end.error ?? refusedByDatabase("the statement has no rows to answer");
      await this.#woken();
    }
    return this.#columns;
  }

  async *batches(wait: Wait): AsyncGenerator<readonly Row[]> {
    for (;;) {
      const batch = this.#full.shift() ?? (await wait(() => this.#next()));
      if (!batch) return;
      if (this.#paused && this.#full.length < BATCHES_WAITING - 1) {
        this.#paused = false;
        this.#resume();
      }
      yield batch;
    }
  }

  async #next(): Promise<Row[] | undefined> {
    for (;;) {
      const batch = this.#full.shift();
      if (batch) return batch;
      if (this.#end?.error) throw this.#end.error;
      if (this.#end) return undefined;
      await this.#woken();
    }
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }
}

/**
 * How a cell is finished. The driver's own reading of doubles rounds some of 16 digits, and takes spatial values apart: it is
 * told here, before it makes the reader of the rows, that it has a text and bytes.
 */
function finisherOf(field: FieldPacket): Finisher[1] | undefined {
  switch (field.columnType ?? TYPE.STRING) {
    case TYPE.FLOAT:
    case TYPE.DOUBLE:
      field.columnType = TYPE.NEWDECIMAL;
      return Number;
    case TYPE.BIT:
      return (bytes: Buffer) => BigInt(`0x${bytes.toString("hex") || "0"}`).toString();
    case TYPE.GEOMETRY:
    case TYPE.VECTOR:
      field.columnType = TYPE.BLOB;
      return bytesText;
    case TYPE.JSON:
      return undefined;
    default:
      return isBytes(field) ? bytesText : undefined;
  }
}

function isBytes({ columnType = 0, characterSet, ...field }: FieldPacket): boolean {
  const { extendedFormat } = field as { extendedFormat?: string };
  if (characterSet !== BINARY_CHARSET || extendedFormat === "json") return false;
  return columnType === 15 || (columnType >= TYPE.TINY_BLOB && columnType <= TYPE.STRING);
}
