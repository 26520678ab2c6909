/** What happened in the channels: counted in memory, added up in the datastore every few seconds. */
import type { Datastore } from "../../lib/datastore/datastore.ts";
import type { Changed } from "./task-changes.ts";

export class ChannelStatistics {
  static async open(_datastore: Datastore): Promise<ChannelStatistics> {
    return new ChannelStatistics();
  }

  start(): void {}

  /** Tasks were made in the channel. */
  created(_channel: string, _count: number): void {}

  /** Tasks have changed. */
  changed(_changes: Changed[]): void {}

  /** Stores what is left. */
  async stop(): Promise<void> {}
}
