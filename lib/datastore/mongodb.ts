/** The datastore on MongoDB: the driver itself, with the settings that make an acknowledged write stay. */
import type {
  AnyBulkWriteOperation,
  ClientSession,
  Collection as DriverCollection,
  DeleteResult,
  Filter,
  FindCursor,
  IndexDescription,
  OptionalUnlessRequiredId,
  UpdateFilter,
  UpdateResult,
} from "mongodb";
import {
  MongoBulkWriteError,
  MongoClient,
  MongoError,
  MongoNetworkError,
  MongoNotConnectedError,
  MongoOperationTimeoutError,
  MongoServerError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
} from "mongodb";
import { LongshoreError, unavailable } from "../errors.ts";
import type { BulkResult, ChangeOne, Collection, Cursor, Datastore, Document, FindOptions, Sort } from "./datastore.ts";
import { checkChanged } from "./datastore.ts";
import type { RefusedWrite } from "./refusal.ts";
import { DUPLICATE_KEY, Refusal } from "./refusal.ts";

const DEFAULT_DATABASE = "longshore";
const CLOCK_MS = 60_000;
/** Round trips of one measurement. */
const CLOCK_SAMPLES = 8;
const PING_MS = 2_000;
/** After so long a transaction that others come in between, or that the database does not take, is not begun again. */
const CHANGING_MS = 15_000;
const WRITE_CONFLICT = 112;
/** Of the same name but other options, or of the same key but another name. */
const INDEX_CONFLICTS = new Set([85, 86]);

/**
 * Connects to MongoDB. Rejects with UNAVAILABLE that names MONGODB_URI and the host, never the password, where it cannot be
 * reached within five seconds.
 */
export async function openMongo(uri: string): Promise<Datastore> {
  let client: MongoClient | undefined;
  try {
    client = new MongoClient(uri, {
      writeConcern: { w: "majority", j: true },
      retryWrites: true,
      serverSelectionTimeoutMS: 5_000,
      // A server that says nothing any more is given up after the sum of these, with all that waits for it; else after 40 s.
      heartbeatFrequencyMS: 5_000,
      connectTimeoutMS: 5_000,
      maxPoolSize: 32,
      waitQueueTimeoutMS: 10_000,
      promoteBuffers: true,
      ignoreUndefined: true,
      appName: "longshore",
    });
    await client.connect();
    const store = new MongoStore(client, databaseOf(uri));
    await store.synchronize();
    return store;
  } catch (error) {
    await client?.close();
    throw unavailable(`MONGODB_URI: ${hostsOf(uri)}: ${withoutPassword(error, uri)}`);
  }
}

class MongoStore implements Datastore {
  readonly kind = "mongodb";
  readonly #client: MongoClient;
  readonly #database: string | undefined;
  readonly #timer: NodeJS.Timeout;
  /** What the server's clock is ahead of `performance.now()`, which no one sets: in milliseconds. */
  #ahead = 0;

  constructor(client: MongoClient, database: string | undefined) {
    this.#client = client;
    this.#database = database;
    // A clock that cannot be asked now is taken as it was: whatever fails the question fails the writes too.
    this.#timer = setInterval(() => void this.synchronize().catch(() => undefined), CLOCK_MS);
    this.#timer.unref();
  }

  /**
   * Measures the server's clock; the answer is taken to be from the middle of the round trip. Of some trips the shortest
   * counts, for it can be wrong by half of itself: a node that is busy with its start is slow to see an answer.
   */
  async synchronize(): Promise<void> {
    let shortest = Infinity;
    let ahead = this.#ahead;
    for (let sample = 0; sample < CLOCK_SAMPLES; sample += 1) {
      const started = performance.now();
      const { localTime } = await this.#ask({ hello: 1 });
      const trip = performance.now() - started;
      if (trip >= shortest) continue;
      shortest = trip;
      ahead = (localTime as Date).getTime() - (started + trip / 2);
    }
    this.#ahead = ahead;
  }

