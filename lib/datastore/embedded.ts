/**
 * The embedded store: SQLite in a thread of its own, so that neither a slow query nor the disk's flush stalls the event
 * loop. Requests of one turn of the loop go to the thread in one message, and writes that wait there share one commit.
 */
import { Worker } from "node:worker_threads";
import type { IndexDescription } from "mongodb";
import { LongshoreError, unavailable } from "../errors.ts";
import type { Collection, Datastore, Document } from "./datastore.ts";
import { EmbeddedCollection } from "./embedded/collection.ts";
import { serialize } from "./embedded/documents.ts";
import type { Shaped } from "./embedded/shapes.ts";
import type { Answer, Message, Opening, Operation, Request } from "./embedded/wire.ts";
import { decodeError, documentsOf, Packing } from "./embedded/wire.ts";

const MAX_WAITING = 50_000;
const MAX_WAITING_BYTES = 256 * 1024 * 1024;
const PING_MS = 2_000;

interface Waiting {
  bytes: number;
  resolve: (documents: Uint8Array[]) => void;
  reject: (error: Error) => void;
}

/**
 * Opens the store in the directory, which is made where it is missing. Rejects with FAILED_PRECONDITION that names DATA_DIR
 * where the directory cannot be written or another process has it open.
 */
export async function openEmbedded(dataDir: string): Promise<Datastore> {
  const worker = new Worker(new URL("./embedded/thread.ts", import.meta.url), { workerData: { directory: dataDir } });
  const opening = await new Promise<Opening>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => reject(unavailable("the embedded store's thread has ended before it was open")));
  });
  if (!opening.opened) throw decodeError(opening.error);
  return new EmbeddedStore(worker);
}

class EmbeddedStore implements Datastore {
  readonly kind = "embedded";
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #waiting = new Map<number, Waiting>();
  readonly #outbox = new Packing<Request>();
  #waitingBytes = 0;
  #lastId = 0;
  #closing = false;
  #failure: LongshoreError | undefined;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.on("message", (message: Message<Answer>) => this.#receive(message));
    worker.on("error", (error) => this.#fail(`the embedded store's thread has ended: ${error.message}`, error));
    this.#exited = new Promise((resolve) => {
      worker.once("exit", () => {
        this.#fail(this.#closing ? "the embedded store is closed" : "the embedded store's thread has ended");
        resolve();
      });
    });
  }

  async collection<T extends Document>(name: string, indexes?: IndexDescription[]): Promise<Collection<T>> {
    await this.#request("declare", name, [serialize({ indexes })]);
    return new EmbeddedCollection<T>((operation, ...rest) => this.#request(operation, name, ...rest));
  }

  now(): Date {
    return new Date();
  }

  async ping(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(unavailable("the embedded store does not answer")), PING_MS);
    });
    try {
      await Promise.race([this.#request("ping", "", []), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** What was asked before is still done. */
  async close(): Promise<void> {
    this.#flush();
    this.#closing = true;
    this.#worker.postMessage("close");
    await this.#exited;
  }

  #request(operation: Operation, collection: string, documents: Uint8Array[], shaped?: Shaped): Promise<Uint8Array[]> {
    if (this.#failure) return Promise.reject(this.#failure);
    const bytes = documents.reduce((sum, document) => sum + document.length, shaped?.bytes ?? 0);
    const tooMuch = this.#waitingBytes > 0 && this.#waitingBytes + bytes > MAX_WAITING_BYTES;
    if (this.#waiting.size >= MAX_WAITING || tooMuch) {
      return Promise.reject(new LongshoreError("RESOURCE_EXHAUSTED", "too many requests wait for the embedded store"));
    }
    const id = (this.#lastId += 1);
    if (this.#outbox.size === 0) setImmediate(() => this.#flush());
    this.#outbox.add({ id, operation, collection, shaped }, documents);
    this.#waitingBytes += bytes;
    return new Promise((resolve, reject) => this.#waiting.set(id, { bytes, resolve, reject }));
  }

  #flush(): void {
    if (this.#outbox.size === 0 || this.#failure) return;
    const message = this.#outbox.finish();
    this.#worker.postMessage(message, [message.bytes.buffer]);
  }

  #receive(message: Message<Answer>): void {
    for (const answer of message.envelopes) {
      const waiting = this.#waiting.get(answer.id);
      if (!waiting) continue;
      this.#waiting.delete(answer.id);
      this.#waitingBytes -= waiting.bytes;
      const documents = documentsOf(message, answer);
      const [error] = documents;
      if (answer.failed && error) waiting.reject(decodeError(error));
      else waiting.resolve(documents);
    }
  }

  #fail(message: string, cause?: unknown): void {
    this.#failure ??= unavailable(message, cause);
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}
