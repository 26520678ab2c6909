/** Channels that somebody has set limits for, paused or drains: known on every node, kept in the datastore. */
import type { Datastore } from "../../lib/datastore/datastore.ts";

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

export class Channels {
  readonly #known = new Map<string, Channel>();

  /** `changed` is told after the commit, and brings it to all nodes, which `refresh`. */
  static async open(_datastore: Datastore, _changed: (channel: string) => void): Promise<Channels> {
    return new Channels();
  }

  /** What is set for the channel; undefined where nothing is. */
  get(channel: string): Channel | undefined {
    return this.#known.get(channel);
  }

  /** Keeps up with what other nodes set, should their hints be lost. */
  start(): void {}

  /** Reads again what is set for the channel. */
  async refresh(_channel: string): Promise<void> {}

  async stop(): Promise<void> {}

  /**
   * Lets a claim of up to `wanted` tasks through the channel's limits: calls `claim` with how many it may take (at least 1),
   * or answers null where none may be taken now. `running` counts the channel's running tasks.
   */
  async limited<T>(
    _channel: Channel,
    wanted: number,
    _running: () => Promise<number>,
    claim: (max: number) => Promise<{ taken: number; result: T }>,
  ): Promise<T | null> {
    return (await claim(wanted)).result;
  }
}
