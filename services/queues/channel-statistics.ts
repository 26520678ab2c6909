/** What happened in the channels: counted in memory, added up in the datastore every few seconds. */
import { setTimeout as sleep } from "node:timers/promises";
import type { AnyBulkWriteOperation, Collection, Datastore, IndexDescription } from "../../lib/datastore/datastore.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { ChannelCounts } from "./channel-counts.ts";
import { countChannel } from "./channel-counts.ts";
import type { Histogram } from "./run-times.ts";
import { addRuns, bucketOf, percentile } from "./run-times.ts";
import type { Changed } from "./task-changes.ts";
import type { Task } from "./task.ts";
import { isEnded } from "./task.ts";

const COUNTERS = ["created", "succeeded", "failed", "cancelled", "retried", "lost"] as const;
const ENDS = { SUCCESS: "succeeded", FAILURE: "failed", CANCEL: "cancelled" } as const;

type Counts = Record<(typeof COUNTERS)[number], number> & {
  /** Of the attempts that ended a task. */
  runs: Histogram;
};

/** A channel's minute, of all nodes. */
interface StoredMinute extends Partial<Counts> {
  /** Channel and minute; a channel's name holds no ":". */
  _id: string;
  channel: string;
  at: Date;
}

/** What happened in a channel in a stretch of time that ends now. */
export interface Activity extends Record<(typeof COUNTERS)[number], number> {
  /** Tasks that ended, of any state, a second. */
  throughput: number;
  /** In milliseconds. */
  runP50: number;
  runP95: number;
  runP99: number;
}

export interface RecentActivity {
  lastMinute: Activity;
  lastHour: Activity;
  lastDay: Activity;
}

const MINUTE_MS = 60_000;
const DAY_MINUTES = 1_440;
const INDEXES: IndexDescription[] = [
  { name: "channel", key: { channel: 1, at: 1 } },
  { name: "expiry", key: { at: 1 }, expireAfterSeconds: (DAY_MINUTES + 60) * 60 },
];
const FLUSH_MS = 5_000;
const FLUSH_BATCH = 1_000;
/** Channels and minutes that are kept until they are stored. */
const MAX_KEPT = 20_000;

export class ChannelStatistics {
  readonly #minutes: Collection<StoredMinute>;
  readonly #tasks: Collection<Task>;
  readonly #now: () => Date;
  readonly #stop = new AbortController();
  /** What is not stored yet, by minute and channel. */
  #kept = new Map<number, Map<string, Counts>>();
  #size = 0;
  /** Events of channels for which there was no room. */
  #dropped = 0;
  #running: Promise<void> = Promise.resolve();
  #flushing: Promise<void> = Promise.resolve();
  #onError: (error: unknown) => void = () => undefined;

  private constructor(minutes: Collection<StoredMinute>, tasks: Collection<Task>, now: () => Date) {
    this.#minutes = minutes;
    this.#tasks = tasks;
    this.#now = now;
  }

  static async open(datastore: Datastore): Promise<ChannelStatistics> {
    const minutes = await datastore.collection<StoredMinute>("channel_minutes", INDEXES);
    // The indexes are for TaskStore to make.
    const tasks = await datastore.collection<Task>("tasks");
    return new ChannelStatistics(minutes, tasks, () => datastore.now());
  }

  start(onError: (error: unknown) => void): void {
    this.#onError = onError;
    this.#running = this.#run();
  }

  /** Tasks were made in the channel. */
  created(channel: string, count: number): void {
    const counts = this.#countsOf(this.#minute(), channel);
    if (counts) counts.created += count;
  }

  /** Tasks have changed. */
  changed(changes: Changed[]): void {
    const minute = this.#minute();
    for (const { before, after } of changes) {
      const ended = isEnded(after.state) && !isEnded(before.state) ? after.state : undefined;
      const retried = after.retries > before.retries;
      const lost = after.losses - before.losses;
      if (!ended && !retried && lost <= 0) continue;
      const counts = this.#countsOf(minute, after.channel);
      if (!counts) continue;
      if (retried) counts.retried += 1;
      if (lost > 0) counts.lost += lost;
      if (!ended) continue;
      counts[ENDS[ended]] += 1;
      const { startTime } = before;
      if (before.state !== "RUNNING" || !startTime || !after.endTime) continue;
      addRuns(counts.runs, bucketOf(after.endTime.getTime() - startTime.getTime()), 1);
    }
  }

