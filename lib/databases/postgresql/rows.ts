import type { CustomTypesConfig, FieldDef } from "pg";
import Cursor from "pg-cursor";
import type { RowSource } from "../../sources/row-source.ts";
import type { Cell, Column, Row } from "../../tabular/table.ts";
import { batchSource, columnsOf, ROWS_PER_BATCH } from "../batches.ts";
import { refusedByDatabase } from "../link.ts";
import type { Session } from "./session.ts";
import { explained } from "./session.ts";

/** Types of the server's own by their OID, where their texts are more than that: https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat */
const BOOL = 16;
const INT8 = 20;
const INT2 = 21;
const INT4 = 23;
const OID = 26;
const FLOAT4 = 700;
const FLOAT8 = 701;
const DATE = 1082;
const TIMESTAMP = 1114;
const TIMESTAMPTZ = 1184;
const NUMERIC = 1700;

const COLUMN_TYPES: Readonly<Record<number, Column["type"]>> = {
  [INT8]: "number",
  [INT2]: "number",
  [INT4]: "number",
  [OID]: "number",
  [FLOAT4]: "number",
  [FLOAT8]: "number",
  [NUMERIC]: "number",
  [DATE]: "date",
  [TIMESTAMP]: "datetime",
  [TIMESTAMPTZ]: "datetime",
};

type Parse = (text: string) => Cell;

const PARSERS: Readonly<Record<number, Parse>> = {
  [BOOL]: (text) => text === "t",
  [INT2]: Number,
  [INT4]: Number,
  [OID]: Number,
  [FLOAT4]: finiteNumber,
  [FLOAT8]: finiteNumber,
};

const TYPES: CustomTypesConfig = { getTypeParser: (oid: number) => PARSERS[oid] ?? String };

function finiteNumber(text: string): Cell {
  const value = Number(text);
  return Number.isFinite(value) ? value : text;
}

/**
 * Reads the rows of one statement through a cursor, a batch ahead of the reader. `stop` has to end on the server what runs
 * where not all is read; `close` is called when it has ended.
 */
export async function readRows(
  { client, link }: Session,
  statement: string,
  { stop, close }: { stop: () => Promise<void>; close: () => Promise<void> },
): Promise<RowSource> {
  const cursor = client.query(new Cursor<Cell[]>(statement, [], { rowMode: "array", types: TYPES }));
  const reader = new BatchReader(cursor);
  const wait = <T>(start: () => Promise<T>) =>
    link.wait(start).catch((error: unknown) => {
      throw explained(error);
    });
  const closeAll = () =>
    link.tidy(async () => {
      await wait(() => reader.close(stop));
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

class BatchReader {
  readonly #cursor: Cursor<Cell[]>;
  #fields: readonly FieldDef[] = [];
  /** The batch that is asked for. */
  #next: Promise<Row[]> | undefined;
  #state: "open" | "reading" | "ended" = "open";

  constructor(cursor: Cursor<Cell[]>) {
    this.#cursor = cursor;
  }

  /** Known with the first batch. */
  async columns(): Promise<Column[]> {
    this.#ask();
    await this.#next;
    if (this.#fields.length === 0) throw refusedByDatabase("the statement has no rows to answer");
    return columnsOf(this.#fields.map(({ name, dataTypeID }) => ({ name, type: COLUMN_TYPES[dataTypeID] })));
  }

  async *batches(wait: Wait): AsyncGenerator<readonly Row[]> {
    while (this.#next) {
      const asked = this.#next;
      const batch = await wait(() => asked);
      this.#next = undefined;
      if (this.#state !== "ended") this.#ask();
      if (batch.length > 0) yield batch;
    }
  }

  /** Ends the cursor, so that the session can be used for something else. */
  async close(stop: () => Promise<void>): Promise<void> {
    if (this.#state === "reading") {
      await stop();
      await this.#next?.catch(() => undefined);
    }
    this.#next = undefined;
    if (this.#state === "open") await this.#cursor.close();
    this.#state = "ended";
  }

  #ask(): void {
    this.#state = "reading";
    this.#next = new Promise<Row[]>((resolve, reject) => {
      this.#cursor.read(ROWS_PER_BATCH, (error, rows, result) => {
        this.#state = error || rows.length < ROWS_PER_BATCH ? "ended" : "open";
        if (error) return reject(error);
        this.#fields = result.fields;
        resolve(rows);
      });
    });
    // Whoever reads it is told; nobody may.
    this.#next.catch(() => undefined);
  }
}
