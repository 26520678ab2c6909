/**
 * The queue from end to end: a node in a process of its own with its durable embedded store, a producer and a worker here.
 * The peer of the same run is the contract's ceiling, a server of the same proto that keeps its tasks in memory.
 */
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { credentials, loadPackageDefinition, Server, ServerCredentials } from "@grpc/grpc-js";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { NODE_FLAGS, START } from "../node-flags.ts";

const TASKS = 20_000;
const IN_FLIGHT = 64;
const CREDITS = 32;
const INPUT = "x".repeat(200);
const PROTO = join(import.meta.dirname, "..", "..", "proto", "standard", "standard.proto");
const definition = loadSync(PROTO, { keepCase: true, longs: String, defaults: true });

interface Task {
  ID: string;
  Channel: string;
  Input: string;
}

interface Figures {
  enqueue: number;
  drain: number;
  endToEnd: number;
}

/** Measures both and prints tasks a second and their ratios. */
export async function run(): Promise<void> {
  const ceiling = await measured(startCeiling);
  const longshore = await measured(startNode);
  for (const name of ["enqueue", "drain", "endToEnd"] as const) {
    const ratio = (longshore[name] / ceiling[name]).toFixed(2);
    console.log(`${name}: ${longshore[name]}/s, in memory on bare grpc-js ${ceiling[name]}/s, ratio ${ratio}`);
  }
}

interface Peer {
  address: string;
  stop(): Promise<void>;
}

async function measured(start: () => Promise<Peer>): Promise<Figures> {
  const peer = await start();
  const { standard } = loadPackageDefinition(definition) as never as {
    standard: { Queues: new (...args: never[]) => Client };
  };
  const client = new standard.Queues(...([peer.address, credentials.createInsecure()] as never[]));
  try {
    await produce(client, "warm-up", 2_000);
    await work(client, "warm-up", 2_000);
    const enqueue = await rate(() => produce(client, "drain", TASKS));
    const drain = await rate(() => work(client, "drain", TASKS));
    const endToEnd = await rate(() => Promise.all([produce(client, "both", TASKS), work(client, "both", TASKS)]));
    return { enqueue, drain, endToEnd };
  } finally {
    client.close();
    await peer.stop();
  }
}

async function rate(phase: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await phase();
  return Math.round((TASKS * 1_000) / (performance.now() - begin));
}

interface Client {
  CreateTask(request: object, callback: (error: Error | null, answer: { State: string }) => void): void;
  ReceiveQueueByChannel(): Duplex;
  ReportTaskResult(): Duplex;
  close(): void;
}
type Duplex = NodeJS.ReadWriteStream & { write(message: object): boolean; cancel(): void };

function produce(client: Client, channel: string, count: number): Promise<void> {
  let sent = 0;
  let done = 0;
  return new Promise((resolve, reject) => {
    const next = () => {
      if (sent === count) return;
      sent += 1;
      client.CreateTask({ Task: { Channel: channel, Input: INPUT } }, (error, answer) => {
        if (error ?? answer.State !== "200") reject(error ?? new Error(JSON.stringify(answer)));
        done += 1;
        if (done === count) resolve();
        else next();
      });
    };
    for (let flight = 0; flight < IN_FLIGHT; flight += 1) next();
  });
}

/** Receives and reports; resolves when every task has been reported once. */
function work(client: Client, channel: string, count: number): Promise<void> {
  const seen = new Set<string>();
  let reported = 0;
  return new Promise((resolve, reject) => {
    const receive = client.ReceiveQueueByChannel();
    const reports = client.ReportTaskResult();
    for (const stream of [receive, reports]) stream.on("error", (error) => reported < count && reject(error));
    receive.on("data", ({ Tasks }: { Tasks: Task }) => {
      if (seen.has(Tasks.ID)) reject(new Error(`task ${Tasks.ID} came twice`));
      seen.add(Tasks.ID);
      reports.write({ ID: Tasks.ID, State: 1, Output: "done" });
    });
    reports.on("data", ({ State }: { State: string }) => {
      if (State !== "200") reject(new Error(`a report was answered with ${State}`));
      reported += 1;
      if (reported === count) {
        receive.cancel();
        reports.end();
        resolve();
      } else {
        receive.write({ Channel: channel });
      }
    });
    for (let credit = 0; credit < CREDITS; credit += 1) receive.write({ Channel: channel });
  });
}

async function startNode(): Promise<Peer> {
  const directory = await mkdtemp(join(tmpdir(), "longshore-bench-"));
  const child = spawn(process.execPath, [...NODE_FLAGS, START], {
    cwd: directory,
    env: { PATH: process.env.PATH, HTTP_PORT: "0", GRPC_PORT: "0", LOG_LEVEL: "error" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
  const [, address = ""] = /grpc:\/\/(\S+)/.exec(line) ?? [];
  const stop = async () => {
    child.kill();
    await once(child, "close");
    await rm(directory, { recursive: true });
  };
  return { address, stop };
}

async function startCeiling(): Promise<Peer> {
  const child = fork(import.meta.filename, ["ceiling"], { stdio: "inherit" });
  const [address] = (await once(child, "message")) as [string];
  return { address, stop: async () => void (child.kill(), await once(child, "close")) };
}

/** Nothing but the contract: tasks in arrays, no order among channels, no lease, no disk. */
function serveCeiling(): void {
  const waiting = new Map<string, Task[]>();
  const receivers = new Map<string, ServerDuplexStream<Task, object>[]>();
  const entry = <T>(map: Map<string, T[]>, key: string) => map.get(key) ?? map.set(key, []).get(key)!;
  let lastId = 0;
  const server = new Server();
  server.addService(definition["standard.Queues"] as unknown as ServiceDefinition, {
    CreateTask: (call: { request: { Task: Task } }, callback: (error: null, answer: object) => void) => {
      lastId += 1;
      const task = { ...call.request.Task, ID: String(lastId), HashCode: `h${lastId}` };
      const receiver = entry(receivers, task.Channel).shift();
      if (receiver) receiver.write({ Tasks: task });
      else entry(waiting, task.Channel).push(task);
      callback(null, { State: "200", Message: "", Data: task.HashCode });
    },
    ReceiveQueueByChannel: (call: ServerDuplexStream<Task, object>) => {
      call.on("data", ({ Channel }: Task) => {
        const task = entry(waiting, Channel).shift();
        if (task) call.write({ Tasks: task });
        else entry(receivers, Channel).push(call);
      });
      call.on("end", () => call.end());
    },
    ReportTaskResult: (call: ServerDuplexStream<Task, object>) => {
      call.on("data", ({ ID }: Task) => call.write({ State: "200", Message: "", Data: ID }));
      call.on("end", () => call.end());
    },
  });
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    process.send?.(`127.0.0.1:${port}`);
  });
}

if (process.argv[2] === "ceiling") serveCeiling();
