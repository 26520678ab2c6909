/** A bulk load against a bare loop that writes the same records: its rate, and the most memory that the node has for it. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import type { Run } from "../../servers/run.ts";
import { LongshoreNode } from "../queue/longshore-node.ts";
import { peakBytes } from "../queue/processes.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import type { BareStore } from "./bare-stores.ts";
import { withMongo, withSqlite } from "./bare-stores.ts";
import { SaasLoad } from "./saas-load.ts";

const SQLITE_ITEMS = 250_000;
const MONGO_ITEMS = 100_000;
const LARGER = 4;
const BLOCK_BYTES = 10 * 1024 ** 2;
const BATCH = 1_000;
const LOOK_MS = 100;
const REST_MS = 5_000;
const MAX_MEGABYTES = 250;

interface Measured {
  /** Items a second. */
  rate: number;
  megabytes: number;
}

/** Of the bare loop's rate, what a load must reach. */
const SQLITE_GATE = 0.6;
const MONGO_GATE = 0.7;

export function loadIntoSqlite(processes: Run): Promise<Figure[]> {
  return withSqlite(processes, (bare) => compare(processes, "", bare, { items: SQLITE_ITEMS, gate: SQLITE_GATE }));
}

export function loadIntoMongo(processes: Run): Promise<Figure[]> {
  return withMongo(processes, (bare, uri) => compare(processes, uri, bare, { items: MONGO_ITEMS, gate: MONGO_GATE }));
}

async function compare(
  processes: Run,
  mongodbUri: string,
  { store, write }: BareStore,
  { items, gate }: { items: number; gate: number },
): Promise<Figure[]> {
  const alone = await bareRate(write, items);
  const node = () => LongshoreNode.start(processes, mongodbUri, { env: { SAAS_DEMO: "1" } });
  const measured: Measured[] = [];
  for (const [round, count] of [items, LARGER * items].entries()) {
    const started = await node();
    try {
      // What its start has left is collected.
      await sleep(REST_MS);
      const rate = await loadRate(started, count, round);
      measured.push({ rate, megabytes: (await peakBytes(started.pid)) / 1024 ** 2 });
    } finally {
      await started.stop();
    }
  }
  const [small, large] = measured as [Measured, Measured];
  printTable(`${store}: bulk load of ${items} new records, and of ${LARGER} times as many`, [
    ["", "items/s", "MB at most"],
    [`bare ${store}`, shown(alone), ""],
    ["Longshore", shown(small.rate), shown(small.megabytes)],
    [`Longshore, ${LARGER} times as many`, shown(large.rate), shown(large.megabytes)],
  ]);
  return [
    { measure: `bulk load / bare ${store}`, value: small.rate / alone, gate: { atLeast: gate } },
    {
      measure: `MB of the node, ${store}`,
      value: Math.max(small.megabytes, large.megabytes),
      gate: { atMost: MAX_MEGABYTES },
    },
  ];
}

async function bareRate(write: (ids: string[]) => unknown, items: number): Promise<number> {
  const begin = performance.now();
  for (let from = 0; from < items; from += BATCH) {
    await write(Array.from({ length: BATCH }, (_, index) => userOf(from + index, 9)));
  }
  return (items * 1_000) / (performance.now() - begin);
}

/** Items a second, from the task's start to its end. */
async function loadRate(node: LongshoreNode, items: number, round: number): Promise<number> {
  const client = new SaasLoad(node.http);
  try {
    const { task, blocks } = taskOf(items, round);
    await client.command("/saas/task/create", { task_create: task });
    for (const block of blocks) {
      const headers = { "content-type": "application/octet-stream", "content-encoding": "gzip" };
      await client.send(`/saas/task/upload?block_sha256=${sumOf(block)}`, gzipSync(block, { level: 1 }), headers);
    }
    const named = { task_sha256: task.task_sha256 };
    await client.command("/saas/task/run", { task_run: named });
    for (;;) {
      const { taskInfoRes: told = {} } = await client.command("/saas/task/info", { task_info: named });
      const { status, runTime = "", finishTime = "" } = told;
      if (status === "FAIL") throw new Error("the load has failed");
      if (status === "SUCCESS") return (items * 1_000) / (Date.parse(finishTime) - Date.parse(runTime));
      await sleep(LOOK_MS);
    }
  } finally {
    client.close();
  }
}

function taskOf(items: number, round: number) {
  const content = Buffer.from(Array.from({ length: items }, (_, index) => lineOf(userOf(index, round))).join(""));
  const count = Math.ceil(content.length / BLOCK_BYTES);
  const blocks = Array.from({ length: count }, (_, at) => content.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES));
  const file = {
    file_name: "users.jsonl",
    file_size: content.length,
    file_blocks: blocks.map((block) => ({ block_sha256: sumOf(block), block_length: block.length })),
  };
  const task = {
    dataspace_id: "1",
    task_sha256: sumOf(Buffer.from(`${items}/${round}`)),
    task_file_infos: [file],
    task_block_size: BLOCK_BYTES,
    task_size: content.length,
  };
  return { task, blocks };
}

/** Some columns of each region. */
function lineOf(userid: string): string {
  return `{"userid":"${userid}","writeBytes":{"bytes":"AQIDBA==","index1":"15"},"writeUint32s":{"uint32s":[${userid.length}],"index1":"1"},"writeFlagsWithExpire":{"flagsWithExpire":[{"flag":true}],"index1":"1"}}\n`;
}

/** In an order that no index has. */
function userOf(number: number, round: number): string {
  return createHash("sha1").update(`${round}/${number}`).digest("hex").slice(0, 32);
}

function sumOf(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}
