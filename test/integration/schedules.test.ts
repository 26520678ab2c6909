/** Schedules on a store of their own: nodes that die, stores that fail, times that nobody saw. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Collection, Datastore } from "../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../lib/datastore/datastore.ts";
import { openDatastore } from "../../lib/datastore/open.ts";
import { unavailable } from "../../lib/errors.ts";
import type { Missed } from "../../services/queues/schedule.ts";
import type { Schedule, SchedulePut } from "../../services/queues/schedules.ts";
import { Schedules } from "../../services/queues/schedules.ts";
import type { TaskRequest } from "../../services/queues/task-request.ts";
import { describeWith } from "../servers.ts";
import { ownDatabase } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const EVERY_SECOND = "* * * * * *";
const NEVER_IN_A_TEST = "0 0 29 2 *";
const HOUR = 3_600_000;

/** A task as `create` keeps it: a second one of that HashCode makes none. */
interface Made {
  _id: string;
  channel: string;
}

function suite(mongodbUri: () => string | undefined): void {
  let directory: string;
  let datastore: Datastore;
  let documents: Collection<Schedule>;
  let tasks: Collection<Made>;
  let open: Schedules[];
  let errors: unknown[];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
    datastore = await openDatastore({ mongodbUri: mongodbUri(), dataDir: directory });
    documents = await datastore.collection<Schedule>("schedules");
    tasks = await datastore.collection<Made>("made");
    open = [];
    errors = [];
  });

  afterEach(async () => {
    await Promise.all(open.map((schedules) => schedules.stop()));
    await datastore.close();
    await rm(directory, { recursive: true, force: true });
  });

  async function create({ hash, channel }: TaskRequest): Promise<void> {
    try {
      await tasks.insertOne({ _id: hash ?? "", channel });
    } catch (error) {
      if (!isDuplicateKey(error)) throw error;
    }
  }

  async function node(make: (request: TaskRequest) => Promise<unknown> = create): Promise<Schedules> {
    const schedules = await Schedules.open({ datastore, create: make, onError: (error) => errors.push(error) });
    open.push(schedules);
    return schedules;
  }

  function schedule(name: string, fields: Partial<SchedulePut> = {}): SchedulePut {
    const timing = { cron: EVERY_SECOND, timeZone: "UTC", missed: "SKIP" as const, paused: false };
    return { name, request: { channel: name }, ...timing, ...fields };
  }

  /** The times, in Unix seconds, for which the schedule has made tasks. */
  async function made(name: string): Promise<number[]> {
    const found = await tasks.find({ channel: name }).toArray();
    return found.map(({ _id }) => Number(_id.split(".").at(-1))).sort((left, right) => left - right);
  }

  const madeAtLeast = (name: string, count: number) => waitFor(async () => (await made(name)).length >= count);

  /** Every time from the first to the last was made, once. */
  function expectNoGap(times: number[]): void {
    expect(times).toEqual(Array.from(times, (_, index) => (times[0] ?? 0) + index));
  }

  test("three nodes make one task for each time", async () => {
    const nodes = await Promise.all([node(), node(), node()]);
    await nodes[0]?.put(schedule("each"));
    for (const each of nodes) each.start();
    await madeAtLeast("each", 2);
    await Promise.all(nodes.map((each) => each.stop()));
    expectNoGap(await made("each"));
    expect(errors).toEqual([]);
    const { lastHash, lastAt, nextAt } = await nodes[0]!.get("each");
    expect(lastHash).toBe(`schedule.each.${(await made("each")).at(-1)}`);
    expect(nextAt.getTime() - lastAt!.getTime()).toBe(1_000);
  });

  test("a node that dies after it made the task loses and doubles nothing", async () => {
    let died = false;
    const dying = await node(async (request) => {
      await create(request);
      died = true;
      throw unavailable("the node dies here");
    });
    await dying.put(schedule("dying"));
    dying.start();
    await waitFor(() => died);
    await dying.stop();
    const [first] = await made("dying");

    const survivor = await node();
    survivor.start();
    await madeAtLeast("dying", 2);
    await survivor.stop();
    const times = await made("dying");
    expect(times[0]).toBe(first);
    expectNoGap(times);
  });

  test("where tasks cannot be made for now, none of the times is lost, and other schedules go on", async () => {
    let down = true;
    const schedules = await node((request) => {
      if (down && request.channel === "held") throw unavailable("the datastore is away");
      return create(request);
    });
    await schedules.put(schedule("held"));
    await schedules.put(schedule("free"));
    const { nextAt } = await schedules.get("held");
    schedules.start();
    await madeAtLeast("free", 2);
    expect(await made("held")).toEqual([]);
    expect(String(errors[0])).toMatch(/schedule held: no task for /);
    down = false;
    await madeAtLeast("held", 2);
    await schedules.stop();
    const times = await made("held");
    expect(times[0]).toBe(nextAt.getTime() / 1_000);
    expectNoGap(times);
  });

  test.each<[Missed, number]>([
    ["SKIP", 0],
    ["LAST", 1],
    ["ALL", 1_000],
  ])("of the times that passed while no node ran, %s makes so many: %d", async (missed, count) => {
    const schedules = await node();
    // Every minute but the one that this test may see.
    const now = datastore.now();
    const minute = now.getUTCMinutes();
    const cron = `${[minute - 3, minute - 2].map((one) => (one + 60) % 60).join()} * * * *`;
    await schedules.put(schedule("missed", { cron, missed }));
    await documents.updateOne(
      { _id: "missed" },
      { $set: { nextAt: before(now, 30 * 24), since: before(now, 31 * 24) } },
    );
    schedules.start();
    await waitFor(async () => (await schedules.get("missed")).nextAt > now);
    await schedules.stop();
    const times = await made("missed");
    expect(times).toHaveLength(count);
    // The last ones, not the first.
    if (count) expect(now.getTime() / 1_000 - times.at(-1)!).toBeLessThan(180);
    expect(errors).toEqual([]);
  });

  function before(now: Date, hours: number): Date {
    return new Date(Math.floor(now.getTime() / HOUR) * HOUR - hours * HOUR);
  }

  test("a paused schedule makes nothing; of the times that passed meanwhile, resumed, it makes what is asked for", async () => {
    const schedules = await node();
    schedules.start();
    const { nextAt } = await schedules.put(schedule("paused", { paused: true, missed: "ALL" }));
    await schedules.put(schedule("beside"));
    await madeAtLeast("beside", 1);
    expect(await made("paused")).toEqual([]);
    await schedules.put(schedule("paused", { missed: "ALL" }));
    await madeAtLeast("paused", 2);
    await schedules.stop();
    const times = await made("paused");
    expect(times[0]).toBe(nextAt.getTime() / 1_000);
    expectNoGap(times);
  });

  test("puts of the same name at once leave one schedule", async () => {
    const schedules = await node();
    const puts = Array.from({ length: 8 }, (_, index) =>
      schedules.put(schedule("contended", { request: { channel: "contended", input: String(index) } })),
    );
    await Promise.all(puts);
    expect((await schedules.list("", 10)).schedules.map(({ _id }) => _id)).toEqual(["contended"]);
  });

  test("there are at most 10,000, and each of them can still be replaced", async () => {
    const schedules = await node();
    const stored = await schedules.put(schedule("s0", { cron: NEVER_IN_A_TEST }));
    const others = Array.from({ length: 9_999 }, (_, index) => ({ ...stored, _id: `s${index + 1}` }));
    await documents.insertMany(others);
    await expect(schedules.put(schedule("more"))).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
    const replaced = await schedules.put(schedule("s1", { cron: NEVER_IN_A_TEST, missed: "LAST" }));
    expect(replaced.missed).toBe("LAST");
  });

  test("every query goes by an index", async () => {
    await node();
    const due = { paused: false, nextAt: { $lte: datastore.now() } };
    expect(await documents.explain(due, { sort: { nextAt: 1 } })).toMatchObject({ index: "due", sorted: false });
    const listed = await documents.explain({ _id: { $gt: "a" } }, { sort: { _id: 1 } });
    expect(listed).toMatchObject({ sorted: false });
    expect(listed.index).not.toBeNull();
  });
}

describe("schedules (embedded store)", () => suite(() => undefined));
describeWith("mongodb", "schedules (MongoDB)", () => suite(ownDatabase));
