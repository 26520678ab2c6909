/**
 * The user-data space over HTTP against bare loops on its two stores: SQLite with prepared statements, MongoDB with the driver.
 * `npm run bench -- saas [PART …]`.
 */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MongoClient } from "mongodb";
import { startMongod } from "../servers/mongod.ts";
import { Run } from "../servers/run.ts";
import { LongshoreNode } from "./queue/longshore-node.ts";
import { median } from "./queue/statistics.ts";
import { printTable, shown } from "./queue/table.ts";
import type { Figure } from "./queue/verdict.ts";
import { printVerdict } from "./queue/verdict.ts";
import { compareBulk } from "./saas/bulk-load.ts";
import { SaasLoad, encodeRequest } from "./saas/saas-load.ts";

const USERS = 100_000;
const READ = 100;
const WRITE = 1_000;
const BODIES = 100;
const ROUNDS = 5;
const ROUND_MS = 2_000;
const RECORD_BYTES = 237;
const GATE = 0.5;

/** A bare store that does one request's work. */
interface Peer {
  store: string;
  read: (ids: string[]) => unknown;
  write: (ids: string[]) => unknown;
  /** Of its rate, what a bulk load must reach. */
  bulkGate: number;
}

type Comparison = (processes: Run, mongodbUri: string, peer: Peer) => Promise<Figure[]>;

const PARTS: Record<string, (run: Run) => Promise<Figure[]>> = {
  embedded: (run) => measureEmbedded(run, compareRequests),
  mongodb: (run) => measureMongo(run, compareRequests),
  "load-embedded": (run) => measureEmbedded(run, compareBulk),
  "load-mongodb": (run) => measureMongo(run, compareBulk),
};

/** Measures the parts that are named, or all; prints what was measured and what was to be reached. */
export async function run(names: string[]): Promise<void> {
  const unknown = names.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined) {
    console.error(`saas has no part ${unknown}, but ${Object.keys(PARTS).join(", ")}`);
    process.exitCode = 1;
    return;
  }
  const processes = new Run();
  try {
    const figures: Figure[] = [];
    for (const [name, measure] of Object.entries(PARTS)) {
      if (names.length === 0 || names.includes(name)) figures.push(...(await measure(processes)));
    }
    printVerdict(figures);
  } finally {
    await processes.stop();
  }
}

async function measureEmbedded(processes: Run, compare: Comparison): Promise<Figure[]> {
  const database = new DatabaseSync(join(mkdtempSync(join(processes.directory, "bare-")), "bare.db"));
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  database.exec("CREATE TABLE records (id TEXT PRIMARY KEY, data BLOB)");
  const marks = new Array(READ).fill("?").join(",");
  const select = database.prepare(`SELECT id, data FROM records WHERE id IN (${marks})`);
  const upsert = database.prepare(
    "INSERT INTO records VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
  );
  const bare: Peer = {
    store: "SQLite",
    bulkGate: 0.6,
    read: (ids) => select.all(...ids),
    write: (ids) => {
      database.exec("BEGIN");
      for (const id of ids) upsert.run(id, recordOf(id));
      database.exec("COMMIT");
    },
  };
  try {
    return await compare(processes, "", bare);
  } finally {
    database.close();
  }
}

async function measureMongo(processes: Run, compare: Comparison): Promise<Figure[]> {
  const uri = await startMongod(processes);
  if (uri === undefined) {
    console.error("mongod is missing: install mongod 7 or newer");
    return [];
  }
  const client = await new MongoClient(uri, { writeConcern: { w: "majority", j: true } }).connect();
  const records = client.db("bare").collection<{ _id: string; data: Buffer }>("records");
  const bare: Peer = {
    store: "MongoDB",
    bulkGate: 0.7,
    read: (ids) => records.find({ _id: { $in: ids } }).toArray(),
    write: (ids) =>
      records.bulkWrite(
        ids.map((_id) => ({ updateOne: { filter: { _id }, update: { $set: { data: recordOf(_id) } }, upsert: true } })),
        { ordered: false },
      ),
  };
  try {
    return await compare(processes, uri, bare);
  } finally {
    await client.close();
  }
}

async function compareRequests(processes: Run, mongodbUri: string, bare: Peer): Promise<Figure[]> {
  const node = await LongshoreNode.start(processes, mongodbUri, { env: { SAAS_DEMO: "1" } });
  try {
    return await compare(bare, node);
  } finally {
    await node.stop();
  }
}

/** In turn on both, for the machine is not equally quick all the time. */
async function compare(bare: Peer, node: LongshoreNode): Promise<Figure[]> {
  const { store } = bare;
  const load = new SaasLoad(node.http);
  for (let from = 0; from < USERS; from += WRITE) {
    const ids = Array.from({ length: WRITE }, (_, index) => userOf(from + index));
    await bare.write(ids);
    await load.send("/saas/write", writeOf(ids));
  }
  const figures: Figure[] = [];
  for (const [work, size, encode] of [
    ["read", READ, readOf],
    ["write", WRITE, writeOf],
  ] as const) {
    const requests = Array.from({ length: BODIES }, () => someUsers(size));
    const bodies = requests.map(encode);
    const rates: Record<"bare" | "Longshore", number[]> = { bare: [], Longshore: [] };
    // The first round is for warming up.
    for (let round = 0; round <= ROUNDS; round += 1) {
      const alone = await during(ROUND_MS, bare[work], requests);
      const served = await load.during(ROUND_MS, `/saas/${work}`, bodies);
      if (round === 0) continue;
      rates.bare.push((alone * size * 1_000) / ROUND_MS);
      rates.Longshore.push((served * size * 1_000) / ROUND_MS);
    }
    printTable(`${store}: ${work} of ${size} users a request, medians of ${ROUNDS} rounds`, [
      ["", "users/s"],
      [`bare ${store}`, shown(median(rates.bare))],
      ["Longshore", shown(median(rates.Longshore))],
    ]);
    const value = median(rates.Longshore.map((rate, round) => rate / rates.bare[round]!));
    figures.push({ measure: `${work} / bare ${store}`, value, gate: { atLeast: GATE } });
  }
  load.close();
  return figures;
}

/** One after the other; how many were done. */
async function during(ms: number, work: (ids: string[]) => unknown, requests: readonly string[][]): Promise<number> {
  const end = performance.now() + ms;
  let done = 0;
  for (; performance.now() < end; done += 1) await work(requests[done % requests.length]!);
  return done;
}

function readOf(userids: readonly string[]): Buffer {
  return encodeRequest({ read: { dataspace_id: "1", read_items: userids.map((userid) => ({ userid })) } });
}

/** Some columns of each region. */
function writeOf(userids: readonly string[]): Buffer {
  const write_items = userids.map((userid) => ({
    userid,
    write_bytes: { bytes: Buffer.from([1, 2, 3, 4]), index_1: 15 },
    write_uint32s: { uint32s: [Math.floor(Math.random() * 2 ** 32)], index_1: 1 },
    write_flags_with_expire: { flags_with_expire: [{ flag: true }], index_1: 1 },
  }));
  return encodeRequest({ write: { dataspace_id: "1", write_items } });
}

function someUsers(count: number): string[] {
  const users = new Set<string>();
  while (users.size < count) users.add(userOf(Math.floor(Math.random() * USERS)));
  return [...users];
}

function userOf(number: number): string {
  return `user-${String(number).padStart(27, "0")}`;
}

function recordOf(id: string): Buffer {
  return Buffer.alloc(RECORD_BYTES, id);
}
