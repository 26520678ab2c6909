/**
 * The thread of the embedded store: the only one that touches its file. All requests that have come in form a group: their
 * writes are one transaction, committed once, and only then answered.
 */
import { parentPort, workerData } from "node:worker_threads";
import { LongshoreError, unavailable } from "../../errors.ts";
import { Catalog } from "./catalog.ts";
import { HalfDone, isDiskFull, isStorageFailure } from "./connection.ts";
import { Cursors } from "./cursors.ts";
import { canExpire, removeExpired } from "./expiry.ts";
import { isWrite, Requests } from "./requests.ts";
import { StoreFile } from "./store-file.ts";
import type { Answer, Message, Opening, Request } from "./wire.ts";
import { documentsOf, encodeError, Packing } from "./wire.ts";

const MAX_GROUP = 1_000;
/** Of what a group brings, and of what it is answered. */
const MAX_GROUP_BYTES = 32 * 1024 * 1024;
/** A group commits after so long, whatever else waits. */
const GROUP_MS = 100;
/** A log of this size ends the oldest snapshot, which keeps it from shrinking. */
const MAX_LOG_BYTES = 1024 * 1024 * 1024;
const UPKEEP_MS = 1_000;
const FIRST_EXPIRY_MS = 3_000;
const EXPIRY_MS = 60_000;

interface Pending {
  request: Request;
  documents: Buffer[];
}

class StoreThread {
  readonly #file: StoreFile;
  readonly #catalog: Catalog;
  readonly #cursors: Cursors;
  readonly #requests: Requests;
  readonly #post: (message: Message<Answer>) => void;
  /** Requests that are one step each: they are done in groups. */
  readonly #inbox: Pending[] = [];
  /** Steps of long readings: one between two groups. */
  readonly #streams: Pending[] = [];
  readonly #answers = new Packing<Answer>();
  #scheduled = false;
  #expiryAt = Date.now() + FIRST_EXPIRY_MS;
  #upkeep: NodeJS.Timeout | undefined;

  constructor(directory: string, post: (message: Message<Answer>) => void) {
    this.#post = post;
    this.#file = new StoreFile(directory);
    try {
      this.#catalog = new Catalog(this.#file.connection);
    } catch (error) {
      this.#file.close();
      throw error;
    }
    this.#cursors = new Cursors(this.#file.path);
    this.#requests = new Requests(this.#file.connection, this.#catalog, this.#cursors);
    this.#upkeep = setInterval(() => this.#keepUp(), UPKEEP_MS);
  }

