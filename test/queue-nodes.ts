/** The queue's store as the nodes of a cluster have it: several on one datastore, each with what it remembers. */
import type { Datastore } from "../lib/datastore/datastore.ts";
import { Channels } from "../services/queues/channels.ts";
import { Reaper } from "../services/queues/reaper.ts";
import type { Changed } from "../services/queues/task-changes.ts";
import { TaskStore } from "../services/queues/task-store.ts";

export interface QueueNode {
  store: TaskStore;
  channels: Channels;
  /** One round of what time does. */
  reap(): Promise<void>;
}

export interface QueueNodesOptions {
  /** The datastore of each node. */
  datastores: Datastore[];
  maxLost: number;
  /** In place of chance after losses. */
  lossRandom?: () => number;
  /** Told of each change that is committed. */
  onChanged?: (changed: Changed) => void;
}

/** Opens a node for each datastore; hints go to all of them, at once. */
export async function openQueueNodes({
  datastores,
  maxLost,
  lossRandom,
  onChanged,
}: QueueNodesOptions): Promise<QueueNode[]> {
  const nodes: QueueNode[] = [];
  const fail = (error: unknown) => {
    throw error;
  };
  const available = (channels: string[], again: boolean) => {
    if (again) for (const { store } of nodes) for (const channel of channels) store.reorder(channel);
  };
  for (const datastore of datastores) {
    const channels = await Channels.open(datastore, (channel) => {
      for (const node of nodes) void node.channels.refresh(channel);
    });
    const store = await TaskStore.open({
      datastore,
      channels,
      retentionDays: 7,
      offer: () => undefined,
      listener: {
        created: () => undefined,
        changed: (changes) => changes.forEach((changed) => onChanged?.(changed)),
        available,
        ended: () => undefined,
        due: () => undefined,
        stopped: () => undefined,
        failed: fail,
      },
    });
    const reap = async () => {
      const reaper = new Reaper({ store, maxLost, onError: fail, random: lossRandom, spareMs: 0 });
      reaper.start();
      await reaper.stop();
    };
    nodes.push({ store, channels, reap });
  }
  return nodes;
}

/** The same datastore with another clock. */
export function withClock(datastore: Datastore, now: () => Date): Datastore {
  return {
    kind: datastore.kind,
    collection: (name, indexes) => datastore.collection(name, indexes),
    now,
    ping: () => datastore.ping(),
    close: () => datastore.close(),
  };
}
