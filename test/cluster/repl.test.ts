import { tmpdir } from "node:os";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { SpawnedNode } from "../node.ts";
import { spawnNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

let node: SpawnedNode;

beforeAll(async () => {
  // The console keeps its history there.
  node = await spawnNode({ LOG_LEVEL: "error", HOME: tmpdir() }, ["--repl"]);
  await create("one", { Channel: "mail", Input: "x" });
  await create("two", { Channel: "bulk", Input: "x" });
});

afterAll(() => node?.stop());

async function create(HashCode: string, task: object): Promise<void> {
  await fetch(`${node.http}/v1/queues/tasks`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ Task: { HashCode, ...task } }),
  });
}

/** What the console prints until its next prompt. */
async function type(line: string): Promise<string> {
  const before = node.output().length;
  node.process.stdin!.write(`${line}\n`);
  return waitFor(() => /^([^]*\n)mol \$ $/.exec(node.output().slice(before))?.[1]);
}

test("operations list shows what a filter names, and where more is", async () => {
  expect(await type("operations list")).toMatch(/operations\/two[^]*operations\/one[^]*2 in all/);
  const filtered = await type(`operations list --filter 'metadata.channel = "mail"'`);
  expect(filtered).toContain("operations/one");
  expect(filtered).not.toContain("operations/two");
  const [, token] = /more: --token (\S+)/.exec(await type("operations list --size 1"))!;
  expect(await type(`operations list --size 1 --token ${token}`)).toMatch(/operations\/one/);
});

test("operations show and cancel tell of one, by its name with or without operations/", async () => {
  expect(await type("operations show one")).toMatch(/"name": "operations\/one"[^]*"state": "WAITING"/);
  expect(await type("operations cancel operations/one")).toContain("asked to cancel");
  expect(await type("operations show one")).toContain('"state": "CANCEL"');
});

test("queues stats shows what waits in a channel", async () => {
  expect(await type("queues stats bulk")).toMatch(/Ready\s*│ 1 /);
});

test("progress lists data tasks, shows one, and verifies the trail", async () => {
  const columns = JSON.stringify([{ name: "id", kind: "sequence" }]);
  const response = await fetch(`${node.http}/v1/task/submit`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: "made up", kind: "TASK_KIND_DATA_GENERATE", dgd: { rows: 1, columns } }),
  });
  const { taskId } = (await response.json()) as { taskId: string };
  await waitFor(async () => ((await type("progress list --state success")).includes(taskId) ? true : undefined));
  expect(await type(`progress show ${taskId}`)).toMatch(/"action": "SUBMIT"[^]*"action": "END"/);
  expect(await type("progress verify")).toMatch(/4 steps, all as they were written; the last has [0-9a-f]{64}/);
});

test("what is wrong is told, and the console goes on", async () => {
  expect(await type("operations show nothing")).toContain("NOT_FOUND: there is no operation operations/nothing");
  expect(await type('operations list --filter "done = "')).toContain("INVALID_ARGUMENT: filter: at 8");
  expect(await type("operations destroy")).toContain("there is list, show, cancel");
  expect(await type("operations list --help")).toContain("AIP-160");
});
