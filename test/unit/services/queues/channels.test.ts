import { setTimeout as delay } from "node:timers/promises";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Collection, Datastore } from "../../../../lib/datastore/datastore.ts";
import { openDatastore } from "../../../../lib/datastore/open.ts";
import type { LimitedChannel } from "../../../../services/queues/channel-limits.ts";
import type { Channel, ChannelSettings } from "../../../../services/queues/channels.ts";
import { Channels } from "../../../../services/queues/channels.ts";
import { describeWith } from "../../../servers.ts";
import { ownDatabase } from "../../../topologies.ts";
import { waitFor } from "../../../wait-for.ts";

let channels = 0;
const fresh = () => `channel-${(channels += 1)}`;
const none = () => undefined;
const nothingRuns = () => Promise.resolve(0);
/** A claim that takes all that it may. */
const takeAll = (max: number) => Promise.resolve({ taken: max, result: max });

interface Node {
  channels: Channels;
  /** Resolves when a claim from the channel may be let through again. */
  available(channel: string): Promise<void>;
}

function onStore(open: () => Promise<Datastore>): void {
  let datastore: Datastore;
  let stored: Collection<LimitedChannel & { idleSince?: Date }>;
  const nodes: Channels[] = [];

  beforeAll(async () => {
    datastore = await open();
    stored = await datastore.collection("channels");
  });

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await datastore.close();
  });

  async function startNode(): Promise<Node> {
    const node = await Channels.open(datastore, none);
    const waiting = new Map<string, () => void>();
    const told = new Set<string>();
    node.start({
      available: (channel) => {
        told.add(channel);
        waiting.get(channel)?.();
      },
      onError: (error) => {
        throw error;
      },
    });
    nodes.push(node);
    const available = async (channel: string) => {
      if (!told.has(channel)) await new Promise<void>((resolve) => waiting.set(channel, resolve));
      told.delete(channel);
    };
    return { channels: node, available };
  }

  async function limitedChannel(settings: ChannelSettings): Promise<Channel> {
    const node = await Channels.open(datastore, none);
    return node.configure(fresh(), settings);
  }

  test("what is set on one node is known there at once, and on another when it is told", async () => {
    const told: string[] = [];
    const here = await Channels.open(datastore, (channel) => told.push(channel));
    const there = await Channels.open(datastore, none);
    const name = fresh();
    expect(here.get(name)).toBeUndefined();
    await here.configure(name, { concurrency: 3, fair: true });
    await here.setStatus(name, "PAUSED");
    const expected = { _id: name, status: "PAUSED", settings: { concurrency: 3, fair: true } };
    expect(here.get(name)).toMatchObject(expected);
    expect(told).toEqual([name, name]);
    expect(there.get(name)).toBeUndefined();
    await there.refresh(name);
    expect(there.get(name)).toMatchObject(expected);
    expect((await Channels.open(datastore, none)).get(name)).toMatchObject(expected);
  });

  test("what is set on one node comes to another also where no hint does", async () => {
    const { channels: there, available } = await startNode();
    const here = await Channels.open(datastore, none);
    const [set, reset] = [fresh(), fresh()];
    await here.setStatus(reset, "DRAINING");
    await there.refresh(reset);
    await here.configure(set, { rate: 5, rateSeconds: 1 });
    await here.setStatus(reset, "ACTIVE");
    await waitFor(() => there.get(set));
    expect(there.get(set)?.settings).toEqual({ rate: 5, rateSeconds: 1 });
    await waitFor(() => !there.get(reset));
    await Promise.all([available(set), available(reset)]);
    expect(await stored.explain({ updateTime: { $gte: new Date() } })).toMatchObject({ index: "changed" });
  });

  test("settings are replaced, and a channel for which nothing is set is forgotten, later in the datastore too", async () => {
    const node = await Channels.open(datastore, none);
    const name = fresh();
    await node.configure(name, { concurrency: 3, rate: 2, rateSeconds: 1 });
    await node.configure(name, { retentionDays: 1 });
    expect(node.get(name)?.settings).toEqual({ retentionDays: 1 });
    await node.setStatus(name, "PAUSED");
    await node.configure(name, {});
    expect(node.get(name)).toMatchObject({ status: "PAUSED", settings: {} });
    expect((await stored.findOne({ _id: name }))?.idleSince).toBeUndefined();
    expect(await node.setStatus(name, "ACTIVE")).toMatchObject({ _id: name, status: "ACTIVE", settings: {} });
    expect(node.get(name)).toBeUndefined();
    expect((await stored.findOne({ _id: name }))?.idleSince).toBeInstanceOf(Date);
    await node.setStatus(name, "DRAINING");
    expect((await stored.findOne({ _id: name }))?.idleSince).toBeUndefined();
    expect(node.get(name)?.status).toBe("DRAINING");
  });

  test("resuming a channel for which nothing is set stores nothing", async () => {
    const node = await Channels.open(datastore, none);
    const name = fresh();
    expect(await node.setStatus(name, "ACTIVE")).toMatchObject({ _id: name, status: "ACTIVE", settings: {} });
    expect(await node.configure(name, {})).toMatchObject({ _id: name, status: "ACTIVE", settings: {} });
    expect(await stored.findOne({ _id: name })).toBeNull();
  });

  test("lists by name the channels for which something is set", async () => {
    const node = await Channels.open(datastore, none);
    const prefix = `list-${fresh()}`;
    for (const end of ["c", "a", "b"]) await node.setStatus(prefix + end, "PAUSED");
    await node.setStatus(`${prefix}b`, "ACTIVE");
    const names = (await node.list(prefix, 2)).map(({ _id }) => _id);
    expect(names).toEqual([`${prefix}a`, `${prefix}c`]);
    const [next] = await node.list(`${prefix}a`, 1);
    expect(next).toMatchObject({ _id: `${prefix}c`, status: "PAUSED" });
  });

  test("changes made at the same time by many nodes are all made", async () => {
    const many = await Promise.all(Array.from({ length: 4 }, () => Channels.open(datastore, none)));
    const name = fresh();
    await Promise.all(
      many.flatMap((node) => [node.configure(name, { concurrency: 2 }), node.setStatus(name, "PAUSED")]),
    );
    expect(await stored.findOne({ _id: name })).toMatchObject({ status: "PAUSED", settings: { concurrency: 2 } });
  });

  test("no more than its concurrency ever runs, whatever the nodes that claim", async () => {
    const channel = await limitedChannel({ concurrency: 5 });
    const running = await datastore.collection<{ _id: number; channel: string }>(`running-${channel._id}`);
    const count = () => running.countDocuments({ channel: channel._id });
    const three = await Promise.all([startNode(), startNode(), startNode()]);
    let last = 0;
    let taken = 0;
    const seen: number[] = [];
    const claim = async (max: number) => {
      const tasks = Array.from({ length: Math.min(max, 3) }, () => ({ _id: (last += 1), channel: channel._id }));
      await running.insertMany(tasks);
      return { taken: tasks.length, result: tasks };
    };
    const work = async (node: Node) => {
      while (taken < 60) {
        const tasks = await node.channels.limited(channel, 20, count, claim);
        seen.push(await count());
        if (!tasks) continue;
        taken += tasks.length;
        for (const { _id } of tasks) await running.deleteOne({ _id });
      }
    };
    await Promise.all(three.flatMap((node) => [work(node), work(node)]));
    expect(Math.max(...seen)).toBeLessThanOrEqual(5);
    expect(Math.max(...seen)).toBeGreaterThan(2);
    expect((await stored.findOne({ _id: channel._id }))?.lock).toBeUndefined();
  });

  test("no more than its rate is given out in any second, and not much less, whatever the nodes that claim", async () => {
    const channel = await limitedChannel({ rate: 10, rateSeconds: 1 });
    const three = await Promise.all([startNode(), startNode(), startNode()]);
    const given: number[] = [];
    const claim = (max: number) => {
      const taken = Math.min(max, 4);
      for (let task = 0; task < taken; task += 1) given.push(datastore.now().getTime());
      return Promise.resolve({ taken, result: taken });
    };
    const work = async ({ channels: node, available }: Node) => {
      while (given.length < 35) {
        const taken = await node.limited(channel, 50, nothingRuns, claim);
        if (taken === null) await available(channel._id);
      }
    };
    const started = performance.now();
    await Promise.all(three.map(work));
    const took = performance.now() - started;
    given.sort((left, right) => left - right);
    // The eleventh after each comes a second later: the clocks of nodes differ by a millisecond or two.
    for (const [index, time] of given.slice(10).entries()) expect(time - given[index]!).toBeGreaterThanOrEqual(997);
    expect(took).toBeLessThan(5_000);
  });

  test("who has to wait for the rate is told when there is something again, and asks the datastore nothing before", async () => {
    const node = await startNode();
    const channel = await limitedChannel({ concurrency: 100, rate: 2, rateSeconds: 1 });
    await node.channels.refresh(channel._id);
    expect(await node.channels.limited(channel, 5, nothingRuns, takeAll)).toBe(2);
    expect(await node.channels.limited(channel, 5, nothingRuns, takeAll)).toBeNull();
    // As late as the machine is busy, as the one of the node is.
    const second = delay(1_000).then(() => performance.now());
    const asked = () => Promise.reject(new Error("asked"));
    expect(await node.channels.limited(channel, 5, asked, takeAll)).toBeNull();
    await node.available(channel._id);
    expect(performance.now() - (await second)).toBeLessThan(100);
    expect(await node.channels.limited(channel, 1, nothingRuns, takeAll)).toBe(1);
  });

  test("a higher rate takes effect at once for who waits", async () => {
    const node = await startNode();
    const channel = await node.channels.configure(fresh(), { rate: 1, rateSeconds: 3_600 });
    expect(await node.channels.limited(channel, 5, nothingRuns, takeAll)).toBe(1);
    expect(await node.channels.limited(channel, 5, nothingRuns, takeAll)).toBeNull();
    const faster = await node.channels.configure(channel._id, { rate: 4, rateSeconds: 3_600 });
    expect(await node.channels.limited(faster, 5, nothingRuns, takeAll)).toBe(3);
  });

  test("what a claim did not take of what it might have is left for others", async () => {
    const node = await Channels.open(datastore, none);
    const channel = await limitedChannel({ rate: 10, rateSeconds: 60 });
    const takeOne = () => Promise.resolve({ taken: 1, result: 1 });
    await node.limited(channel, 10, nothingRuns, takeOne);
    await node.limited(channel, 10, nothingRuns, takeOne);
    expect(await node.limited(channel, 100, nothingRuns, takeAll)).toBe(8);
  });

  test("a claim that fails may have taken what it wanted, and the next one need not wait for its lock", async () => {
    const node = await Channels.open(datastore, none);
    const channel = await limitedChannel({ rate: 10, rateSeconds: 60 });
    const failing = node.limited(channel, 7, nothingRuns, () => Promise.reject(new Error("the disk is full")));
    await expect(failing).rejects.toThrow("the disk is full");
    expect(await node.limited(channel, 100, nothingRuns, takeAll)).toBe(3);
  });

  test("a node that died while it claimed may have taken what it wanted", async () => {
    const node = await Channels.open(datastore, none);
    const channel = await limitedChannel({ rate: 10, rateSeconds: 60 });
    const until = new Date(datastore.now().getTime() - 1);
    await stored.updateOne({ _id: channel._id }, { $set: { lock: { token: "dead", until, wanted: 6 } } });
    expect(await node.limited(channel, 100, nothingRuns, takeAll)).toBe(4);
  });

  test("while another node claims nobody else does, and is told soon to ask again", async () => {
    const [one, other] = [await startNode(), await startNode()];
    const channel = await limitedChannel({ concurrency: 10 });
    await other.channels.refresh(channel._id);
    let inner: number | null = -1;
    const claim = async () => {
      inner = await other.channels.limited(channel, 1, nothingRuns, takeAll);
      return { taken: 1, result: 1 };
    };
    expect(await one.channels.limited(channel, 1, nothingRuns, claim)).toBe(1);
    expect(inner).toBeNull();
    await other.available(channel._id);
    expect(await other.channels.limited(channel, 1, nothingRuns, takeAll)).toBe(1);
  });

  test("who has held the lock for too long does not claim", async () => {
    const node = await Channels.open(datastore, none);
    const channel = await limitedChannel({ concurrency: 10 });
    let asked = 0;
    const slow = async () => {
      asked += 1;
      // Stands for a datastore that takes longer than half of what the lock holds for.
      if (asked === 2) await new Promise((resolve) => setTimeout(resolve, 1_100));
      return 0;
    };
    let claimed = false;
    const claim = (max: number) => {
      claimed = true;
      return takeAll(max);
    };
    expect(await node.limited(channel, 1, slow, claim)).toBeNull();
    expect(claimed).toBe(false);
  });

  test("what another node has set meanwhile holds for a claim: a pause, other limits, none", async () => {
    const node = await Channels.open(datastore, none);
    const old = await limitedChannel({ concurrency: 10 });
    await node.setStatus(old._id, "PAUSED");
    expect(await node.limited(old, 9, nothingRuns, takeAll)).toBeNull();
    await node.setStatus(old._id, "ACTIVE");
    await node.configure(old._id, { concurrency: 4 });
    expect(await node.limited(old, 9, nothingRuns, takeAll)).toBe(4);
    await node.configure(old._id, {});
    expect(await node.limited(old, 9, nothingRuns, takeAll)).toBe(9);
  });

  test("a lock from before the datastore's clock was set back holds nobody up", async () => {
    const node = await Channels.open(datastore, none);
    const channel = await limitedChannel({ concurrency: 1 });
    const until = new Date(datastore.now().getTime() + 3_600_000);
    await stored.updateOne({ _id: channel._id }, { $set: { lock: { token: "old", until, wanted: 1 } } });
    expect(await node.limited(channel, 1, nothingRuns, takeAll)).toBe(1);
  });
}

