/** Bare loops on the two stores of Longshore: SQLite with prepared statements, MongoDB with its driver. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MongoClient } from "mongodb";
import { startMongod } from "../../servers/mongod.ts";
import type { Run } from "../../servers/run.ts";
import { MissingProgram } from "../queue/missing-program.ts";
import { nextRecord } from "./users.ts";

/** Users of a request to read. */
export const READ = 100;

/** Does one request's work. */
export interface BareStore {
  store: string;
  read: (ids: string[]) => unknown;
  /** In one transaction, or one bulkWrite. */
  write: (ids: string[]) => unknown;
}

export async function withSqlite<T>(processes: Run, body: (bare: BareStore) => Promise<T>): Promise<T> {
  const database = new DatabaseSync(join(mkdtempSync(join(processes.directory, "bare-")), "bare.db"));
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  database.exec("CREATE TABLE records (id TEXT PRIMARY KEY, data BLOB)");
  const marks = new Array(READ).fill("?").join(",");
  const select = database.prepare(`SELECT id, data FROM records WHERE id IN (${marks})`);
  const upsert = database.prepare(
    "INSERT INTO records VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
  );
  const bare: BareStore = {
    store: "SQLite",
    read: (ids) => select.all(...ids),
    write: (ids) => {
      database.exec("BEGIN");
      for (const id of ids) upsert.run(id, nextRecord());
      database.exec("COMMIT");
    },
  };
  try {
    return await body(bare);
  } finally {
    database.close();
  }
}

/** The URI is the server's, for Longshore to use as well. */
export async function withMongo<T>(processes: Run, body: (bare: BareStore, uri: string) => Promise<T>): Promise<T> {
  const uri = await startMongod(processes);
  if (uri === undefined) throw new MissingProgram("mongod 7 or newer");
  const client = await new MongoClient(uri, { writeConcern: { w: "majority", j: true } }).connect();
  const records = client.db("bare").collection<{ _id: string; data: Buffer }>("records");
  const bare: BareStore = {
    store: "MongoDB",
    read: (ids) => records.find({ _id: { $in: ids } }).toArray(),
    write: (ids) =>
      records.bulkWrite(
        ids.map((_id) => ({ updateOne: { filter: { _id }, update: { $set: { data: nextRecord() } }, upsert: true } })),
        { ordered: false },
      ),
  };
  try {
    return await body(bare, uri);
  } finally {
    await client.close();
  }
}
