/** The embedded store's side of a collection that its users see: calls become requests. */
import type {
  AnyBulkWriteOperation,
  DeleteResult,
  Filter,
  OptionalUnlessRequiredId,
  UpdateFilter,
  UpdateResult,
} from "mongodb";
import type { BulkResult, ChangeOne, Collection, Cursor, Document, FindOptions, Sort } from "../datastore.ts";
import { checkChanged } from "../datastore.ts";
import type { RefusedWrite } from "../refusal.ts";
import { throwRefused, Refusal } from "../refusal.ts";
import { EmbeddedCursor } from "./cursor.ts";
import { deserialize, serialize } from "./documents.ts";
import { shapeOperations } from "./shapes.ts";
import type { Operation, Request } from "./wire.ts";
import type { Written } from "./writing.ts";

/** What a request brings that is not in documents. */
export type More = Pick<Request, "shaped" | "changing">;

export type Ask = (operation: Operation, documents: Buffer[], more?: More) => Promise<Uint8Array[]>;

export class EmbeddedCollection<T extends Document> implements Collection<T> {
  readonly #ask: Ask;

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  async insertOne(document: OptionalUnlessRequiredId<T>): Promise<void> {
    const [refused] = await this.#insert([document], true);
    if (refused) throw new Refusal(refused);
  }

  async insertMany(documents: OptionalUnlessRequiredId<T>[], options?: { ordered?: boolean }): Promise<void> {
    throwRefused(await this.#insert(documents, options?.ordered ?? true));
  }

  async findOne(filter: Filter<T>, options?: FindOptions): Promise<T | null> {
    const [document] = await this.find(filter, { ...options, limit: 1 }).toArray();
    return document ?? null;
  }

  find(filter: Filter<T>, options?: FindOptions): Cursor<T> {
    return new EmbeddedCursor<T>(this.#ask, serialize({ filter, options: options ?? {} }));
  }

  async findOneAndUpdate(
    filter: Filter<T>,
    update: UpdateFilter<T>,
    options?: { sort?: Sort; upsert?: boolean; returnDocument?: "before" | "after"; projection?: Document },
  ): Promise<T | null> {
    const [found] = await this.#ask("modify", [serialize({ filter, update, options: options ?? {} })]);
    return found ? deserialize<T>(found) : null;
  }

  updateOne(filter: Filter<T>, update: UpdateFilter<T>, options?: { upsert?: boolean }): Promise<UpdateResult<T>> {
    return this.#update({ updateOne: { filter, update, upsert: options?.upsert } });
  }

  updateMany(filter: Filter<T>, update: UpdateFilter<T>): Promise<UpdateResult<T>> {
    return this.#update({ updateMany: { filter, update } });
  }

  async changeEach(ids: readonly string[], change: ChangeOne<T>): Promise<void> {
    checkChanged(ids);
    await this.#ask("change", [], { changing: { ids, change: change as unknown as ChangeOne<Document> } });
  }

  deleteOne(filter: Filter<T>): Promise<DeleteResult> {
    return this.#delete({ deleteOne: { filter } });
  }

  deleteMany(filter: Filter<T>): Promise<DeleteResult> {
    return this.#delete({ deleteMany: { filter } });
  }

  async bulkWrite(operations: AnyBulkWriteOperation<T>[], options?: { ordered?: boolean }): Promise<BulkResult> {
    const { writeErrors, upsertedId: _, ...result } = await this.#bulk(operations, options?.ordered ?? true);
    throwRefused(writeErrors);
    return result;
  }

  async countDocuments(filter: Filter<T>, options?: { limit?: number; hint?: string }): Promise<number> {
    const [answer] = await this.#ask("count", [serialize({ filter, options: options ?? {} })]);
    return answer ? (deserialize(answer).count as number) : 0;
  }

  async explain(filter: Filter<T>, options?: FindOptions) {
    const [answer] = await this.#ask("explain", [serialize({ filter, options: options ?? {} })]);
    const detail = answer ? (deserialize(answer).detail as string) : "";
    return { index: indexOf(detail), detail, sorted: /USE TEMP B-TREE|SORT IN MEMORY/.test(detail) };
  }

  async #insert(documents: Document[], ordered: boolean): Promise<RefusedWrite[]> {
    const [answer] = await this.#ask("insert", [serialize({ ordered }), ...documents.map(serialize)]);
    return answer ? (deserialize(answer).writeErrors as RefusedWrite[]) : [];
  }

  async #bulk(operations: AnyBulkWriteOperation<T>[], ordered: boolean): Promise<Written> {
    const shaped = shapeOperations(operations);
    const documents = shaped ? [] : operations.map(serialize);
    const [answer] = await this.#ask("bulk", [serialize({ ordered }), ...documents], { shaped });
    return deserialize(answer ?? new Uint8Array()) as Written;
  }

  /** One write alone: refused, it rejects as itself. */
  async #write(operation: AnyBulkWriteOperation<T>): Promise<Written> {
    const written = await this.#bulk([operation], true);
    const [refused] = written.writeErrors;
    if (refused) throw new Refusal(refused);
    return written;
  }

  async #update(operation: AnyBulkWriteOperation<T>): Promise<UpdateResult<T>> {
    const { matchedCount, modifiedCount, upsertedCount, upsertedId } = await this.#write(operation);
    return {
      acknowledged: true,
      matchedCount,
      modifiedCount,
      upsertedCount,
      upsertedId: (upsertedId ?? null) as UpdateResult<T>["upsertedId"],
    };
  }

  async #delete(operation: AnyBulkWriteOperation<T>): Promise<DeleteResult> {
    const { deletedCount } = await this.#write(operation);
    return { acknowledged: true, deletedCount };
  }
}

/** The index that SQLite's plan names, the only one or the first. */
function indexOf(detail: string): string | null {
  const name = / USING (?:COVERING )?INDEX (\S+)/.exec(detail)?.[1];
  if (name === undefined) return null;
  return name.startsWith("sqlite_autoindex_") ? "_id_" : name.slice(name.indexOf(":", "index:".length) + 1);
}
