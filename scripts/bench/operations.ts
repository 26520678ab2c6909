/**
 * Operations against what a bare grpc-js server with a broker behind it does, and against themselves with few stored and
 * with nobody waiting. `npm run bench -- operations [PART …]`. Linux only: what processes cost is read from /proc.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Run } from "../servers/run.ts";
import type { OperationMessage } from "./operations/contract.ts";
import { OperationsClient } from "./operations/contract.ts";
import { demandDone, longshoreClient, unary } from "./queue/contract.ts";
import { LongshoreNode } from "./queue/longshore-node.ts";
import { cpuMs, residentBytesSettled } from "./queue/processes.ts";
import { median } from "./queue/statistics.ts";
import { printTable, shown } from "./queue/table.ts";
import { printVerdict, type Figure } from "./queue/verdict.ts";

const ROUNDS = 5;
const ROUND_MS = 2_000;
const IN_FLIGHT = 64;
const FEW = 1_000;
const MANY = 1_000_000;
const BATCH = 500;
const BATCHES_IN_FLIGHT = 4;
const LISTS = 200;
const WAITERS = 5_000;
const WAIT_SECONDS = 600;
const QUIET_MS = 60_000;
/** Nobody works there. */
const STORED = "bench-stored";
const WAITED_FOR = "bench-waited-for";
const MIB = 1024 * 1024;

type Measure = (node: LongshoreNode, processes: Run) => Promise<Figure[]>;

const PARTS: Record<string, Measure> = { get: measureGet, waiters: measureWaiters, list: measureList };

/** Measures the parts that are named, or all; prints what was measured and what was to be reached. */
export async function run(names: string[]): Promise<void> {
  const unknown = names.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined) {
    console.error(`operations has no part ${unknown}, but ${Object.keys(PARTS).join(", ")}`);
    process.exitCode = 1;
    return;
  }
  const processes = new Run();
  const node = await LongshoreNode.start(processes);
  try {
    const figures: Figure[] = [];
    for (const [name, measure] of Object.entries(PARTS)) {
      if (names.length === 0 || names.includes(name)) figures.push(...(await measure(node, processes)));
    }
    printVerdict(figures);
  } finally {
    await node.stop();
    await processes.stop();
  }
}

/** GetOperation, in turn on both, for the machine is not equally quick all the time. */
async function measureGet(node: LongshoreNode, processes: Run): Promise<Figure[]> {
  const bare = fork(join(import.meta.dirname, "operations", "bare-server.ts"), { detached: true });
  processes.adopt(bare);
  const [bareAddress] = (await once(bare, "message")) as [string];
  const [name] = await create(node, 1);
  const servers = { bare: { address: bareAddress, pid: bare.pid! }, Longshore: node };
  const rates: Record<keyof typeof servers, number[]> = { bare: [], Longshore: [] };
  const cpu: Record<keyof typeof servers, number[]> = { bare: [], Longshore: [] };
  // The first round is for warming up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const server of ["bare", "Longshore"] as const) {
      const { address, pid } = servers[server];
      const before = await cpuMs(pid);
      const calls = await getFor(address, name!);
      if (round === 0) continue;
      rates[server].push((calls * 1_000) / ROUND_MS);
      cpu[server].push(((await cpuMs(pid)) - before) / calls);
    }
  }
  const ratio = median(rates.Longshore.map((rate, round) => rate / rates.bare[round]!));
  printTable(`GetOperation, ${IN_FLIGHT} calls in flight, medians of ${ROUNDS} rounds`, [
    ["", "calls/s", "CPU us a call"],
    ...(["bare", "Longshore"] as const).map((server) => [
      server,
      shown(median(rates[server])),
      shown(median(cpu[server]) * 1_000),
    ]),
  ]);
  bare.disconnect();
  return [{ measure: "GetOperation / bare Moleculer behind grpc-js", value: ratio, gate: { atLeast: 0.8 } }];
}