  async collection<T extends Document>(name: string, indexes: IndexDescription[] = []): Promise<Collection<T>> {
    const collection = this.#client.db(this.#database).collection<T>(name);
    for (const index of indexes) await createIndex(collection, index);
    return new MongoCollection<T>(this.#client, collection, keysOf(indexes));
  }

  now(): Date {
    return new Date(Math.round(performance.now() + this.#ahead));
  }

  async ping(): Promise<void> {
    await this.#ask({ ping: 1 });
  }

  /** The driver's own limit for a command does not hold where the server takes it and then says nothing. */
  async #ask(command: Document): Promise<Document> {
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(unavailable(`no answer within ${PING_MS / 1_000} s`)), PING_MS);
    });
    try {
      return await Promise.race([this.#client.db("admin").command(command), silence]);
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#client.close();
  }
}

/** What the driver throws where the database cannot be reached, in distinction to what the database refuses. */
const UNREACHABLE = [
  MongoNetworkError,
  MongoNotConnectedError,
  MongoOperationTimeoutError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
];

class MongoCollection<T extends Document> implements Collection<T> {
  readonly #client: MongoClient;
  readonly #collection: DriverCollection<T>;
  /** Keys of the indexes by name: the driver leaves them out of the errors of several writes. */
  readonly #keys: ReadonlyMap<string, Document>;

  constructor(client: MongoClient, collection: DriverCollection<T>, keys: ReadonlyMap<string, Document>) {
    this.#client = client;
    this.#collection = collection;
    this.#keys = keys;
  }

  async insertOne(document: OptionalUnlessRequiredId<T>): Promise<void> {
    await this.#translating(this.#collection.insertOne(document));
  }

  async insertMany(documents: OptionalUnlessRequiredId<T>[], options?: { ordered?: boolean }): Promise<void> {
    if (documents.length === 0) return;
    await this.#translating(this.#collection.insertMany(documents, options));
  }

  async findOne(filter: Filter<T>, options?: FindOptions): Promise<T | null> {
    return (await this.#translating(this.#collection.findOne(filter, options))) as T | null;
  }

  find(filter: Filter<T>, options?: FindOptions): Cursor<T> {
    const cursor = this.#collection.find(filter, options) as unknown as FindCursor<T>;
    const translate = (error: unknown) => this.#translate(error);
    return {
      toArray: () => this.#translating(cursor.toArray()),
      close: () => cursor.close(),
      async *[Symbol.asyncIterator]() {
        try {
          yield* cursor;
        } catch (error) {
          throw translate(error);
        }
      },
    };
  }

  async findOneAndUpdate(
    filter: Filter<T>,
    update: UpdateFilter<T>,
    options?: { sort?: Sort; upsert?: boolean; returnDocument?: "before" | "after"; projection?: Document },
  ): Promise<T | null> {
    const found = this.#collection.findOneAndUpdate(filter, update, { ...options, includeResultMetadata: false });
    return (await this.#translating(found)) as T | null;
  }

  updateOne(filter: Filter<T>, update: UpdateFilter<T>, options?: { upsert?: boolean }): Promise<UpdateResult<T>> {
    return this.#translating(this.#collection.updateOne(filter, update, options));
  }

  updateMany(filter: Filter<T>, update: UpdateFilter<T>): Promise<UpdateResult<T>> {
    return this.#translating(this.#collection.updateMany(filter, update));
  }

  /** A transaction: it conflicts with any other write to what it changes, and is then done again. */
  async changeEach(ids: readonly string[], change: ChangeOne<T>): Promise<void> {
    checkChanged(ids);
    if (ids.length === 0) return;
    const end = performance.now() + CHANGING_MS;
    let failure: unknown;
    const attempt = async (session: ClientSession) => {
      // The driver would go on for two minutes.
      if (failure && performance.now() > end) throw this.#translate(failure);
      await this.#changeWithin(session, ids, change).catch((error: unknown) => {
        throw (failure = error);
      });
    };
    const options = { readConcern: { level: "snapshot" } } as const;
    await this.#translating(this.#client.withSession((session) => session.withTransaction(attempt, options)));
  }

  async #changeWithin(session: ClientSession, ids: readonly string[], change: ChangeOne<T>): Promise<void> {
    const filter = { _id: { $in: ids } } as unknown as Filter<T>;
    // One batch: the cursor is at its end before anything is written.
    const found = (await this.#collection.find(filter, { session, batchSize: ids.length + 1 }).toArray()) as T[];
    const byId = new Map(found.map((document) => [document._id as string, document]));
    const operations = ids.flatMap((_id): AnyBulkWriteOperation<T>[] => {
      const replacement = change(byId.get(_id) ?? null, _id);
      return replacement
        ? [{ replaceOne: { filter: { _id } as unknown as Filter<T>, replacement, upsert: true } }]
        : [];
    });
    if (operations.length > 0) await this.#collection.bulkWrite(operations, { session, ordered: false });
  }

  deleteOne(filter: Filter<T>): Promise<DeleteResult> {
    return this.#translating(this.#collection.deleteOne(filter));
  }

  deleteMany(filter: Filter<T>): Promise<DeleteResult> {
    return this.#translating(this.#collection.deleteMany(filter));
  }

  async bulkWrite(operations: AnyBulkWriteOperation<T>[], options?: { ordered?: boolean }): Promise<BulkResult> {
    if (operations.length === 0) return EMPTY_RESULT;
    const result = await this.#translating(this.#collection.bulkWrite(operations, options));
    const { insertedCount, matchedCount, modifiedCount, deletedCount, upsertedCount } = result;
    return { insertedCount, matchedCount, modifiedCount, deletedCount, upsertedCount };
  }

  countDocuments(filter: Filter<T>, options?: { limit?: number; hint?: string }): Promise<number> {
    return this.#translating(this.#collection.countDocuments(filter, options));
  }

  async explain(filter: Filter<T>, options?: FindOptions) {
    const plan = await this.#translating(this.#collection.find(filter, options).explain("queryPlanner"));
    const stages = stagesOf((plan.queryPlanner as { winningPlan: Stage }).winningPlan);
    const index = stages.map(({ stage, indexName }) => indexName ?? (stage === "IDHACK" ? "_id_" : undefined));
    return {
      index: index.find((name) => name !== undefined) ?? null,
      detail: stages.map(({ stage }) => stage).join("; "),
      sorted: stages.some(({ stage }) => stage === "SORT"),
    };
  }

  async #translating<R>(work: Promise<R>): Promise<R> {
    try {
      return await work;
    } catch (error) {
      throw this.#translate(error);
    }
  }

  #translate(error: unknown): unknown {
    if (error instanceof MongoBulkWriteError) {
      const writeErrors = [error.writeErrors].flat().map((one): RefusedWrite => {
        const name = / index: (\S+) /.exec(one.errmsg ?? "")?.[1];
        const keyPattern = one.code === DUPLICATE_KEY && name ? this.#keys.get(name) : undefined;
        return { index: one.index, code: one.code, message: one.errmsg ?? error.message, keyPattern };
      });
      const [first] = writeErrors;
      if (first) return new Refusal(first, writeErrors);
      // That no server was reached is no error of a write, and within this one.
      const within: unknown = error.errorResponse;
      if (within instanceof Error) return this.#translate(within);
    }
    if (error instanceof MongoServerError && error.code === WRITE_CONFLICT) {
      return new LongshoreError("ABORTED", "other writes to the same documents come in between all the time");
    }
    if (error instanceof MongoServerError && typeof error.code === "number" && !isTransient(error)) {
      const { keyPattern, keyValue } = error as { keyPattern?: Document; keyValue?: Document };
      return new Refusal({ code: error.code, message: error.message, keyPattern, keyValue });
    }
    const gone = isTransient(error) || UNREACHABLE.some((kind) => error instanceof kind);
    return gone ? unavailable(`MONGODB_URI: the database does not answer: ${(error as Error).message}`, error) : error;
  }
}

