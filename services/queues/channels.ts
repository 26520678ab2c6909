/** Channels that somebody has set limits for, paused or drains: known on every node, kept in the datastore. */
import type { Collection, Datastore, IndexDescription, UpdateFilter } from "../../lib/datastore/datastore.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { Outcome } from "../../lib/group-commit.ts";
import { GroupCommit } from "../../lib/group-commit.ts";
import { pauseAbout } from "../../lib/pause-about.ts";
import type { Claimed, LimitedChannel } from "./channel-limits.ts";
import { ChannelLimits } from "./channel-limits.ts";

export interface ChannelSettings {
  /** Tasks that may run at once, on all nodes together. */
  concurrency?: number;
  /** Tasks that may be received in each `rateSeconds`. */
  rate?: number;
  rateSeconds?: number;
  /** Owners take turns. */
  fair?: boolean;
  retentionDays?: number;
}

export type ChannelStatus = "ACTIVE" | "PAUSED" | "DRAINING";

export interface Channel {
  _id: string;
  status: ChannelStatus;
  settings: ChannelSettings;
  updateTime: Date;
}

export interface ChannelListener {
  /** A claim that the channel did not let through may be let through now. */
  available: (channel: string) => void;
  onError: (error: unknown) => void;
}

interface StoredChannel extends LimitedChannel {
  /** Nothing is set any more: kept for the nodes to see that, and then removed. */
  idleSince?: Date;
}

const DAY_MS = 86_400_000;
const IDLE_DAYS = 7;
const INDEXES: IndexDescription[] = [
  { name: "changed", key: { updateTime: 1 } },
  {
    name: "idle",
    key: { idleSince: 1 },
    expireAfterSeconds: (IDLE_DAYS * DAY_MS) / 1_000,
    partialFilterExpression: { idleSince: { $exists: true } },
  },
];
const MAX_CHANNELS = 10_000;
/** What is only for claims. */
const WITHOUT_CLAIMS = { lock: 0, grants: 0 };
const READ_BATCH = 500;
const POLL_MS = 5_000;
/** A change may show so much later than the time it bears: clocks differ, and commits take a while. */
const OVERLAP_MS = 30_000;

const overflow = () =>
  new LongshoreError("RESOURCE_EXHAUSTED", "too many changes of channels wait for the datastore, try again later");

export class Channels {
  readonly #channels: Collection<StoredChannel>;
  readonly #now: () => Date;
  readonly #changed: (channel: string) => void;
  readonly #limits: ChannelLimits;
  readonly #known = new Map<string, Channel>();
  /** One reading at a time: so what is known never goes back to what an earlier one has found. */
  readonly #readings: GroupCommit<string, Channel>;
  readonly #stop = new AbortController();
  #listener: ChannelListener | undefined;
  #running: Promise<void> = Promise.resolve();
  #lookedAt = new Date(0);