  receive(message: Message<Request>): void {
    for (const request of message.envelopes) {
      const pending = { request, documents: documentsOf(message, request) };
      const streamed = request.operation === "more" || request.operation === "closeCursor";
      (streamed ? this.#streams : this.#inbox).push(pending);
    }
    this.#schedule();
  }

  /** Does what has come in before. */
  close(): void {
    while (this.#inbox.length > 0 || this.#streams.length > 0) this.#work();
    clearInterval(this.#upkeep);
    this.#cursors.closeAll();
    this.#file.close();
  }

  /** After the events of this turn, so that all messages which have come in join the group. */
  #schedule(): void {
    if (this.#scheduled || (this.#inbox.length === 0 && this.#streams.length === 0)) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#work();
      this.#schedule();
    });
  }

  #work(): void {
    const group = this.#takeGroup();
    if (group.length > 0) this.#commit(group);
    const step = this.#streams.shift();
    if (step) this.#attempt(step, () => this.#requests.stream(step.request, step.documents));
    if (this.#answers.size > 0) this.#post(this.#answers.finish());
  }

  #takeGroup(): Pending[] {
    let bytes = 0;
    const end = this.#inbox.findIndex(({ request }, index) => {
      bytes += request.to - request.from + (request.shaped?.bytes ?? 0);
      return index >= MAX_GROUP || (index > 0 && bytes > MAX_GROUP_BYTES);
    });
    return this.#inbox.splice(0, end === -1 ? this.#inbox.length : end);
  }

  #commit(group: readonly Pending[], savepoints = false): void {
    const { connection } = this.#file;
    const outcomes = new Map<Pending, Outcome>();
    connection.savepoints = savepoints;
    try {
      this.#performAll(group, outcomes);
      if (connection.inTransaction) connection.run("COMMIT");
    } catch (error) {
      this.#rollBack();
      if (error instanceof HalfDone) return this.#commit([...outcomes.keys()], true);
      const failure = encodeError(storageError(error));
      for (const pending of outcomes.keys()) {
        // What was read may have been what is now undone.
        const written = isWrite(pending.request.operation);
        outcomes.set(pending, written ? { failed: true, documents: [failure] } : this.#readAgain(pending));
      }
    }
    for (const [pending, outcome] of outcomes) this.#answer(pending, outcome);
  }

  /** Does the requests one by one; those that it does not come to go back to the inbox. */
  #performAll(group: readonly Pending[], outcomes: Map<Pending, Outcome>): void {
    const end = performance.now() + GROUP_MS;
    let answered = 0;
    try {
      for (const pending of group) {
        if (outcomes.size > 0 && (performance.now() > end || answered > MAX_GROUP_BYTES)) return;
        outcomes.set(pending, UNDONE);
        const outcome = this.#perform(pending);
        outcomes.set(pending, outcome);
        for (const document of outcome.documents ?? []) answered += document.length;
      }
    } finally {
      this.#inbox.unshift(...group.slice(outcomes.size));
    }
  }

  /** Does one request of a group. Throws only what fails the group. */
  #perform({ request, documents: sent }: Pending): Outcome {
    const { connection } = this.#file;
    const { operation } = request;
    try {
      if (!isWrite(operation)) return { failed: false, documents: this.#requests.read(request, sent) };
      if (!connection.inTransaction) connection.run("BEGIN IMMEDIATE");
      const documents = connection.atomically(() => this.#requests.write(request, sent));
      return { failed: false, documents };
    } catch (error) {
      if (isStorageFailure(error) || error instanceof HalfDone) throw error;
      if (isWrite(operation)) this.#catalog.reload();
      return { failed: true, documents: [encodeError(error)] };
    }
  }

  #readAgain(pending: Pending): Outcome {
    try {
      return this.#perform(pending);
    } catch (error) {
      return { failed: true, documents: [encodeError(storageError(error))] };
    }
  }

  #rollBack(): void {
    const { connection } = this.#file;
    if (connection.inTransaction) connection.run("ROLLBACK");
    this.#catalog.reload();
  }

  #attempt(pending: Pending, work: () => Uint8Array[]): void {
    try {
      this.#answer(pending, { failed: false, documents: work() });
    } catch (error) {
      const shown = isStorageFailure(error) ? storageError(error) : error;
      this.#answer(pending, { failed: true, documents: [encodeError(shown)] });
    }
  }

  #answer(pending: Pending, { failed, documents }: Outcome): void {
    if (documents) this.#answers.add({ id: pending.request.id, failed }, documents);
    else this.#streams.push(pending);
  }

  /** Now and then: idle cursors, the size of the log, documents that have expired. */
  #keepUp(): void {
    this.#cursors.closeIdle();
    if (this.#file.logSize() > MAX_LOG_BYTES) this.#cursors.endOldest();
    if (Date.now() >= this.#expiryAt) this.#expire();
  }

  #expire(): void {
    const { connection } = this.#file;
    this.#expiryAt = Date.now() + EXPIRY_MS;
    let more = false;
    try {
      for (const table of this.#catalog.tables()) {
        if (!canExpire(table)) continue;
        connection.run("BEGIN IMMEDIATE");
        more = removeExpired(connection, table, Date.now()) || more;
        connection.run("COMMIT");
      }
    } catch (error) {
      // Whoever writes next hears of it; what has expired stays until the storage works again.
      if (!isStorageFailure(error)) throw error;
      this.#rollBack();
    }
    if (more) this.#expiryAt = Date.now();
  }
}

/** Stands for a request on which the group failed. */
const UNDONE: Outcome = { failed: true, documents: [] };

interface Outcome {
  failed: boolean;
  /** Undefined where the reading has to be streamed. */
  documents: Uint8Array[] | undefined;
}

function storageError(error: unknown): LongshoreError {
  const { message } = error as Error;
  if (isDiskFull(error)) return new LongshoreError("RESOURCE_EXHAUSTED", `DATA_DIR: no space left: ${message}`);
  return unavailable(`DATA_DIR: the store cannot be read or written: ${message}`);
}

const port = parentPort;
if (!port) throw new Error("this file is a worker thread");
try {
  const { directory } = workerData as { directory: string };
  const thread = new StoreThread(directory, (message) => port.postMessage(message, [message.bytes.buffer]));
  port.postMessage({ opened: true } satisfies Opening);
  port.on("message", (message: Message<Request> | "close") => {
    if (message !== "close") return thread.receive(message);
    thread.close();
    port.close();
  });
} catch (error) {
  port.postMessage({ opened: false, error: encodeError(error) } satisfies Opening);
  port.close();
}
