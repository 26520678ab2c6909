/** What one request may cost on the event loop; a longer one is for the background thread. */

const MAX_DOCUMENTS = 2_000;
const MAX_MS = 10;

/** The request is too long for the event loop. */
export class TooLong extends Error {}

export class Limit {
  readonly #end = performance.now() + MAX_MS;
  #documents = 0;

  /** Counts a document that was found to be changed. Throws TooLong. */
  take(): void {
    this.#documents += 1;
    if (this.#documents > MAX_DOCUMENTS) throw new TooLong("too many documents for the event loop");
  }

  /** Looks at the time. Throws TooLong. */
  pause(): void {
    if (performance.now() > this.#end) throw new TooLong("too long for the event loop");
  }
}
