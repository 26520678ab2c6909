import { MongoClient } from "mongodb";
import { setTimeout as delay } from "node:timers/promises";
import { findProgram } from "./command.ts";
import { freePort } from "./free-port.ts";
import type { Run, ServerCommand } from "./run.ts";
import { prepareWineMongod, preparedWineMongod } from "./wine-mongod.ts";

const replicaSet = "rs0";
const electionLimitMs = 30_000;
const pingEveryMs = 5_000;
/** Far longer than a busy machine needs: a mongod that takes it hangs. */
const answerLimitMs = 15_000;
const reachLimitMs = 8_000;
const downloadLimitMs = 300_000;

/** Starts mongod as a replica set of one and answers its URL; undefined where there is no such program. */
export async function startMongod(run: Run): Promise<string | undefined> {
  const program = await findMongod(run);
  if (!program) return undefined;

  const port = await freePort();
  const args = [
    ...program.args,
    ...["--dbpath", run.makeDirectory("mongod"), "--bind_ip", "127.0.0.1", "--port", String(port)],
    ...["--replSet", replicaSet, "--setParameter", "diagnosticDataCollectionEnabled=false"],
    // What a node that is killed was writing is free after so long, as docs/operating.md advises, in place of a minute.
    ...["--setParameter", "transactionLifetimeLimitSeconds=10"],
  ];
  await run.start("mongod", { ...program, args, ready: /Waiting for connections/, fatal: /^\{"t":\{[^}]*\},"s":"F"/m });
  await initiate(`127.0.0.1:${port}`);
  void watch(run, `127.0.0.1:${port}`);
  return `mongodb://127.0.0.1:${port}/?replicaSet=${replicaSet}`;
}

type Program = Omit<ServerCommand, "ready" | "fatal">;

/** What needs nothing from the network comes first; a mongod of this system before the one under Wine. */
async function findMongod(run: Run): Promise<Program | undefined> {
  const installed = (await findProgram("mongod")) ?? (await downloadedMongod());
  if (installed) return { command: installed, args: [] };
  const prepared = await preparedWineMongod(run);
  if (prepared) return prepared;
  const downloaded = await downloadMongod();
  if (downloaded) return { command: downloaded, args: [] };
  return prepareWineMongod(run);
}

async function downloadedMongod(): Promise<string | undefined> {
  const { DryMongoBinary } = await import("mongodb-memory-server-core");
  return DryMongoBinary.locateBinary(await DryMongoBinary.generateOptions());
}

/** Downloads mongod with mongodb-memory-server, where its server answers; it waits long for one that does not. */
async function downloadMongod(): Promise<string | undefined> {
  const { DryMongoBinary, MongoBinary } = await import("mongodb-memory-server-core");
  const { MongoBinaryDownloadUrl } = await import("mongodb-memory-server-core/lib/util/MongoBinaryDownloadUrl.js");
  try {
    const options = await DryMongoBinary.generateOptions();
    const url = await new MongoBinaryDownloadUrl(options).getDownloadUrl();
    const answer = await fetch(url, { method: "HEAD", signal: AbortSignal.timeout(reachLimitMs) });
    if (!answer.ok) return undefined;
    return await Promise.race([MongoBinary.getPath(options), delay(downloadLimitMs, undefined, { ref: false })]);
  } catch {
    return undefined;
  }
}

async function initiate(host: string): Promise<void> {
  const client = clientOf(host);
  try {
    const admin = client.db("admin");
    await admin.command({ replSetInitiate: { _id: replicaSet, members: [{ _id: 0, host }] } });
    const deadline = performance.now() + electionLimitMs;
    while (!(await admin.command({ hello: 1 })).isWritablePrimary) {
      if (performance.now() > deadline) throw new Error(`mongod: no primary after ${electionLimitMs / 1000} s`);
      await delay(50);
    }
  } finally {
    await client.close();
  }
}

/** Tells the run when mongod does not answer any more, though its process may live on. */
async function watch(run: Run, host: string): Promise<void> {
  const client = clientOf(host);
  try {
    for (;;) {
      await delay(pingEveryMs, undefined, { signal: run.signal, ref: false });
      await client.db("admin").command({ ping: 1 });
    }
  } catch (error) {
    run.lose("mongod", `does not answer: ${(error as Error).message}`);
  } finally {
    await client.close();
  }
}

/** A client of which every wait ends: that for a server, that for a connection, that for an answer. */
function clientOf(host: string): MongoClient {
  return new MongoClient(`mongodb://${host}/?directConnection=true`, {
    serverSelectionTimeoutMS: answerLimitMs,
    connectTimeoutMS: answerLimitMs,
    socketTimeoutMS: answerLimitMs,
  });
}
