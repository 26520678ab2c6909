/** Bulk loads whose node goes in the middle: another goes on, or the same when it is back, and what a client wrote meanwhile stays. */
import { randomBytes } from "node:crypto";
import { expect, test } from "@jest/globals";
import type { SpawnedNode } from "../node.ts";
import { spawnNode } from "../node.ts";
import { SaasClient } from "../saas-client.ts";
import { byteItem, createAndUpload, ended, linesOf, taskOf } from "../saas-tasks.ts";
import { describeWith, serverUrl } from "../servers.ts";
import { withTempDir } from "../temp-dir.ts";
import { ownDatabase } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const USERS = 60_000;
const SAMPLE = 200;
const BLOCK = 1024 * 1024;
const WRITTEN = 200;
const TIMEOUT = 240_000;

const userOf = (index: number) => `user-${String(index).padStart(40, "0")}`;
const valueOf = (index: number) => 1 + (index % 100);
/** Spread over the whole file. */
const sample = Array.from({ length: SAMPLE }, (_, index) => Math.floor((index * USERS) / SAMPLE));

/** Each user comes twice, with another column. */
function content(): string {
  const items = [0, 1].flatMap((column) =>
    Array.from({ length: USERS }, (_, index) => byteItem(userOf(index), valueOf(index), column)),
  );
  return linesOf(items);
}

/**
 * MongoDB, where it is not told otherwise, ends the transaction of a node that was killed within it after 60 to 90 s; until then
 * others cannot write to its documents.
 */
const TRANSACTION_MS = 90_000;

/** As clients do: until a node that was killed is missed by the others, a call may still be sent to it, or wait for what it held. */
function answered<T>(call: () => Promise<T>): Promise<NonNullable<T>> {
  return waitFor(
    () =>
      call().catch((error: Error) => {
        if (!/^50[34] /.test(error.message)) throw error;
        return undefined;
      }),
    TRANSACTION_MS + 30_000,
  ) as Promise<NonNullable<T>>;
}

async function readSample(client: SaasClient): Promise<number[][]> {
  const found = [];
  for (let from = 0; from < SAMPLE; from += 100) {
    found.push(...(await answered(() => client.read("1", sample.slice(from, from + 100).map(userOf)))));
  }
  return found.map(({ bytes }) => [bytes[0]!, bytes[1]!]);
}

/** How many lines of a load are known to have been applied. */
async function linesKept(http: string, sha256: string): Promise<number> {
  const answer = await fetch(`${http}/v1/saas/accounts/2000/tasks/${sha256}`);
  const { lines = 0 } = (await answer.json()) as { lines?: number };
  return lines;
}

test("a bulk load whose node is told to stop goes on without a loss when that is back", () =>
  withTempDir(async (dataDir) => {
    const env = {
      DATA_DIR: dataDir,
      LOG_LEVEL: "warn",
      SAAS_DEMO: "1",
      SAAS_BLOCK_MIN: "1",
      MAX_LOST: "1",
      STOP_TIMEOUT: "1",
    };
    let node = await spawnNode(env);
    try {
      let client = new SaasClient(node.http);
      const task = taskOf("1", { "users.jsonl": content() }, BLOCK);
      const { task_sha256 } = task.task;
      await createAndUpload(client, task);
      await client.post("/saas/task/run", { task_run: { task_sha256 } });
      await waitFor(async () => (await linesKept(node.http, task_sha256)) > 0);
      expect(await node.stop()).toBe(0);
      node = await spawnNode(env);
      client = new SaasClient(node.http);
      expect(await linesKept(node.http, task_sha256)).toBeLessThan(2 * USERS);
      expect(await ended(client, task_sha256)).toMatchObject({ status: "SUCCESS", reason: "" });
      expect(await linesKept(node.http, task_sha256)).toBe(2 * USERS);
      expect(await readSample(client)).toEqual(sample.map((index) => [valueOf(index), valueOf(index)]));
      expect(node.output()).not.toMatch(/error/i);
    } finally {
      await node.stop("SIGKILL");
    }
  }));

describeWith(["mongodb", "nats"], "a bulk load whose node is killed", () => {
  test(
    "is taken over where it was, and applies nothing twice",
    () =>
      withTempDir(async (dataDir) => {
        const nodes: SpawnedNode[] = [];
        const env = {
          MONGODB_URI: ownDatabase(),
          NATS_URL: serverUrl("nats"),
          NAMESPACE: `test-${randomBytes(6).toString("hex")}`,
          DATA_DIR: dataDir,
          LOG_LEVEL: "warn",
          SAAS_DEMO: "1",
          SAAS_BLOCK_MIN: "1",
          SIGNING_KEY: randomBytes(24).toString("hex"),
        };
        const start = async (name: string, services: string) => {
          const node = await spawnNode({ ...env, NODE_ID: name, SERVICES: services });
          nodes.push(node);
          return node;
        };
        try {
          const gateway = await start("gateway", "api-gateway,queues");
          const first = await start("one", "saas");
          const client = new SaasClient(gateway.http);
          const answers = () => client.read("1", ["x"]).then(Boolean, () => false);
          await waitFor(answers);
          const task = taskOf("1", { "users.jsonl": content() }, BLOCK);
          const { task_sha256 } = task.task;
          await createAndUpload(client, task);
          await client.post("/saas/task/run", { task_run: { task_sha256 } });
          const kept = () => linesKept(gateway.http, task_sha256);
          await waitFor(async () => (await kept()) > 0);
          await first.stop("SIGKILL");
          const channel = async (verb: string) => {
            const path = `${gateway.http}/v1/queues/channels/saas.load:${verb}`;
            expect((await fetch(path, { method: "POST" })).status).toBe(200);
          };
          await channel("pause");
          await start("two", "saas");
          await waitFor(answers);
          const linesBefore = await kept();
          expect(linesBefore).toBeLessThan(2 * USERS);
          const before = await readSample(client);
          const write_bytes = { bytes: Buffer.from([WRITTEN, WRITTEN]), index_1: 3 };
          const items = sample.map((index) => ({ userid: userOf(index), write_bytes }));
          await answered(() => client.write("1", items));
          expect(await kept()).toBe(linesBefore);
          await channel("resume");
          const done = await ended(client, task_sha256);
          expect(done).toMatchObject({ status: "SUCCESS", reason: "" });
          expect(await kept()).toBe(2 * USERS);
          const expected = sample.map((index, place) =>
            before[place]!.map((value) => (value === 0 ? valueOf(index) : WRITTEN)),
          );
          expect(await readSample(client)).toEqual(expected);
          // Some of it had been applied, and some had not.
          expect(new Set(before.flat().map((value) => value > 0))).toEqual(new Set([true, false]));
        } finally {
          await Promise.all(nodes.map((node) => node.stop("SIGKILL")));
        }
      }),
    TIMEOUT,
  );
});