describe("channels in the embedded store", () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  onStore(() => openDatastore({ dataDir: directory }));

  test("10,000 channels can be set, and further ones are refused until one is reset", async () => {
    const datastore = await openDatastore({ dataDir: join(directory, "full") });
    const stored = await datastore.collection<Channel>("channels");
    const updateTime = datastore.now();
    await stored.insertMany(
      Array.from({ length: 10_000 }, (_, n) => ({ _id: `c${n}`, status: "PAUSED", settings: {}, updateTime })),
    );
    const node = await Channels.open(datastore, none);
    expect(node.get("c9999")?.status).toBe("PAUSED");
    await expect(node.setStatus("one more", "PAUSED")).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
    await expect(node.configure("one more", { rate: 1, rateSeconds: 1 })).rejects.toThrow("reset others first");
    await node.setStatus("one more", "ACTIVE");
    await node.setStatus("c17", "DRAINING");
    await node.setStatus("c17", "ACTIVE");
    expect(await node.setStatus("one more", "PAUSED")).toMatchObject({ status: "PAUSED" });
    await node.stop();
    await datastore.close();
  });
});

describeWith("mongodb", "channels in MongoDB", () => {
  onStore(() => openDatastore({ mongodbUri: ownDatabase(), dataDir: "" }));
});