  /** What is in the channel now. */
  counts(channel: string): Promise<ChannelCounts> {
    return countChannel(this.#tasks, channel);
  }

  /** What happened in the channel, on all nodes: on others but for the last seconds. */
  async recent(channel: string): Promise<RecentActivity> {
    await this.#flush();
    const now = this.#now().getTime();
    const minute = Math.floor(now / MINUTE_MS);
    // The minute that has begun counts beside the full ones, so that nothing is left out.
    const windows = [1, 60, DAY_MINUTES].map((minutes) => ({ from: minute - minutes, counts: noCounts() }));
    const from = new Date((minute - DAY_MINUTES) * MINUTE_MS);
    for await (const stored of this.#minutes.find({ channel, at: { $gte: from } }, { sort: { channel: 1, at: 1 } })) {
      const at = stored.at.getTime() / MINUTE_MS;
      for (const window of windows) if (at >= window.from) add(window.counts, stored);
    }
    const [lastMinute, lastHour, lastDay] = windows.map((window) =>
      activityOf(window.counts, now / 1_000 - window.from * 60),
    ) as [Activity, Activity, Activity];
    return { lastMinute, lastHour, lastDay };
  }

  /** Channels in which something happened in the last day, by name, those after `after`. */
  async active(after: string, limit: number): Promise<string[]> {
    await this.#flush();
    const since = new Date(this.#now().getTime() - DAY_MINUTES * MINUTE_MS);
    const options = { sort: { channel: 1, at: 1 }, limit: 1, projection: { channel: 1 } } as const;
    const channels: string[] = [];
    // From channel to channel in the index: each has a document for each minute.
    for (let last = after; channels.length < limit;) {
      const [next] = await this.#minutes.find({ channel: { $gt: last }, at: { $gte: since } }, options).toArray();
      if (!next) break;
      channels.push(next.channel);
      last = next.channel;
    }
    return channels;
  }

  /** Stores what is left. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#flush();
  }

  #minute(): number {
    return Math.floor(this.#now().getTime() / MINUTE_MS);
  }

  /** Undefined where there is no room for a further channel. */
  #countsOf(minute: number, channel: string): Counts | undefined {
    let channels = this.#kept.get(minute);
    if (!channels) this.#kept.set(minute, (channels = new Map()));
    const known = channels.get(channel);
    if (known) return known;
    if (this.#size >= MAX_KEPT) {
      this.#dropped += 1;
      return undefined;
    }
    const counts = noCounts();
    channels.set(channel, counts);
    this.#size += 1;
    return counts;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      const pause = FLUSH_MS * (0.75 + Math.random() / 2);
      await sleep(pause, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      await this.#flush();
    }
  }

  /** Resolves when all that was counted before is stored, or kept for the next time: what is stored can be read anyway. */
  #flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#store()).catch((error: unknown) => this.#onError(error));
    return this.#flushing;
  }

  async #store(): Promise<void> {
    const kept = [...this.#kept].flatMap(([minute, channels]) =>
      [...channels].map(([channel, counts]) => ({ minute, channel, counts })),
    );
    this.#kept = new Map();
    this.#size = 0;
    this.#tellDropped();
    try {
      while (kept.length > 0) {
        const operations = kept.slice(0, FLUSH_BATCH).map(addition);
        await this.#minutes.bulkWrite(operations, { ordered: false });
        kept.splice(0, FLUSH_BATCH);
      }
    } finally {
      for (const { minute, channel, counts } of kept) {
        const again = this.#countsOf(minute, channel);
        if (again) add(again, counts);
      }
    }
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    const why = `more than ${MAX_KEPT} channels were busy at once`;
    this.#onError(
      new LongshoreError("RESOURCE_EXHAUSTED", `statistics: ${this.#dropped} changes were not counted: ${why}`),
    );
    this.#dropped = 0;
  }
}

function noCounts(): Counts {
  return { created: 0, succeeded: 0, failed: 0, cancelled: 0, retried: 0, lost: 0, runs: {} };
}

function add(counts: Counts, more: Partial<Counts>): void {
  for (const counter of COUNTERS) counts[counter] += more[counter] ?? 0;
  for (const [bucket, count] of Object.entries(more.runs ?? {})) addRuns(counts.runs, bucket, count);
}

function addition({ minute, channel, counts }: { minute: number; channel: string; counts: Counts }) {
  const increments: Record<string, number> = {};
  for (const counter of COUNTERS) if (counts[counter]) increments[counter] = counts[counter];
  for (const [bucket, count] of Object.entries(counts.runs)) increments[`runs.${bucket}`] = count;
  const at = new Date(minute * MINUTE_MS);
  const update = { $inc: increments, $setOnInsert: { channel, at } };
  return {
    updateOne: { filter: { _id: `${channel}:${minute}` }, update, upsert: true },
  } as AnyBulkWriteOperation<StoredMinute>;
}

function activityOf({ runs, ...counts }: Counts, seconds: number): Activity {
  return {
    ...counts,
    throughput: (counts.succeeded + counts.failed + counts.cancelled) / seconds,
    runP50: percentile(runs, 0.5),
    runP95: percentile(runs, 0.95),
    runP99: percentile(runs, 0.99),
  };
}
