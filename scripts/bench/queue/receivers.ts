/** What receivers cost that wait on an empty channel: CPU of the node, and queries where the store counts them. */
import { setTimeout as delay } from "node:timers/promises";
import { MongoClient } from "mongodb";
import { LoadProcess } from "./load-client.ts";
import { cpuMs } from "./processes.ts";
import type { Store, Systems } from "./systems.ts";
import { printTable, shown } from "./table.ts";
import type { Figure } from "./verdict.ts";

const RECEIVERS = 1_000;
const SETTLE_MS = 5_000;
/** As long as a stream's credit waits on a node before it asks again: each does so once. */
const WINDOW_MS = 60_000;

interface Cost {
  cpuPercent: number;
  queriesPerSecond: number;
}

export async function measureReceivers(systems: Systems, parts: Set<string>): Promise<Figure[]> {
  const figures: Figure[] = [];
  const rows: string[][] = [];
  const stores: Store[] = parts.has("mongodb") ? ["embedded", "MongoDB"] : ["embedded"];
  // At the same time, for it is a long wait: nodes at rest do not disturb each other.
  const costs = await Promise.all(stores.map((store) => measureOn(systems, store)));
  for (const [index, { without, waiting }] of costs.entries()) {
    const store = stores[index]!;
    const queries = ({ queriesPerSecond }: Cost) => (store === "MongoDB" ? shown(queriesPerSecond) : "");
    rows.push([
      store,
      ...[without, waiting].map(({ cpuPercent }) => `${shown(cpuPercent)} %`),
      ...[without, waiting].map(queries),
    ]);
    figures.push({
      measure: `CPU % of the node, 1,000 receivers, ${store}`,
      value: waiting.cpuPercent,
      gate: { atMost: 2 },
    });
    if (store === "MongoDB") {
      const more = ((waiting.queriesPerSecond - without.queriesPerSecond) * WINDOW_MS) / 1_000 / RECEIVERS;
      figures.push({ measure: "queries a receiver in a minute, MongoDB", value: more, gate: { atMost: 0.1 } });
    }
  }
  printTable(`${RECEIVERS.toLocaleString("en")} receivers on an empty channel, over ${WINDOW_MS / 1_000} s`, [
    ["", "CPU without", "CPU with", "queries/s without", "queries/s with"],
    ...rows,
  ]);
  return figures;
}

async function measureOn(systems: Systems, store: Store): Promise<{ without: Cost; waiting: Cost }> {
  const { pid, address } = await systems.node(store);
  const mongodb = store === "MongoDB" ? new MongoClient((await systems.mongod()).uri) : undefined;
  const client = new LoadProcess({ kind: "grpc", address, mode: "unary" });
  try {
    const without = await costOf(pid, mongodb);
    await client.openReceivers("bench-receivers", RECEIVERS);
    const waiting = await costOf(pid, mongodb);
    return { without, waiting };
  } finally {
    await client.close();
    await mongodb?.close();
  }
}

async function costOf(pid: number, mongodb: MongoClient | undefined): Promise<Cost> {
  await delay(SETTLE_MS);
  const taken = async () => ({ cpu: await cpuMs(pid), queries: mongodb ? await queryCount(mongodb) : 0 });
  const before = await taken();
  await delay(WINDOW_MS);
  const after = await taken();
  return {
    cpuPercent: ((after.cpu - before.cpu) * 100) / WINDOW_MS,
    queriesPerSecond: ((after.queries - before.queries) * 1_000) / WINDOW_MS,
  };
}

async function queryCount(mongodb: MongoClient): Promise<number> {
  const { opcounters } = (await mongodb.db("admin").command({ serverStatus: 1 })) as { opcounters: { query: number } };
  return opcounters.query;
}
