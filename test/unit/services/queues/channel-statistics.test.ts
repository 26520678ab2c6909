import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Collection, Datastore } from "../../../../lib/datastore/datastore.ts";
import { openDatastore } from "../../../../lib/datastore/open.ts";
import { countChannel } from "../../../../services/queues/channel-counts.ts";
import { ChannelStatistics } from "../../../../services/queues/channel-statistics.ts";
import type { Changed } from "../../../../services/queues/task-changes.ts";
import type { Task, TaskState } from "../../../../services/queues/task.ts";
import { describeWith } from "../../../servers.ts";
import { ownDatabase } from "../../../topologies.ts";

let channels = 0;
const fresh = () => `channel-${(channels += 1)}`;

function ran(channel: string, state: TaskState, ms: number, more: Partial<Task> = {}): Changed {
  const startTime = new Date(1_800_000_000_000);
  const before = { channel, state: "RUNNING", startTime, retries: 0, losses: 0 } as Task;
  return { before, after: { ...before, state, endTime: new Date(startTime.getTime() + ms), ...more } };
}

function changed(channel: string, from: Partial<Task>, to: Partial<Task>): Changed {
  const before = { channel, retries: 0, losses: 0, ...from } as Task;
  return { before, after: { ...before, ...to } };
}

function onStore(open: () => Promise<Datastore>): void {
  let datastore: Datastore;

  beforeAll(async () => {
    datastore = await open();
  });

  afterAll(async () => {
    await datastore.close();
  });

  test("counts what was made, ended, retried and lost, and how long the attempts took", async () => {
    const name = fresh();
    const statistics = await ChannelStatistics.open(datastore);
    statistics.created(name, 7);
    statistics.created(name, 3);
    statistics.changed([
      ...Array.from({ length: 98 }, () => ran(name, "SUCCESS", 1_000)),
      ran(name, "FAILURE", 60_000),
      ran(name, "CANCEL", 60_000),
      changed(name, { state: "READY" }, { state: "CANCEL", endTime: new Date() }),
      changed(name, { state: "RUNNING" }, { state: "DELAYED", retries: 1 }),
      changed(name, { state: "RUNNING" }, { state: "READY", losses: 1 }),
      changed(name, { state: "READY" }, { state: "READY" }),
      // Driven again: nothing of this is an event to count.
      changed(name, { state: "FAILURE", retries: 3, losses: 2 }, { state: "READY", retries: 0, losses: 0 }),
    ]);
    const { lastMinute, lastHour, lastDay } = await statistics.recent(name);
    expect(lastMinute).toMatchObject({ created: 10, succeeded: 98, failed: 1, cancelled: 2, retried: 1, lost: 1 });
    expect(lastMinute.runP50 / 1_000).toBeCloseTo(1, 0);
    expect(Math.abs(lastMinute.runP95 / 1_000 - 1)).toBeLessThan(0.1);
    expect(Math.abs(lastMinute.runP99 / 60_000 - 1)).toBeLessThan(0.1);
    expect(lastMinute.throughput).toBeGreaterThanOrEqual(101 / 120);
    expect(lastMinute.throughput).toBeLessThanOrEqual(101 / 60);
    expect(lastHour).toMatchObject({ succeeded: 98, runP99: lastMinute.runP99 });
    expect(lastDay.throughput).toBeCloseTo(101 / 86_400, 4);
  });

  test("adds up what several nodes count, and nothing twice", async () => {
    const name = fresh();
    const nodes = await Promise.all(Array.from({ length: 3 }, () => ChannelStatistics.open(datastore)));
    for (let round = 0; round < 5; round += 1) {
      for (const node of nodes) {
        node.created(name, 2);
        node.changed([ran(name, "SUCCESS", 10 * (round + 1))]);
      }
      await Promise.all(nodes.map((node) => node.recent(name)));
    }
    const { lastHour } = await nodes[0]!.recent(name);
    expect(lastHour).toMatchObject({ created: 30, succeeded: 15 });
    expect(Math.abs(lastHour.runP50 / 30 - 1)).toBeLessThanOrEqual(0.1);
  });

  test("takes a minute, an hour and a day apart, and reads no more than the day's documents", async () => {
    const name = fresh();
    const statistics = await ChannelStatistics.open(datastore);
    const minutes = await datastore.collection<{ _id: string; channel: string; at: Date; created: number }>(
      "channel_minutes",
    );
    const minute = Math.floor(datastore.now().getTime() / 60_000);
    const ago = [0, 30, 90, 1_400, 1_450].map((age) => minute - age);
    await minutes.insertMany(
      ago.map((at) => ({ _id: `${name}:${at}`, channel: name, at: new Date(at * 60_000), created: 1 })),
    );
    const { lastMinute, lastHour, lastDay } = await statistics.recent(name);
    expect([lastMinute.created, lastHour.created, lastDay.created]).toEqual([1, 2, 4]);
    const filter = { channel: name, at: { $gte: new Date(0) } };
    const explained = await minutes.explain(filter, { sort: { channel: 1, at: 1 } });
    expect(explained).toMatchObject({ index: "channel", sorted: false });
  });

  test("names the channels of the last day, in their order, page by page", async () => {
    const prefix = `\u{1F6A2}${fresh()}`;
    const statistics = await ChannelStatistics.open(datastore);
    const names = ["", "!", " x", "0", "é"].map((end) => prefix + end);
    for (const name of names) statistics.created(name, 1);
    const sorted = [...names].sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
    const first = await statistics.active("\u{1F6A2}", 2);
    expect(first).toEqual(sorted.slice(0, 2));
    expect(await statistics.active(first[1]!, 10)).toEqual(sorted.slice(2));
    const minutes = await datastore.collection("channel_minutes");
    const filter = { channel: { $gt: prefix }, at: { $gte: new Date(0) } };
    const options = { sort: { channel: 1, at: 1 } as const, limit: 1 };
    expect(await minutes.explain(filter, options)).toMatchObject({ index: "channel", sorted: false });
  });

  test("stores what is left when it stops", async () => {
    const name = fresh();
    const statistics = await ChannelStatistics.open(datastore);
    statistics.start((error) => {
      throw error;
    });
    statistics.created(name, 4);
    await statistics.stop();
    const next = await ChannelStatistics.open(datastore);
    expect((await next.recent(name)).lastMinute.created).toBe(4);
  });

  test("counts what is in a channel, and finds what has waited longest among all priorities", async () => {
    const name = fresh();
    const tasks = await tasksOf(datastore);
    const base = Date.now() * 100;
    const states: [TaskState, number, number][] = [
      ["READY", 5, 9_000],
      ["READY", 5, 8_000],
      ["READY", 0, 3_000],
      ["READY", 0, 2_000],
      ["READY", -7, 4_000],
      ["DELAYED", 9, 1],
      ["CHAINED", 9, 1],
      ["RUNNING", 9, 1],
      ["SUCCESS", 9, 1],
    ];
    await tasks.insertMany(
      states.map(([state, priority, ready], index) => {
        const _id = base + index;
        return { _id, hash: `${name}-${_id}`, channel: name, state, priority, readyAt: new Date(ready) } as Task;
      }),
    );
    expect(await countChannel(tasks, name)).toEqual({
      ready: 5,
      delayed: 1,
      chained: 1,
      running: 1,
      oldestReadyAt: new Date(2_000),
    });
    expect(await countChannel(tasks, fresh())).toEqual({ ready: 0, delayed: 0, chained: 0, running: 0 });
    const sort = { priority: -1, readyAt: 1, _id: 1 } as const;
    const below = { channel: name, state: "READY", priority: { $lt: 5 } } as const;
    expect(await tasks.explain(below, { sort, limit: 1 })).toMatchObject({ index: "claim", sorted: false });
  });
}

