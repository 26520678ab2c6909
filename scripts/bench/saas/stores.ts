/** Reads and writes over HTTP against bare loops on the two stores: SQLite with prepared statements, MongoDB with its driver. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MongoClient } from "mongodb";
import { startMongod } from "../../servers/mongod.ts";
import type { Run } from "../../servers/run.ts";
import { LongshoreNode } from "../queue/longshore-node.ts";
import { MissingProgram } from "../queue/missing-program.ts";
import { median } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { SaasLoad } from "./saas-load.ts";
import { nextRecord, readOf, someUsers, userOf, writeOf } from "./users.ts";

const READ = 100;
const WRITE = 1_000;
/** A request while the users are written first. */
const LOADED = 10_000;
const BODIES = 100;
const ROUNDS = 5;
const ROUND_MS = 2_000;
const GATE = 0.5;

/** Does one request's work. */
type Peer = Record<"read" | "write", (ids: string[]) => unknown>;

export async function measureEmbedded(processes: Run): Promise<Figure[]> {
  const database = new DatabaseSync(join(mkdtempSync(join(processes.directory, "bare-")), "bare.db"));
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  database.exec("CREATE TABLE records (id TEXT PRIMARY KEY, data BLOB)");
  const marks = new Array(READ).fill("?").join(",");
  const select = database.prepare(`SELECT id, data FROM records WHERE id IN (${marks})`);
  const upsert = database.prepare(
    "INSERT INTO records VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
  );
  const bare: Peer = {
    read: (ids) => select.all(...ids),
    write: (ids) => {
      database.exec("BEGIN");
      for (const id of ids) upsert.run(id, nextRecord());
      database.exec("COMMIT");
    },
  };
  const node = await LongshoreNode.start(processes, "", { env: { SAAS_DEMO: "1" } });
  try {
    return await compare("SQLite", bare, node, 1_000_000);
  } finally {
    await node.stop();
    database.close();
  }
}

export async function measureMongo(processes: Run): Promise<Figure[]> {
  const uri = await startMongod(processes);
  if (uri === undefined) throw new MissingProgram("mongod 7 or newer");
  const client = await new MongoClient(uri, { writeConcern: { w: "majority", j: true } }).connect();
  const records = client.db("bare").collection<{ _id: string; data: Buffer }>("records");
  const bare: Peer = {
    read: (ids) => records.find({ _id: { $in: ids } }).toArray(),
    write: (ids) =>
      records.bulkWrite(
        ids.map((_id) => ({ updateOne: { filter: { _id }, update: { $set: { data: nextRecord() } }, upsert: true } })),
        { ordered: false },
      ),
  };
  const node = await LongshoreNode.start(processes, uri, { env: { SAAS_DEMO: "1" } });
  try {
    return await compare("MongoDB", bare, node, 100_000);
  } finally {
    await node.stop();
    await client.close();
  }
}

/** In turn on both, for the machine is not equally quick all the time. */
async function compare(store: string, bare: Peer, node: LongshoreNode, users: number): Promise<Figure[]> {
  const load = new SaasLoad(node.http);
  for (let from = 0; from < users; from += LOADED) {
    const ids = Array.from({ length: LOADED }, (_, index) => userOf(from + index));
    await bare.write(ids);
    await load.send("/saas/write", writeOf(ids));
  }
  const figures: Figure[] = [];
  for (const [work, size, encode] of [
    ["read", READ, readOf],
    ["write", WRITE, writeOf],
  ] as const) {
    const requests = Array.from({ length: BODIES }, () => someUsers(size, users));
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
