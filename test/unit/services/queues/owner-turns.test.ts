import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Collection, Datastore } from "../../../../lib/datastore/datastore.ts";
import { openDatastore } from "../../../../lib/datastore/open.ts";
import { OwnerTurns } from "../../../../services/queues/owner-turns.ts";
import { TASK_INDEXES } from "../../../../services/queues/task-indexes.ts";
import { newTask } from "../../../../services/queues/task-request.ts";
import type { Task } from "../../../../services/queues/task.ts";

const start = new Date("2026-01-02T03:04:05.678Z");
let directory: string;
let datastore: Datastore;
let tasks: Collection<Task>;
let turns: OwnerTurns;
let channels = 0;
let ids = 0;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
  datastore = await openDatastore({ dataDir: directory });
  tasks = await datastore.collection<Task>("tasks", TASK_INDEXES);
  turns = new OwnerTurns(tasks);
});

afterAll(async () => {
  await datastore.close();
  await rm(directory, { recursive: true, force: true });
});

const fresh = () => `channel-${(channels += 1)}`;

/** Tasks of these owners, in this order. */
async function fill(channel: string, owners: string[], more: Partial<Task> = {}): Promise<void> {
  const made = owners.map((owner): Task => {
    ids += 1;
    const readyAt = new Date(start.getTime() + ids);
    const times = { readyAt, createTime: readyAt, updateTime: readyAt };
    return { ...newTask({ channel, owner }, start), fair: true, _id: ids, ...times, ...more };
  });
  await tasks.insertMany(made);
}

/** The owners of the next tasks, which are taken. */
async function next(channel: string, wanted: number): Promise<string | undefined> {
  const found = await turns.next(channel, wanted);
  if (!found) return undefined;
  await tasks.updateMany({ _id: { $in: found.map(({ _id }) => _id) } }, { $set: { state: "RUNNING" } });
  return found.map(({ owner }) => owner).join("");
}

test("owners take turns within a claim and from one to the next, whoever came first", async () => {
  const channel = fresh();
  await fill(channel, [..."aaaaaaaabbcc"]);
  expect(await next(channel, 4)).toBe("abca");
  // What was left of the turn is not lost: the first to be served now follows the last owner of that turn.
  expect(await next(channel, 3)).toBe("abc");
  for (const owner of [..."aaaaa"]) expect(await next(channel, 1)).toBe(owner);
  expect(await next(channel, 1)).toBe("");
});

test("claims of one task go round all owners", async () => {
  const channel = fresh();
  await fill(channel, [..."aaabbbccc"]);
  const served: (string | undefined)[] = [];
  for (let claim = 0; claim < 9; claim += 1) served.push(await next(channel, 1));
  expect(served.join("")).toBe("abcabcabc");
});

test("each owner's tasks come oldest first, and the highest priority before all turns", async () => {
  const channel = fresh();
  await fill(channel, [..."aab"]);
  await fill(channel, [..."cca"], { priority: 5 });
  const found = (await turns.next(channel, 10)) ?? [];
  expect(found.map(({ owner, priority }) => `${owner}${priority}`)).toEqual(["a5", "c5", "c5"]);
  const ofC = found.filter(({ owner }) => owner === "c").map(({ _id }) => _id);
  expect(ofC).toEqual(ofC.toSorted((left, right) => left - right));
});

test("more owners than one claim serves are all served by the claims after it", async () => {
  const channel = fresh();
  const owners = Array.from({ length: 40 }, (_, index) => String.fromCodePoint(0x100 + index));
  await fill(channel, owners);
  await fill(channel, owners);
  const served = [await next(channel, 100), await next(channel, 100), await next(channel, 100)].join("");
  expect(new Set(served).size).toBe(40);
});

test("what was there before the channel was fair is not in turns", async () => {
  const channel = fresh();
  await fill(channel, ["a"], { fair: undefined });
  await fill(channel, ["b"]);
  expect(await turns.next(channel, 2)).toBeUndefined();
  expect(await turns.next(fresh(), 2)).toEqual([]);
});

test("long tasks are not all read at once", async () => {
  const channel = fresh();
  await fill(channel, [..."abababababababababab"], { input: "x".repeat(512 * 1024) });
  const found = (await turns.next(channel, 20)) ?? [];
  expect(found.length).toBeGreaterThan(10);
  expect(found.length).toBeLessThan(18);
});
