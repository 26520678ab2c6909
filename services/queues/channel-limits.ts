/**
 * The limits of channels, across all nodes: who claims from a limited channel has a short lock on it, in the channel's document,
 * which also holds what was given out lately.
 */
import { randomBytes } from "node:crypto";
import type { Collection } from "../../lib/datastore/datastore.ts";
import type { Channel } from "./channels.ts";
import type { Grant } from "./rate-window.ts";
import { allowance, granted } from "./rate-window.ts";

/** A channel's document with what claims keep in it. */
export interface LimitedChannel extends Channel {
  /** Of who claims, or died while he did; `wanted` is the most that he may have taken. */
  lock?: { token: string; until: Date; wanted: number };
  grants?: Grant[];
}

export interface Claimed<T> {
  taken: number;
  result: T;
}

interface Holding {
  token: string;
  channel: LimitedChannel;
  /** On the clock of `performance`: who has not begun to claim by then must not. */
  goodUntil: number;
}

const LOCK_MS = 2_000;
/** How long another node's claim takes, about. */
const CONTENDED_MS = 20;

export class ChannelLimits {
  readonly #channels: Collection<LimitedChannel>;
  readonly #now: () => Date;
  readonly #available: (channel: string) => void;
  readonly #onError: (error: unknown) => void;
  /** Channels of which nothing can be had before the timer ends. */
  readonly #waits = new Map<string, NodeJS.Timeout>();

  /** `available` is told of a channel when what kept a claim from it is over. */
  constructor(
    channels: Collection<LimitedChannel>,
    now: () => Date,
    available: (channel: string) => void,
    onError: (error: unknown) => void,
  ) {
    this.#channels = channels;
    this.#now = now;
    this.#available = available;
    this.#onError = onError;
  }

  /** As `Channels.limited`. */
  async claim<T>(
    { _id, settings }: Channel,
    wanted: number,
    running: () => Promise<number>,
    claim: (max: number) => Promise<Claimed<T>>,
  ): Promise<T | null> {
    if (settings.concurrency === undefined && settings.rate === undefined) return (await claim(wanted)).result;
    if (this.#waits.has(_id)) return null;
    // A full channel costs a read, not two writes.
    if (settings.concurrency !== undefined && (await running()) >= settings.concurrency) return null;
    const holding = await this.#lock(_id, wanted);
    if (!holding) {
      this.#wait(_id, CONTENDED_MS * (0.5 + Math.random()));
      return null;
    }
    return this.#claimLocked(holding, wanted, running, claim);
  }

  /** Lets the next claim look again: what is set has changed. */
  reset(channel: string): void {
    clearTimeout(this.#waits.get(channel));
    this.#waits.delete(channel);
  }

  stop(): void {
    for (const channel of [...this.#waits.keys()]) this.reset(channel);
  }

  async #claimLocked<T>(
    holding: Holding,
    wanted: number,
    running: () => Promise<number>,
    claim: (max: number) => Promise<Claimed<T>>,
  ): Promise<T | null> {
    let taken = 0;
    try {
      const max = Math.min(wanted, this.#free(holding), await freeSlots(holding, running));
      if (max < 1 || performance.now() > holding.goodUntil) return null;
      // Until it is known: a claim that fails may have taken them.
      taken = max;
      const claimed = await claim(max);
      taken = claimed.taken;
      return claimed.result;
    } finally {
      await this.#release(holding, taken);
    }
  }

  /** How many the rate lets through; where that is none, it is tried again when there is one. */
  #free({ channel: { _id, settings, status, grants = [] } }: Holding): number {
    if (status === "PAUSED") return 0;
    if (settings.rate === undefined) return Infinity;
    const { free, retryMs } = allowance(grants, settings.rate, windowOf(settings), this.#now());
    if (free === 0) this.#wait(_id, retryMs);
    return free;
  }

  /** The channel, locked, as it is now; null while another has it. */
  async #lock(_id: string, wanted: number): Promise<Holding | null> {
    const token = randomBytes(12).toString("base64url");
    const goodUntil = performance.now() + LOCK_MS / 2;
    const now = this.#now();
    const until = new Date(now.getTime() + LOCK_MS);
    // What holds for longer than a lock can is from before the datastore's clock was set back.
    const held = { "lock.until": { $gt: now, $lte: new Date(now.getTime() + 2 * LOCK_MS) } };
    const channel = await this.#channels.findOneAndUpdate(
      { _id, $nor: [held] },
      { $set: { lock: { token, until, wanted } } },
      { returnDocument: "before" },
    );
    if (!channel) return null;
    const { lock, settings, grants = [] } = channel;
    if (!lock || settings.rate === undefined) return { token, channel, goodUntil };
    const lost = Math.min(lock.wanted, settings.rate);
    return { token, goodUntil, channel: { ...channel, grants: granted(grants, lost, windowOf(settings), lock.until) } };
  }

  /** What cannot be released runs out, and is then taken for all that it wanted. */
  async #release({ token, channel }: Holding, taken: number): Promise<void> {
    const { _id, settings, grants = [] } = channel;
    const kept = settings.rate === undefined ? [] : granted(grants, taken, windowOf(settings), this.#now());
    try {
      await this.#channels.updateOne({ _id, "lock.token": token }, { $set: { grants: kept }, $unset: { lock: "" } });
    } catch (error) {
      // What was claimed goes out all the same.
      this.#onError(error);
    }
  }

  #wait(channel: string, ms: number): void {
    if (this.#waits.has(channel)) return;
    const timer = setTimeout(() => {
      this.#waits.delete(channel);
      this.#available(channel);
    }, ms);
    timer.unref();
    this.#waits.set(channel, timer);
  }
}

async function freeSlots({ channel }: Holding, running: () => Promise<number>): Promise<number> {
  const { concurrency } = channel.settings;
  return concurrency === undefined ? Infinity : concurrency - (await running());
}

function windowOf({ rateSeconds = 1 }: Channel["settings"]): number {
  return rateSeconds * 1_000;
}