async function getFor(address: string, name: string): Promise<number> {
  const client = new OperationsClient(address);
  const end = performance.now() + ROUND_MS;
  let calls = 0;
  const lane = async () => {
    for (; performance.now() < end; calls += 1) await client.call("GetOperation", { name });
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  client.close();
  return calls;
}

/** A page of 50 with few operations stored, and with many. */
async function measureList(node: LongshoreNode): Promise<Figure[]> {
  await create(node, FEW);
  const few = await timeOfList(node);
  await create(node, MANY);
  const many = await timeOfList(node);
  printTable("ListOperations of 50, median", [
    ["stored", "ms"],
    [(FEW + WAITERS).toLocaleString("en"), shown(few)],
    [MANY.toLocaleString("en"), shown(many)],
  ]);
  return [{ measure: "ListOperations of 50, 1,000,000 stored / few", value: many / few, gate: { atMost: 1.5 } }];
}

async function timeOfList(node: LongshoreNode): Promise<number> {
  const client = new OperationsClient(node.address);
  const times: number[] = [];
  for (let list = 0; list < LISTS; list += 1) {
    const began = performance.now();
    const { operations } = await client.call<{ operations: unknown[] }>("ListOperations", { page_size: 50 });
    if (operations.length !== 50) throw new Error(`a page of ${operations.length} operations`);
    times.push(performance.now() - began);
  }
  client.close();
  return median(times);
}

/** Each waits for an operation of its own; then all of those end together. */
async function measureWaiters(node: LongshoreNode): Promise<Figure[]> {
  const names = await create(node, WAITERS, WAITED_FOR);
  const worker = longshoreClient(node.address);
  const ids: string[] = [];
  while (ids.length < names.length) {
    const request = { Channel: WAITED_FOR, Max: BATCH, WaitSeconds: 1, LeaseSeconds: WAIT_SECONDS };
    const answer = await unary(worker.ReceiveTasks.bind(worker), request);
    demandDone(answer);
    ids.push(...answer.Data.map(({ ID }) => ID));
  }
  const emptyBytes = await residentBytesSettled(node.pid);
  const client = new OperationsClient(node.address);
  const options = { deadline: Date.now() + (WAIT_SECONDS + 10) * 1_000 };
  let waiting = names.length;
  let lastAnswer = 0;
  const waits = names.map(async (name) => {
    const request = { name, timeout: { seconds: WAIT_SECONDS } };
    const { done } = await client.call<OperationMessage>("WaitOperation", request, options);
    if (!done) throw new Error(`${name} was answered and is not done`);
    waiting -= 1;
    lastAnswer = performance.now();
  });
  // Until the node has them all, and has looked at each.
  await client.call("ListOperations", { page_size: 1 });
  const bytes = (await residentBytesSettled(node.pid)) - emptyBytes;
  const before = await cpuMs(node.pid);
  await delay(QUIET_MS);
  const percent = (((await cpuMs(node.pid)) - before) * 100) / QUIET_MS;
  if (waiting !== names.length) throw new Error(`${names.length - waiting} did not wait`);
  const began = performance.now();
  const batches = Array.from({ length: Math.ceil(ids.length / BATCH) }, (_, batch) => {
    const Reports = ids.slice(batch * BATCH, (batch + 1) * BATCH).map((ID) => ({ ID, State: 1, Output: "done" }));
    return unary(worker.ReportTasks.bind(worker), { Reports });
  });
  for (const answer of await Promise.all(batches)) demandDone(answer);
  await Promise.all(waits);
  const seconds = (lastAnswer - began) / 1_000;
  client.close();
  worker.close();
  printTable(`${WAITERS.toLocaleString("en")} calls of WaitOperation, each for an operation of its own`, [
    ["MB", "CPU while nothing ends", "s until all are answered"],
    [shown(bytes / MIB), `${shown(percent)} %`, shown(seconds)],
  ]);
  return [
    { measure: "MB of the node, 5,000 waiters", value: bytes / MIB, gate: { atMost: 60 } },
    { measure: "CPU % of the node, 5,000 waiters", value: percent, gate: { atMost: 2 } },
    { measure: "s until 5,000 waiters are answered", value: seconds, gate: { atMost: 1 } },
  ];
}

/** Makes tasks, and answers the names of their operations. */
async function create(node: LongshoreNode, count: number, Channel = STORED): Promise<string[]> {
  const client = longshoreClient(node.address);
  const names: string[] = [];
  let left = count;
  const lane = async () => {
    while (left > 0) {
      const size = Math.min(BATCH, left);
      left -= size;
      const Tasks = Array.from({ length: size }, () => ({ Channel, Input: "x".repeat(100) }));
      const answer = await unary(client.CreateTasks.bind(client), { Tasks });
      demandDone(answer);
      // Of a batch each answer has its task's HashCode.
      for (const one of answer.Data as unknown as { Data: string }[]) names.push(`operations/${one.Data}`);
    }
  };
  await Promise.all(Array.from({ length: BATCHES_IN_FLIGHT }, lane));
  client.close();
  return names;
}
