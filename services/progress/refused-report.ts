import { once } from "node:events";
import { PassThrough } from "node:stream";
import type { WrittenObject } from "../../lib/job-thread/messages.ts";
import type { ObjectStore, PutResult } from "../../lib/objects/object-store.ts";
import type { ReportedRow } from "../../lib/tabular/error-report.ts";
import { writeErrorReport } from "../../lib/tabular/error-report.ts";

export interface ReportOptions {
  key: string;
  titles: readonly string[];
  maxRows: number;
  signal: AbortSignal;
}

/** An object that says of refused rows why; put while they are found, and only where there is one. */
export class RefusedReport {
  readonly #store: ObjectStore;
  readonly #options: ReportOptions;
  readonly #rows = new PassThrough({ objectMode: true });
  #writing: Promise<PutResult> | undefined;

  constructor(store: ObjectStore, options: ReportOptions) {
    this.#store = store;
    this.#options = options;
    // Whoever reads it is told; it may not be read yet.
    this.#rows.on("error", () => {});
  }

  async add(row: ReportedRow): Promise<void> {
    this.#writing ??= this.#write();
    if (!this.#rows.write(row)) await Promise.race([once(this.#rows, "drain"), this.#writing]);
  }

  /** Undefined where no row was added. */
  async finish(): Promise<WrittenObject | undefined> {
    this.#rows.end();
    const put = await this.#writing;
    return put && { key: this.#options.key, etag: put.etag };
  }

  /** Leaves no object. */
  async abandon(reason: Error): Promise<void> {
    this.#rows.destroy(reason);
    await this.#writing?.catch(() => undefined);
  }

  #write(): Promise<PutResult> {
    const { key, titles, maxRows, signal } = this.#options;
    const rows = this.#rows as AsyncIterable<ReportedRow>;
    const writing = this.#store.put(key, writeErrorReport(rows, { titles, maxRows }), { signal });
    // Whoever adds or finishes is told.
    writing.catch(() => undefined);
    return writing;
  }
}
