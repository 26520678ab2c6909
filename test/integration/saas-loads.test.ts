/** Bulk loads and what time, deletion and bad files do to them, in one process. */
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { configOf } from "../../lib/config.ts";
import type { This } from "../../services/saas/saas.service.ts";
import type { LoadTask } from "../../services/saas/tasks/load-task.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { SaasClient } from "../saas-client.ts";
import type { TestTask } from "../saas-tasks.ts";
import { byteItem, createAndUpload, ended, info, linesOf, load, taskOf } from "../saas-tasks.ts";
import { waitFor } from "../wait-for.ts";

const BLOCK = 1024 * 1024;
const DAY_MS = 86_400_000;
const CONFIG = { saasDemo: true, saasBlockMin: 100 };

let node: TestNode;
let client: SaasClient;

beforeAll(async () => {
  node = await startNode({ config: CONFIG });
  client = new SaasClient(node.http);
});

afterAll(() => node.stop());

const saas = () => node.broker.getLocalService("saas") as unknown as This;
const small = (value = 1) => taskOf("1", { a: linesOf([byteItem("x", value)]) }, BLOCK);
const named = (what: string, { task }: TestTask) =>
  client.post(`/saas/task/${what}`, { [`task_${what}`]: { task_sha256: task.task_sha256 } });
const codeOf = async ({ task }: TestTask) => (await info(client, task.task_sha256)).code;

