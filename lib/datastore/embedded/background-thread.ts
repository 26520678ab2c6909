/**
 * The background thread of the embedded store: does what would hold the event loop up, on connections of its own. Long
 * readings have snapshots; while it writes, the event loop's connection does not.
 */
import { parentPort, workerData } from "node:worker_threads";
import { Catalog } from "./catalog.ts";
import { Connection, storageError } from "./connection.ts";
import { Cursors } from "./cursors.ts";
import { joinDocuments, splitDocuments } from "./documents.ts";
import { isWrite, Requests } from "./requests.ts";
import type { Answer, Command, Request } from "./wire.ts";
import { encodeError } from "./wire.ts";

const CACHE_KIB = 4 * 1024;
/** A log of this size ends the oldest snapshot, which keeps it from shrinking. */
const MAX_LOG_PAGES = 256 * 1024;
const UPKEEP_MS = 1_000;

class BackgroundThread {
  readonly #connection: Connection;
  readonly #cursors: Cursors;
  readonly #upkeep: NodeJS.Timeout;

  constructor(file: string) {
    this.#connection = new Connection(file, { readOnly: false, cacheKiB: CACHE_KIB });
    // Its commits are its own to flush, and what breaks off half done is undone alone.
    this.#connection.database.exec("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0");
    this.#connection.savepoints = true;
    this.#cursors = new Cursors(file);
    this.#upkeep = setInterval(() => this.#keepUp(), UPKEEP_MS);
  }

  answer(command: Command): Uint8Array[] {
    switch (command.do) {
      case "request":
        return this.#perform({ ...command.request, documents: splitDocuments(command.bytes) });
      case "checkpoint":
        this.#connection.checkpoint();
        return [];
      case "close":
        clearInterval(this.#upkeep);
        this.#cursors.closeAll();
        this.#connection.close();
        return [];
    }
  }

  #perform(request: Request): Uint8Array[] {
    try {
      const { operation } = request;
      if (operation === "more" || operation === "closeCursor") return this.#cursors.answer(request);
      if (operation === "find") return this.#cursors.begin(request);
      return this.#transact(request);
    } catch (error) {
      throw storageError(error);
    }
  }

  /** The event loop's connection may have changed since whatever the catalog knows. */
  #transact(request: Request): Uint8Array[] {
    const connection = this.#connection;
    const writes = isWrite(request.operation);
    connection.run(writes ? "BEGIN IMMEDIATE" : "BEGIN");
    try {
      const requests = new Requests(connection, new Catalog(connection));
      const documents = writes ? connection.atomically(() => requests.write(request)) : requests.read(request);
      connection.run("COMMIT");
      return documents ?? [];
    } catch (error) {
      if (connection.inTransaction) connection.run("ROLLBACK");
      throw error;
    }
  }

  #keepUp(): void {
    this.#cursors.closeIdle();
    if (this.#connection.logPages() > MAX_LOG_PAGES) this.#cursors.endOldest();
  }
}

const port = parentPort;
if (!port) throw new Error("this file is a worker thread");
const { file } = workerData as { file: string };
let thread: BackgroundThread | undefined;
port.on("message", (command: Command) => {
  let answer: Answer;
  try {
    thread ??= new BackgroundThread(file);
    answer = { id: command.id, failed: false, bytes: joinDocuments(thread.answer(command)) };
  } catch (error) {
    answer = { id: command.id, failed: true, bytes: joinDocuments([encodeError(error)]) };
  }
  port.postMessage(answer, [answer.bytes.buffer]);
  if (command.do === "close") port.close();
});
