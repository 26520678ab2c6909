/** Does requests that came in together on the event loop: what they write is one transaction. */
import type { Catalog } from "./catalog.ts";
import type { Connection } from "./connection.ts";
import { HalfDone, isStorageFailure, storageError } from "./connection.ts";
import { Limit, TooLong } from "./limit.ts";
import { isWrite, Requests } from "./requests.ts";
import type { Request } from "./wire.ts";

/** A group commits after so long, whatever else waits: the event loop is everybody's. */
const GROUP_MS = 10;
/** Of what a group is answered. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/** A request that waits for its turn. */
export interface Pending {
  request: Request;
  /** Of what it brings. */
  bytes: number;
  /** A write that is for the background thread. */
  long: boolean;
  resolve: (documents: Uint8Array[]) => void;
  reject: (error: unknown) => void;
}

/** What became of a request: the documents of its answer, none where the background thread has to read them. */
export type Outcome = { documents: Uint8Array[] | undefined } | { error: unknown };

export interface Committed {
  /** Of those requests that were done, the first ones of the group. */
  outcomes: Map<Pending, Outcome>;
  /** Something was committed, and has to be flushed before anybody hears of it. */
  written: boolean;
}

const UNDONE: Outcome = { documents: [] };

export class Groups {
  readonly #connection: Connection;
  readonly #catalog: Catalog;
  readonly #requests: Requests;

  constructor(connection: Connection, catalog: Catalog) {
    this.#connection = connection;
    this.#catalog = catalog;
    this.#requests = new Requests(connection, catalog);
  }

  /** Does the first requests of the group, or none where one of them turns out to be long: it is marked so. */
  commit(group: readonly Pending[], savepoints = false): Committed {
    const connection = this.#connection;
    const outcomes = new Map<Pending, Outcome>();
    connection.savepoints = savepoints;
    try {
      this.#performAll(group, outcomes);
      const written = connection.inTransaction;
      if (written) connection.run("COMMIT");
      return { outcomes, written };
    } catch (error) {
      if (connection.inTransaction) connection.run("ROLLBACK");
      this.#catalog.reload();
      if (error instanceof TooLong) return { outcomes: new Map(), written: false };
      if (error instanceof HalfDone) return this.commit([...outcomes.keys()], true);
      return { outcomes: this.#refuse([...outcomes.keys()], storageError(error)), written: false };
    }
  }

  #performAll(group: readonly Pending[], outcomes: Map<Pending, Outcome>): void {
    const end = performance.now() + GROUP_MS;
    let answered = 0;
    for (const pending of group) {
      if (outcomes.size > 0 && (performance.now() > end || answered > MAX_ANSWER_BYTES)) return;
      outcomes.set(pending, UNDONE);
      const outcome = this.#perform(pending);
      outcomes.set(pending, outcome);
      if ("documents" in outcome) for (const document of outcome.documents ?? []) answered += document.length;
    }
  }

  /** Does one request of a group. Throws only what fails the group. */
  #perform(pending: Pending): Outcome {
    const connection = this.#connection;
    const { request } = pending;
    if (!isWrite(request.operation)) return this.#read(request);
    try {
      if (!connection.inTransaction) connection.run("BEGIN IMMEDIATE");
      return { documents: connection.atomically(() => this.#requests.write(request, new Limit())) };
    } catch (error) {
      const reason = error instanceof HalfDone ? error.cause : error;
      if (reason instanceof TooLong) {
        pending.long = true;
        throw reason;
      }
      if (isStorageFailure(error) || error instanceof HalfDone) throw error;
      this.#catalog.reload();
      return { error };
    }
  }

  #read(request: Request): Outcome {
    try {
      return { documents: this.#requests.read(request, new Limit()) };
    } catch (error) {
      if (error instanceof TooLong) return { documents: undefined };
      if (isStorageFailure(error)) throw error;
      return { error };
    }
  }

  /** The commit failed: so have all writes. What was read may have been what is undone now. */
  #refuse(group: readonly Pending[], error: unknown): Map<Pending, Outcome> {
    return new Map(
      group.map((pending): [Pending, Outcome] => {
        if (isWrite(pending.request.operation)) return [pending, { error }];
        try {
          return [pending, this.#read(pending.request)];
        } catch (failure) {
          return [pending, { error: storageError(failure) }];
        }
      }),
    );
  }
}