const EMPTY_RESULT: BulkResult = {
  insertedCount: 0,
  matchedCount: 0,
  modifiedCount: 0,
  deletedCount: 0,
  upsertedCount: 0,
};

/** A change of the primary, or a majority that did not confirm in time. */
function isTransient(error: unknown): boolean {
  return error instanceof MongoError && ["RetryableWriteError", "RetryableError"].some((l) => error.hasErrorLabel(l));
}

async function createIndex<T extends Document>(
  collection: DriverCollection<T>,
  index: IndexDescription,
): Promise<void> {
  const { key, ...options } = index;
  try {
    await collection.createIndex(key, options);
  } catch (error) {
    if (!(error instanceof MongoServerError) || !INDEX_CONFLICTS.has(Number(error.code))) throw error;
    const same = (other: IndexDescription) => JSON.stringify(other.key) === JSON.stringify(key);
    const existing = (await collection.indexes()) as IndexDescription[];
    for (const other of existing) {
      if (other.name && (other.name === options.name || same(other))) await collection.dropIndex(other.name);
    }
    await collection.createIndex(key, options);
  }
}

function keysOf(indexes: IndexDescription[]): Map<string, Document> {
  const named = indexes.map(({ name, key }): [string, Document] => {
    const pattern: Document = key instanceof Map ? Object.fromEntries(key) : key;
    return [name ?? Object.entries(pattern).flat().join("_"), pattern];
  });
  return new Map([["_id_", { _id: 1 }], ...named]);
}

interface Stage {
  stage: string;
  indexName?: string;
  inputStage?: Stage;
  inputStages?: Stage[];
  queryPlan?: Stage;
}

/** A plan's stages, outermost first. */
function stagesOf(plan: Stage): Stage[] {
  if (plan.queryPlan) return stagesOf(plan.queryPlan);
  return [plan, ...(plan.inputStage ? [plan.inputStage] : []).concat(plan.inputStages ?? []).flatMap(stagesOf)];
}

/** The database that the address names, else ours. */
function databaseOf(uri: string): string | undefined {
  return /^[^:]+:\/\/[^/]+\/[^?]/.test(uri) ? undefined : DEFAULT_DATABASE;
}

function hostsOf(uri: string): string {
  const afterScheme = uri.replace(/^[a-z+]+:\/\//, "");
  return afterScheme.slice(afterScheme.lastIndexOf("@") + 1).split(/[/?]/)[0] ?? "";
}

function withoutPassword(error: unknown, uri: string): string {
  const password = /:\/\/[^:]*:(.*)@/.exec(uri)?.[1];
  const message = (error as Error).message;
  return password ? message.replaceAll(password, "***") : message;
}
