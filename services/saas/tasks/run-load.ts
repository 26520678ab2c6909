/** The node's side of a bulk load: applies what its thread reads, keeps how far it is, and reports the lines that were none. */
import { setTimeout as sleep } from "node:timers/promises";
import { failedPrecondition, viewError } from "../../../lib/errors.ts";
import { runInThread } from "../../../lib/job-thread/run.ts";
import type { ObjectStore } from "../../../lib/objects/object-store.ts";
import type { ObjectsPlace } from "../../../lib/objects/open.ts";
import { writeErrorReport } from "../../../lib/tabular/error-report.ts";
import type { RecordStore, UserChange } from "../record-store.ts";
import type { BlockStore } from "./block-store.ts";
import type { BadLine, LoadBatch } from "./load-batch.ts";
import { unpackBatch } from "./load-batch.ts";
import type { Checkpoint, LoadStore, StoredLoad } from "./load-store.ts";
import type { WholeTask } from "./load-task.ts";
import { blockId, filesOf } from "./load-task.ts";
import type { LoadWork } from "./load-work.ts";

export interface LoadNeeds {
  records: RecordStore;
  loads: LoadStore;
  blocks: BlockStore;
  objects: ObjectStore;
  objectsPlace: ObjectsPlace;
  /** More bad lines fail the load. */
  maxBad: number;
}

export interface LoadProgress {
  /** That held an item, and that did not. */
  lines: number;
  badLines: number;
  bytes: number;
}

export interface LoadOptions {
  signal: AbortSignal;
  onProgress: (progress: LoadProgress) => void;
}

/** What a load came to, for the queue to keep. */
export interface LoadResult extends LoadProgress {
  /** For clients; empty where all lines were good. */
  status: string;
}

/** What the keys of reports begin with. */
export const REPORTS = "saas/reports/";
const HEAP_MB = 96;
/** With the 24 MiB that other jobs have a node took 50 MB more, and was no faster. */
const YOUNG_MB = 12;
const REPORTED_LINES = 1_000;
/** How often it is kept how far a load is. */
const KEEP_MS = 1_000;
/** A store that does not answer is asked again for so long. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 200;
const MAX_PAUSE_MS = 5_000;

/** Runs the load from where it was left. Rows that were applied stay, however it ends. */
export async function runLoad(task: WholeTask, needs: LoadNeeds, options: LoadOptions): Promise<LoadResult> {
  const { loads, blocks } = needs;
  const stored = await loads.begin(task);
  const work: LoadWork = { files: await locate(task, blocks), from: stored.at };
  const load = new Load(task, stored, needs, options);
  try {
    await runInThread({
      name: "saas-load",
      script: new URL("./load-thread.ts", import.meta.url),
      data: work,
      objects: needs.objectsPlace,
      heapMb: HEAP_MB,
      youngMb: YOUNG_MB,
      signal: options.signal,
      onProgress: () => undefined,
      onCall: (batch) => load.apply(batch as LoadBatch),
    });
  } catch (error) {
    options.signal.throwIfAborted();
    await load.finish();
    throw error;
  }
  return load.finish();
}

async function locate(task: WholeTask, blocks: BlockStore): Promise<LoadWork["files"]> {
  const objects = await blocks.uploaded(task);
  return filesOf(task).map(({ name, blocks: listed }) => ({
    name,
    blocks: listed.map((block) => {
      const object = objects.get(blockId(task.account, block));
      if (object === undefined) throw failedPrecondition(`block ${block.sha256} of ${name} is not there any more`);
      return { object, length: block.length };
    }),
  }));
}

class Load {
  readonly #task: WholeTask;
  readonly #number: number;
  readonly #needs: LoadNeeds;
  readonly #options: LoadOptions;
  readonly #blockBytes: readonly number[][];
  readonly #badLines: BadLine[];
  #checkpoint: Checkpoint;
  #keptBad: number;
  #keptAt = performance.now();
  #last: Promise<void> = Promise.resolve();

  constructor(task: WholeTask, { load, at, good, bad, badLines }: StoredLoad, needs: LoadNeeds, options: LoadOptions) {
    this.#task = task;
    this.#number = load;
    this.#needs = needs;
    this.#options = options;
    this.#blockBytes = filesOf(task).map(({ blocks }) => blocks.map(({ length }) => length));
    this.#checkpoint = { at, good, bad };
    this.#badLines = [...badLines];
    this.#keptBad = badLines.length;
  }

