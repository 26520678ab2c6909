/**
 * The embedded store: SQLite on the event loop, for short requests cost less than handing them to a thread would. Requests
 * that come in together are one transaction, and are answered when that is on the disk. What would hold the loop up goes to a
 * background thread.
 */
import type { IndexDescription } from "mongodb";
import { atEndOfTurn } from "../end-of-turn.ts";
import { LongshoreError, unavailable } from "../errors.ts";
import type { Collection, Datastore, Document } from "./datastore.ts";
import { Background } from "./embedded/background.ts";
import { Catalog, prepareFile } from "./embedded/catalog.ts";
import type { More } from "./embedded/collection.ts";
import { EmbeddedCollection } from "./embedded/collection.ts";
import { isStorageFailure, unreachable } from "./embedded/connection.ts";
import { serialize } from "./embedded/documents.ts";
import { removeAllExpired } from "./embedded/expiry.ts";
import type { Outcome, Pending } from "./embedded/groups.ts";
import { Groups } from "./embedded/groups.ts";
import { StoreFile } from "./embedded/store-file.ts";
import type { Operation, Request } from "./embedded/wire.ts";

const MAX_WAITING = 50_000;
const MAX_WAITING_BYTES = 256 * 1024 * 1024;
/** Requests of a group. */
const MAX_GROUP = 1_000;
/** Of what a group brings; a request of more is for the background thread. */
const MAX_GROUP_BYTES = 4 * 1024 * 1024;
/** Pages of 4 KiB after which the log is moved into the file. */
const CHECKPOINT_PAGES = 4_000;
const PING_MS = 2_000;
const FIRST_EXPIRY_MS = 3_000;
const EXPIRY_MS = 60_000;
/** Between two batches. */
const EXPIRY_PAUSE_MS = 5;

/**
 * Opens the store in the directory, which is made where it is missing. Rejects with FAILED_PRECONDITION that names DATA_DIR
 * where the directory cannot be written or another process has it open.
 */
export async function openEmbedded(dataDir: string): Promise<Datastore> {
  const store = new EmbeddedStore(new StoreFile(dataDir));
  await store.ping();
  return store;
}

class EmbeddedStore implements Datastore {
  readonly kind = "embedded";
  readonly #file: StoreFile;
  readonly #catalog: Catalog;
  readonly #groups: Groups;
  readonly #background: Background;
  readonly #inbox: Pending[] = [];
  /** What has the store for itself while it goes on. */
  readonly #turns: (() => Promise<void>)[] = [];
  #hadTurn = false;
  #waitingBytes = 0;
  #scheduled = false;
  #working = false;
  /** Where a flush is under way: resolves when that is over. */
  #flushing: Promise<void> = Promise.resolve();
  /** Pages of the log that are in the file too, or could not be moved there. */
  #checkpointed = 0;
  #expiry: NodeJS.Timeout;
  #failure: LongshoreError | undefined;
  #closed: Promise<void> | undefined;