/** The tasks with the index that claims use. */
function tasksOf(datastore: Datastore): Promise<Collection<Task>> {
  return datastore.collection<Task>("tasks", [
    {
      name: "claim",
      key: { channel: 1, priority: -1, readyAt: 1, _id: 1 },
      partialFilterExpression: { state: "READY" },
    },
  ]);
}

describe("statistics of channels in the embedded store", () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  onStore(() => openDatastore({ dataDir: directory }));

  test("tells what it could not count where too many channels are busy", async () => {
    const datastore = await openDatastore({ dataDir: join(directory, "busy") });
    const prefix = fresh();
    const errors: unknown[] = [];
    const statistics = await ChannelStatistics.open(datastore);
    statistics.start((error) => errors.push(error));
    for (let channel = 0; channel < 20_005; channel += 1) statistics.created(`${prefix}-${channel}`, 1);
    await statistics.stop();
    expect(errors).toEqual([expect.objectContaining({ message: expect.stringContaining("5 changes") })]);
    const next = await ChannelStatistics.open(datastore);
    expect((await next.recent(`${prefix}-19999`)).lastMinute.created).toBe(1);
    await datastore.close();
  });
});

describeWith("mongodb", "statistics of channels in MongoDB", () => {
  onStore(() => openDatastore({ mongodbUri: ownDatabase(), dataDir: "" }));
});
