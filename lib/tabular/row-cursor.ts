import type { Row } from "./table.ts";

/** Reads one stream of row batches in portions, so that a sheet or a file can end and the next go on after it. */
export class RowCursor {
  /** Rows taken so far. */
  rows = 0;
  readonly #batches: AsyncIterator<readonly Row[]>;
  #pending: readonly Row[] = [];

  constructor(batches: AsyncIterable<readonly Row[]>) {
    this.#batches = batches[Symbol.asyncIterator]();
  }

  /** The rows that come next, without taking them; none at the end. */
  async peek(): Promise<readonly Row[]> {
    while (this.#pending.length === 0) {
      const next = await this.#batches.next();
      if (next.done) break;
      this.#pending = next.value;
    }
    return this.#pending;
  }

  /** Takes at most `limit` rows, in batches. */
  async *take(limit = Infinity): AsyncGenerator<readonly Row[]> {
    for (let left = limit; left > 0;) {
      const batch = await this.peek();
      if (batch.length === 0) return;
      const taken = batch.length <= left ? batch : batch.slice(0, left);
      this.#pending = batch.length <= left ? [] : batch.slice(left);
      left -= taken.length;
      this.rows += taken.length;
      yield taken;
    }
  }
}
