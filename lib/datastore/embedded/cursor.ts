/** The reader's side of a reading of the embedded store: asks for the next batch when the one before it is used up. */
import type { Cursor, Document } from "../datastore.ts";
import type { Ask } from "./collection.ts";
import { deserialize, serialize } from "./documents.ts";

export class EmbeddedCursor<T extends Document> implements Cursor<T> {
  readonly #ask: Ask;
  readonly #query: Buffer;
  #id: number | undefined;
  #begun = false;
  #closed = false;

  constructor(ask: Ask, query: Buffer) {
    this.#ask = ask;
    this.#query = query;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        const batch = await this.#nextBatch();
        if (!batch) return;
        for (const bytes of batch) yield deserialize<T>(bytes);
      }
    } finally {
      await this.close();
    }
  }

  async toArray(): Promise<T[]> {
    const documents: T[] = [];
    for (;;) {
      const batch = await this.#nextBatch();
      if (!batch) return documents;
      for (const bytes of batch) documents.push(deserialize<T>(bytes));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#id === undefined) return;
    const cursor = this.#id;
    this.#id = undefined;
    await this.#ask("closeCursor", [serialize({ cursor })]);
  }

  async #nextBatch(): Promise<Uint8Array[] | undefined> {
    if (this.#closed || (this.#begun && this.#id === undefined)) return undefined;
    const asked = this.#begun ? this.#ask("more", [serialize({ cursor: this.#id })]) : this.#ask("find", [this.#query]);
    this.#begun = true;
    const [head, ...documents] = await asked;
    this.#id = head && (deserialize(head).cursor as number | undefined);
    return documents;
  }
}