  constructor(file: StoreFile) {
    this.#file = file;
    try {
      prepareFile(file.connection);
      this.#catalog = new Catalog(file.connection);
    } catch (error) {
      file.close();
      throw error;
    }
    this.#groups = new Groups(file.connection, this.#catalog);
    this.#background = new Background(file.path);
    this.#expiry = setTimeout(() => void this.#expire(), FIRST_EXPIRY_MS);
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
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    clearTimeout(this.#expiry);
    this.#failure ??= unavailable("the embedded store is closed");
    while (this.#inbox.length > 0) await this.#exclusively(() => undefined);
    await this.#exclusively(() => undefined);
    await this.#background.close();
    this.#file.close();
  }

  #request(operation: Operation, collection: string, documents: Buffer[], more?: More): Promise<Uint8Array[]> {
    if (this.#failure) return Promise.reject(this.#failure);
    const bytes = documents.reduce((sum, document) => sum + document.length, more?.shaped?.bytes ?? 0);
    const tooMuch = this.#waitingBytes > 0 && this.#waitingBytes + bytes > MAX_WAITING_BYTES;
    if (this.#inbox.length >= MAX_WAITING || tooMuch) {
      return Promise.reject(new LongshoreError("RESOURCE_EXHAUSTED", "too many requests wait for the embedded store"));
    }
    const request = { operation, collection, documents, ...more };
    if (operation === "more" || operation === "closeCursor") return this.#inBackground(request);
    this.#waitingBytes += bytes;
    return new Promise((resolve, reject) => {
      this.#inbox.push({ request, bytes, long: bytes > MAX_GROUP_BYTES, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#working || (this.#inbox.length === 0 && this.#turns.length === 0)) return;
    this.#scheduled = true;
    atEndOfTurn("store", () => {
      this.#scheduled = false;
      void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#working = true;
    const [first] = this.#inbox;
    // By turns with what waits in the inbox.
    const turn = first && this.#hadTurn ? undefined : this.#turns.shift();
    this.#hadTurn = turn !== undefined;
    if (turn) await turn();
    else if (first?.long) await this.#doLong(first);
    else if (first) await this.#doGroup();
    this.#working = false;
    this.#schedule();
  }

  async #doGroup(): Promise<void> {
    const group = this.#takeGroup();
    const { outcomes, written } = this.#groups.commit(group);
    this.#inbox.unshift(...group.slice(outcomes.size));
    if (written) {
      try {
        await (this.#flushing = this.#file.flush());
      } catch (error) {
        // What was written may be lost or not, and so may all that follows.
        this.#failure = unreachable((error as Error).message);
        for (const pending of this.#inbox.splice(0)) this.#settle(pending, { error: this.#failure });
        for (const pending of outcomes.keys()) this.#settle(pending, { error: this.#failure });
        return;
      }
      this.#checkpointWhenDue();
    }
    for (const [pending, outcome] of outcomes) this.#settle(pending, outcome);
  }

  /** Nothing else is written meanwhile. */
  async #doLong(pending: Pending): Promise<void> {
    this.#inbox.shift();
    try {
      this.#settle(pending, { documents: await this.#background.request(pending.request) });
    } catch (error) {
      this.#settle(pending, { error });
    }
    this.#catalog.reload();
  }

  #takeGroup(): Pending[] {
    let bytes = 0;
    const end = this.#inbox.findIndex((pending, index) => {
      bytes += pending.bytes;
      return pending.long || index >= MAX_GROUP || (index > 0 && bytes > MAX_GROUP_BYTES);
    });
    return this.#inbox.splice(0, end === -1 ? this.#inbox.length : end);
  }

  #settle({ request, bytes, resolve, reject }: Pending, outcome: Outcome): void {
    this.#waitingBytes -= bytes;
    if ("error" in outcome) reject(outcome.error);
    else if (outcome.documents) resolve(outcome.documents);
    else this.#inBackground(request).then(resolve, reject);
  }

  /** A long reading: it may see what is not on the disk yet. */
  async #inBackground(request: Request): Promise<Uint8Array[]> {
    const documents = await this.#background.request(request);
    await this.#flushing;
    return documents;
  }

  /** Runs `work` between two groups; resolves when it is done. */
  async #exclusively(work: () => Promise<void> | void): Promise<void> {
    const mine = Promise.withResolvers<void>();
    const over = Promise.withResolvers<void>();
    this.#turns.push(() => {
      mine.resolve();
      return over.promise;
    });
    this.#schedule();
    await mine.promise;
    try {
      await work();
    } finally {
      over.resolve();
    }
  }

  #checkpointWhenDue(): void {
    const pages = this.#file.connection.logPages();
    // It has begun anew.
    if (pages < this.#checkpointed) this.#checkpointed = 0;
    if (pages - this.#checkpointed < CHECKPOINT_PAGES) return;
    this.#checkpointed = pages;
    void this.#checkpoint();
  }

  /** First most of the log while others write, then the rest while nobody does: only a log that is all moved begins anew. */
  async #checkpoint(): Promise<void> {
    try {
      await this.#background.checkpoint();
      await this.#exclusively(() => this.#background.checkpoint());
    } catch {
      // The log grows, and whoever cannot write to it hears of it.
    }
  }

  /** Removes what has expired, some at a time. */
  async #expire(): Promise<void> {
    let more = false;
    await this.#exclusively(() => {
      try {
        if (!this.#failure) more = removeAllExpired(this.#file.connection, this.#catalog.tables(), Date.now());
      } catch (error) {
        // Whoever writes next hears of it; what has expired stays until the storage works again.
        if (!isStorageFailure(error)) throw error;
      }
    });
    if (!this.#closed) this.#expiry = setTimeout(() => void this.#expire(), more ? EXPIRY_PAUSE_MS : EXPIRY_MS);
  }
}