  /**
   * One batch after the other: a mark says that all before it was applied. After one that fails none is, for the thread ends.
   */
  apply(batch: LoadBatch): Promise<void> {
    this.#last = this.#last.then(() => this.#apply(batch));
    return this.#last;
  }

  /** Keeps how it ended, and puts the report of bad lines where there are any. */
  async finish(): Promise<LoadResult> {
    // What fails here has failed before.
    await this.#last.catch(() => undefined);
    await this.#keep();
    const { bad } = this.#checkpoint;
    if (bad > 0) await this.#report();
    return { ...this.#progress(), status: statusOf(this.#checkpoint, this.#badLines) };
  }

  async #apply({ badLines, bad, ...batch }: LoadBatch): Promise<void> {
    const { at, good } = this.#checkpoint;
    const changes = unpackBatch({ ...batch, badLines, bad }, this.#number, at.position);
    await this.#write(changes);
    this.#badLines.push(...badLines.slice(0, REPORTED_LINES - this.#badLines.length));
    const counted = { good: good + changes.length, bad: this.#checkpoint.bad + bad };
    this.#checkpoint = { at: batch.end, ...counted };
    this.#options.onProgress(this.#progress());
    if (counted.bad > this.#needs.maxBad) {
      throw failedPrecondition(`more than ${this.#needs.maxBad} lines hold no item: ${reasonOf(this.#badLines)}`, {
        reason: "TOO_MANY_BAD_LINES",
      });
    }
    if (performance.now() - this.#keptAt >= KEEP_MS) await this.#keep();
  }

  /** A store that does not answer now may later: what was applied already is not applied again. */
  async #write(changes: readonly UserChange[]): Promise<void> {
    const { space, app } = this.#task;
    const until = performance.now() + PATIENCE_MS;
    for (let pause = PAUSE_MS; changes.length > 0; pause = Math.min(2 * pause, MAX_PAUSE_MS)) {
      this.#options.signal.throwIfAborted();
      try {
        return await this.#needs.records.write({ space, app }, changes);
      } catch (error) {
        if (performance.now() > until || isFinal(error)) throw error;
        await sleep(pause * (0.5 + Math.random()), undefined, { signal: this.#options.signal });
      }
    }
  }

  async #keep(): Promise<void> {
    this.#keptAt = performance.now();
    const more = this.#badLines.length > this.#keptBad;
    this.#keptBad = this.#badLines.length;
    await this.#needs.loads.keep(this.#task.run, this.#checkpoint, more ? this.#badLines : undefined);
  }

  async #report(): Promise<void> {
    const { objects, loads } = this.#needs;
    const key = `${REPORTS}${this.#task.run}.csv`;
    const rows = this.#badLines.map(({ file, line, reason }) => ({ number: line, reason, cells: [file] }));
    const further = this.#checkpoint.bad - rows.length;
    await objects.put(key, writeErrorReport(rows, { titles: ["file"], further }), { signal: this.#options.signal });
    if (!(await loads.keepReport(this.#task.run, key))) await objects.delete(key);
  }

  #progress(): LoadProgress {
    const { at, good, bad } = this.#checkpoint;
    const sum = (lengths: readonly number[]) => lengths.reduce((bytes, length) => bytes + length, 0);
    const files = this.#blockBytes.slice(0, at.file).reduce((bytes, lengths) => bytes + sum(lengths), 0);
    const bytes = files + sum((this.#blockBytes[at.file] ?? []).slice(0, at.block)) + at.offset;
    return { lines: good + bad, badLines: bad, bytes };
  }
}

function isFinal(error: unknown): boolean {
  return ["INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"].includes(viewError(error).type);
}

function statusOf({ good, bad }: Checkpoint, badLines: readonly BadLine[]): string {
  return bad === 0 ? "" : `${bad} of ${good + bad} lines hold no item: ${reasonOf(badLines)}`;
}

const TOLD_LINES = 3;

function reasonOf(badLines: readonly BadLine[]): string {
  return badLines
    .slice(0, TOLD_LINES)
    .map(({ file, line, reason }) => `${file}, line ${line}: ${reason}`)
    .join("; ");
}
