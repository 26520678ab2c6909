import fs from "node:fs";

/** A disk is quick while the mean flush takes less: not much more than to hand one to the pool and hear of its end. */
const QUICK_MS = 1;
/** What flushes may take beyond that before they are too long: one that is late now and then, as on any busy machine, is not. */
const MAX_SPARE_MS = 50;
/** The pool flushes for so many times as long as the one was that was too long: of a slow disk the loop sees a hundredth. */
const POOL_TIMES = 100;

/**
 * Brings a file's data to the disk. On the event loop while that is quick: a sleeping thread of the pool, and then the loop, wake
 * later than a quick disk takes, most of all where there is more work than processors. A slow disk is waited for in the pool.
 */
export class LogFlush {
  readonly #file: number;
  readonly #now: () => number;
  #spareMs = MAX_SPARE_MS;
  #poolUntil = -Infinity;

  /** `now` is in milliseconds, of a clock that is never set. */
  constructor(file: number, now = () => performance.now()) {
    this.#file = file;
    this.#now = now;
  }

  /** Resolves when all that was written before is on the disk. */
  flush(): Promise<void> {
    return this.#now() < this.#poolUntil ? this.#inPool() : this.#atOnce();
  }

  #inPool(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#file, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** What it throws is a rejection. */
  async #atOnce(): Promise<void> {
    const began = this.#now();
    fs.fdatasyncSync(this.#file);
    const ended = this.#now();
    const took = ended - began;
    this.#spareMs = Math.min(MAX_SPARE_MS, this.#spareMs + QUICK_MS - took);
    if (this.#spareMs >= 0) return;
    this.#spareMs = 0;
    this.#poolUntil = ended + POOL_TIMES * took;
  }
}
