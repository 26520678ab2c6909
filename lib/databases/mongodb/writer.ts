import type { AnyBulkWriteOperation, Document, ObjectId } from "mongodb";
import { Decimal128, MongoBulkWriteError, MongoServerError } from "mongodb";
import { failedPrecondition, invalidArgument } from "../../errors.ts";
import type { Row } from "../../tabular/table.ts";
import { isExactNumber } from "../../tabular/table.ts";
import type { RefusedRow, TableWriter, Writing } from "../database.ts";
import type { Taken } from "../refused-rows.ts";
import type { Session } from "./session.ts";
import { ask, explained } from "./session.ts";

/** Not a member of a replica set: there are no transactions. */
const ILLEGAL_OPERATION = 20;

/** Opens a writer whose batches are transactions; a dry run aborts them, so that it does not see its own rows of before. */
export async function openWriter(session: Session, writing: Writing): Promise<TableWriter> {
  for (const name of writing.columns) {
    if (name === "" || name.startsWith("$") || name.includes(".") || name.includes("\0"))
      throw invalidArgument("columns", `${JSON.stringify(name)} cannot be the name of a field`);
  }
  if (writing.onConflict !== "fail" && !writing.columns.includes("_id"))
    throw failedPrecondition("rows have a key to meet others by only with a column _id");
  return new MongodbWriter(session, writing);
}

class MongodbWriter implements TableWriter {
  readonly #session: Session;
  readonly #writing: Writing;

  constructor(session: Session, writing: Writing) {
    this.#session = session;
    this.#writing = writing;
  }

  /** A transaction ends with its first error: it is done again without that row, until all that are left are taken. */
  async write(rows: readonly Row[]) {
    const left = rows.map((row, index) => ({ index, operation: this.#operation(row) }));
    const refused: RefusedRow[] = [];
    while (left.length > 0) {
      const outcome = await this.#attempt(left.map(({ operation }) => operation));
      if ("written" in outcome) return { ...outcome, refused: inOrder(refused) };
      const [bad] = left.splice(outcome.index, 1);
      refused.push({ index: bad!.index, reason: outcome.reason });
    }
    return { written: 0, skipped: 0, refused: inOrder(refused) };
  }

  async close(): Promise<void> {}

  async #attempt(operations: AnyBulkWriteOperation[]): Promise<Taken | RefusedRow> {
    const { database, session, link } = this.#session;
    const { table, dryRun } = this.#writing;
    session.startTransaction();
    try {
      const done = await link.wait(() => database.collection(table).bulkWrite(operations, { session }));
      await ask(this.#session, () => (dryRun ? session.abortTransaction() : session.commitTransaction()));
      const skipped = this.#writing.onConflict === "skip" ? done.matchedCount : 0;
      return { written: operations.length - skipped, skipped };
    } catch (error) {
      if (session.inTransaction()) await link.tidy(() => session.abortTransaction());
      const [fault] = error instanceof MongoBulkWriteError ? [error.writeErrors].flat() : [];
      if (fault) return { index: fault.index, reason: fault.errmsg ?? "the database refuses it" };
      if (error instanceof MongoServerError && error.code === ILLEGAL_OPERATION)
        throw failedPrecondition("MongoDB must run as a replica set: rows are written in transactions");
      throw explained(error);
    }
  }

  #operation(row: Row): AnyBulkWriteOperation {
    const document: Document = {};
    this.#writing.columns.forEach((name, column) => {
      const cell = row[column];
      if (cell === undefined) return;
      document[name] =
        typeof cell === "object" && cell !== null && isExactNumber(cell) ? Decimal128.fromString(cell.rawJSON) : cell;
    });
    const filter = { _id: document._id as ObjectId };
    switch (this.#writing.onConflict) {
      case "fail":
        return { insertOne: { document } };
      case "skip":
        return { updateOne: { filter, update: { $setOnInsert: document }, upsert: true } };
      case "replace":
        return { replaceOne: { filter, replacement: document, upsert: true } };
    }
  }
}

function inOrder(refused: readonly RefusedRow[]): RefusedRow[] {
  return refused.toSorted((one, other) => one.index - other.index);
}