/** Blocks and reports, finished or not. */
async function files(): Promise<string[]> {
  const directory = join(configOf(node.broker).dataDir, "objects");
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

/** Makes a task what it would be after so many days. */
async function age({ task }: TestTask, days: number): Promise<void> {
  const tasks = await saas().datastore.collection<LoadTask>("saas_tasks");
  const _id = `2000/${task.task_sha256}`;
  // What follows from its end has been done.
  const stored = await waitFor(async () => {
    const found = await tasks.findOne({ _id });
    return found && (!found.finishTime || found.due > found.finishTime) ? found : undefined;
  });
  const before = (time: Date) => new Date(time.getTime() - days * DAY_MS);
  const { createTime, finishTime, due } = stored;
  const times = {
    createTime: before(createTime),
    due: before(due),
    ...(finishTime && { finishTime: before(finishTime) }),
  };
  await tasks.updateOne({ _id }, { $set: times });
}

test("what is not run within 7 days is removed with its blocks, and not before", async () => {
  const one = small();
  await createAndUpload(client, one);
  await age(one, 6.9);
  await saas().attendant.lookAround();
  expect(await codeOf(one)).toBe("SUCC");
  expect(await files()).toHaveLength(1);
  await age(one, 0.2);
  await saas().attendant.lookAround();
  expect(await codeOf(one)).toBe("TASK_IS_NOT_EXISTS");
  expect(await files()).toEqual([]);
});

test("what has ended keeps no block, and is told of for 7 days", async () => {
  const one = taskOf("1", { a: `{\n${linesOf([byteItem("x", 1)])}` }, BLOCK);
  expect(await load(client, one)).toMatchObject({ status: "SUCCESS" });
  await waitFor(async () => (await files()).length === 1);
  expect(await files()).toEqual([expect.stringMatching(/\.csv$/)]);
  await age(one, 6.9);
  await saas().attendant.lookAround();
  expect(await codeOf(one)).toBe("SUCC");
  await age(one, 0.2);
  await saas().attendant.lookAround();
  expect(await codeOf(one)).toBe("TASK_IS_NOT_EXISTS");
  expect(await files()).toEqual([]);
});

test("what was left half-way is done later: a removal, a turn, an object of nobody", async () => {
  const [removed, queued] = [small(1), small(2)];
  for (const one of [removed, queued]) await createAndUpload(client, one);
  const tasks = await saas().datastore.collection<LoadTask>("saas_tasks");
  const set = (one: TestTask, fields: Partial<LoadTask>) =>
    tasks.updateOne({ _id: `2000/${one.task.task_sha256}` }, { $set: { due: new Date(0), ...fields } });
  await set(removed, { state: "DELETED" });
  await set(queued, { state: "QUEUED", queueTime: new Date() });
  await saas().attendant.lookAround();
  expect(await codeOf(removed)).toBe("TASK_IS_NOT_EXISTS");
  expect(await ended(client, queued.task.task_sha256)).toMatchObject({ status: "SUCCESS" });
  await saas().objects.put(`saas/blocks/2000/${"0".repeat(64)}-7.x`, (async function* () {})());
  const kept = small(3);
  await createAndUpload(client, kept);
  await saas().objects.put("saas/reports/lost.csv", (async function* () {})());
  await saas().attendant.removeLost(new Date(Date.now() + DAY_MS));
  expect(await files()).toHaveLength(1);
  expect(await named("run", kept)).toMatchObject({ code: "SUCC" });
  expect(await ended(client, kept.task.task_sha256)).toMatchObject({ status: "SUCCESS" });
});

test("a load that runs is stopped when it is deleted, and leaves nothing", async () => {
  const items = Array.from({ length: 100_000 }, (_, index) => byteItem(`stopped ${index}`, 1));
  const one = taskOf("1", { a: linesOf(items) }, BLOCK);
  await createAndUpload(client, one);
  await named("run", one);
  const path = `${node.http}/v1/saas/accounts/2000/tasks/${one.task.task_sha256}`;
  const shown = await waitFor(async () => {
    const view = (await (await fetch(path)).json()) as { lines?: number; operation?: string };
    return (view.lines ?? 0) > 0 ? view : undefined;
  });
  expect(await named("delete", one)).toMatchObject({ code: "SUCC", task_delete_res: { status: "DELETED" } });
  expect(await codeOf(one)).toBe("TASK_IS_NOT_EXISTS");
  const operation = (await (await fetch(`${node.http}/v1/${shown.operation}`)).json()) as object;
  expect(operation).toMatchObject({ done: true, error: { code: 1 } });
  // Nothing of it is written after what runs next.
  const next = taskOf("1", { a: linesOf([byteItem("stopped 0", 2), byteItem("stopped 99999", 2)]) }, BLOCK);
  expect(await load(client, next)).toMatchObject({ status: "SUCCESS" });
  const found = await client.read("1", ["stopped 0", "stopped 99999"]);
  expect(found.map(({ bytes }) => bytes[0])).toEqual([2, 2]);
  await waitFor(async () => (await files()).length === 0);
});

test("a line of 100 MB is one bad line", async () => {
  const long = Buffer.alloc(100_000_000, "x");
  const content = Buffer.concat([
    Buffer.from(linesOf([byteItem("before long", 1)])),
    long,
    Buffer.from(`\n${linesOf([byteItem("behind long", 2)])}`),
  ]);
  const done = await load(client, taskOf("1", { long: content }, 60 * BLOCK));
  expect(done).toMatchObject({
    status: "SUCCESS",
    reason: expect.stringMatching(/^1 of 3 .*long, line 2: .*longer than/),
  });
  const found = await client.read("1", ["before long", "behind long"]);
  expect(found.map(({ bytes }) => bytes[0])).toEqual([1, 2]);
});

test("a block that was damaged after it was uploaded fails the load", async () => {
  const one = small();
  await createAndUpload(client, one);
  const [block] = (await files()).filter((name) => !name.endsWith(".csv"));
  await saas().objects.put(
    `saas/blocks/2000/${block}`,
    (async function* () {
      yield randomBytes(100);
    })(),
  );
  await named("run", one);
  const failed = await ended(client, one.task.task_sha256);
  expect(failed).toMatchObject({ status: "FAIL", reason: expect.stringContaining("unpacked") });
});

test("nothing is run where no node offers queues", async () => {
  const alone = await startNode({ services: ["api-gateway", "saas"], config: CONFIG });
  try {
    const lonely = new SaasClient(alone.http);
    const one = small();
    await createAndUpload(lonely, one);
    const { task_sha256 } = one.task;
    const refused = await lonely.post("/saas/task/run", { task_run: { task_sha256 } });
    expect(refused).toMatchObject({ code: "CMD_ERROR", status: expect.stringContaining("queues") });
    expect((await info(lonely, task_sha256)).task_info_res!.status).toBe("READY");
  } finally {
    await alone.stop();
  }
});

test("no query reads more than it tells of", async () => {
  const tasks = await saas().datastore.collection<LoadTask>("saas_tasks");
  const newest = { sort: { createTime: -1, _id: -1 } } as const;
  const queries = [
    tasks.explain({ account: "1" }, newest),
    tasks.explain({ account: "1", state: "FAIL" }, newest),
    tasks.explain({ account: "1", state: "QUEUED" }, { sort: { queueTime: 1, _id: 1 } }),
    tasks.explain({ account: "1", state: "RUNNING" }),
    tasks.explain({ run: "1" }),
    tasks.explain({ due: { $lte: new Date() } }, { sort: { due: 1 } }),
  ];
  for (const { index, sorted } of await Promise.all(queries))
    expect({ index, sorted }).toEqual({ index: expect.any(String), sorted: false });
});