  private constructor(channels: Collection<StoredChannel>, now: () => Date, changed: (channel: string) => void) {
    this.#channels = channels;
    this.#now = now;
    this.#changed = changed;
    this.#limits = new ChannelLimits(
      channels as unknown as Collection<LimitedChannel>,
      now,
      (channel) => this.#listener?.available(channel),
      (error) => this.#listener?.onError(error),
    );
    const limits = { size: READ_BATCH, parallel: 1, waiting: 50_000, overflow };
    this.#readings = new GroupCommit(limits, (names) => this.#read(names));
  }

  /** `changed` is told after the commit, and brings it to all nodes, which `refresh`. */
  static async open(datastore: Datastore, changed: (channel: string) => void): Promise<Channels> {
    const stored = await datastore.collection<StoredChannel>("channels", INDEXES);
    const channels = new Channels(stored, () => datastore.now(), changed);
    await channels.#look();
    return channels;
  }

  /** What is set for the channel; undefined where nothing is. */
  get(channel: string): Channel | undefined {
    return this.#known.get(channel);
  }

  /** Keeps up with what other nodes set, should their hints be lost. */
  start(listener: ChannelListener): void {
    this.#listener = listener;
    this.#running = this.#run();
  }

  /** Reads again what is set for the channel, and answers it. */
  refresh(channel: string): Promise<Channel> {
    return this.#readings.add(channel);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#limits.stop();
    await this.#running;
  }

  /** Channels for which something is set, by name, those after `after`. */
  list(after: string, limit: number): Promise<Channel[]> {
    const options = { sort: { _id: 1 }, limit, projection: WITHOUT_CLAIMS } as const;
    return this.#channels.find({ _id: { $gt: after }, idleSince: { $exists: false } }, options).toArray();
  }

  /** Replaces the channel's settings. */
  configure(channel: string, settings: ChannelSettings): Promise<Channel> {
    const update = { $set: { settings, updateTime: this.#now() }, $setOnInsert: { status: "ACTIVE" as const } };
    return this.#write(channel, update, Object.keys(settings).length > 0);
  }

  setStatus(channel: string, status: ChannelStatus): Promise<Channel> {
    const update = { $set: { status, updateTime: this.#now() }, $setOnInsert: { settings: {} } };
    return this.#write(channel, update, status !== "ACTIVE");
  }

  /**
   * Lets a claim of up to `wanted` tasks through the channel's limits: calls `claim` with how many it may take (at least 1),
   * or answers null where none may be taken now. `running` counts the channel's running tasks.
   */
  limited<T>(
    channel: Channel,
    wanted: number,
    running: () => Promise<number>,
    claim: (max: number) => Promise<Claimed<T>>,
  ): Promise<T | null> {
    return this.#limits.claim(channel, wanted, running, claim);
  }

  /** `sets`: there is something set for the channel then, for sure. */
  async #write(channel: string, update: UpdateFilter<StoredChannel>, sets: boolean): Promise<Channel> {
    if (sets && !this.#known.has(channel) && this.#known.size >= MAX_CHANNELS) {
      throw new LongshoreError(
        "RESOURCE_EXHAUSTED",
        `Channel: ${MAX_CHANNELS} channels have settings or are not active: reset others first`,
      );
    }
    await this.#channels.updateOne({ _id: channel }, { ...update, $unset: { idleSince: "" } }, { upsert: sets });
    // Only if nothing is set by now: another change may have come between.
    const idle = { _id: channel, status: "ACTIVE", settings: {} } as const;
    if (!sets) await this.#channels.updateOne(idle, { $set: { idleSince: this.#now() } });
    this.#changed(channel);
    return this.refresh(channel);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      await pauseAbout(POLL_MS, signal);
      if (signal.aborted) return;
      await this.#look().catch((error: unknown) => this.#listener?.onError(error));
    }
  }

  /** Reads what has changed since the last look. */
  async #look(): Promise<void> {
    const begun = this.#now();
    const since = new Date(Math.max(0, this.#lookedAt.getTime() - OVERLAP_MS));
    const found = await this.#channels.find({ updateTime: { $gte: since } }, { projection: { _id: 1 } }).toArray();
    const names = new Set(found.map(({ _id }) => _id));
    // What was reset while the datastore could not be reached for long may be gone by now.
    if (begun.getTime() - this.#lookedAt.getTime() > DAY_MS) for (const name of this.#known.keys()) names.add(name);
    const left = [...names];
    while (left.length > 0) {
      const batch = left.splice(0, READ_BATCH);
      await Promise.all(batch.map((name) => this.refresh(name)));
      for (const name of batch) this.#listener?.available(name);
    }
    this.#lookedAt = begun;
  }

  async #read(names: string[]): Promise<Outcome<Channel>[]> {
    const options = { projection: WITHOUT_CLAIMS };
    const found = await this.#channels.find({ _id: { $in: [...new Set(names)] } }, options).toArray();
    const channels = new Map<string, Channel>(found.map((channel) => [channel._id, channel]));
    return names.map((name) => {
      const channel = channels.get(name) ?? { _id: name, status: "ACTIVE", settings: {}, updateTime: new Date(0) };
      if (channel.status === "ACTIVE" && Object.keys(channel.settings).length === 0) this.#known.delete(name);
      else this.#known.set(name, channel);
      this.#limits.reset(name);
      return { value: channel };
    });
  }
}
