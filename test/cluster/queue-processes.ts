/** Nodes of the queue in processes of their own, and workers that use them. */
import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { SpawnedNode } from "../node.ts";
import { spawnNode } from "../node.ts";
import type { Answer, ReceivedMessage, TaskMessage } from "../queues-client.ts";
import { QueuesClient } from "../queues-client.ts";
import { serverUrl } from "../servers.ts";
import { ownDatabase } from "../topologies.ts";
import { PATIENCE_MS, waitFor } from "../wait-for.ts";
import type { WorkerSettings } from "./queue-worker.ts";

export interface QueueProcess {
  node: SpawnedNode;
  client: QueuesClient;
}

const SETTINGS = { SERVICES: "api-gateway,queues", LOG_LEVEL: "error" };

/** What makes nodes one cluster, on a database of its own. */
export function clusterSettings(): Record<string, string> {
  const NAMESPACE = `test-${randomBytes(6).toString("hex")}`;
  return { MONGODB_URI: ownDatabase(), NATS_URL: serverUrl("nats"), NAMESPACE };
}

/** Starts a node with each of these settings. */
export async function startQueueProcesses(
  settings: Record<string, string>[],
): Promise<{ nodes: QueueProcess[]; stop(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
  const starting = settings.map((one) => spawnNode({ ...SETTINGS, DATA_DIR: directory, ...one }));
  const started = await Promise.allSettled(starting);
  const nodes = started.flatMap((result) => {
    return result.status === "fulfilled" ? { node: result.value, client: new QueuesClient(result.value.grpc) } : [];
  });
  const stop = async () => {
    for (const { client } of nodes) client.close();
    await Promise.all(nodes.map(({ node }) => node.stop("SIGKILL")));
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await Promise.all(starting);
    await Promise.all(nodes.map(({ client }) => knowsItsServices(client)));
    return { nodes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The same for as long as `body` takes. */
export async function withQueueProcesses(
  settings: Record<string, string>[],
  body: (nodes: QueueProcess[]) => Promise<void>,
): Promise<void> {
  const { nodes, stop } = await startQueueProcesses(settings);
  try {
    await body(nodes);
  } finally {
    await stop();
  }
}

async function knowsItsServices(client: QueuesClient): Promise<void> {
  await waitFor(async () => {
    const length = await client.call("QueryLengthByChannel", { Channel: "any" }).catch(() => undefined);
    return length?.State === "200";
  });
}

/** Creates tasks, many a call; throws where one is refused. */
export async function createTasks(client: QueuesClient, tasks: object[]): Promise<void> {
  for (let from = 0; from < tasks.length; from += 1_000) {
    const { Data } = await client.call<Answer<string>[]>("CreateTasks", { Tasks: tasks.slice(from, from + 1_000) });
    const refused = Data.find(({ State }) => State !== "200");
    if (refused) throw new Error(`${refused.State} ${refused.Message}`);
  }
}

/** All tasks of an owner. */
export async function tasksOf(client: QueuesClient, Owner: number): Promise<TaskMessage[]> {
  const tasks: TaskMessage[] = [];
  for (;;) {
    const page = { Owner, Limit: 1_000, Offset: tasks.length };
    const { Data } = await client.call<TaskMessage[]>("QueryTaskByOwner", page);
    if (Data.length === 0) return tasks;
    tasks.push(...Data);
  }
}

/** A worker in this process that reports SUCCESS on what it receives; its output is its name. */
export class InstantWorker {
  readonly received: string[] = [];
  readonly answers: Answer<string>[] = [];
  readonly #receive: ReturnType<QueuesClient["receive"]>;
  readonly #reports: ReturnType<QueuesClient["reports"]>;

  constructor(client: QueuesClient, name: string, Channel: string, credits: number) {
    const metadata = { "x-worker-id": name };
    this.#receive = client.receive(metadata);
    this.#reports = client.reports(metadata);
    this.#receive.on("error", () => undefined);
    this.#reports.on("error", () => undefined);
    this.#receive.on("data", ({ Tasks: { ID } }: ReceivedMessage) => {
      this.received.push(ID);
      this.#reports.write({ ID, State: 1, Output: name });
    });
    this.#reports.on("data", (answer: Answer<string>) => {
      this.answers.push(answer);
      this.#receive.write({ Channel });
    });
    for (let credit = 0; credit < credits; credit += 1) this.#receive.write({ Channel });
  }

  stop(): void {
    this.#receive.cancel();
    this.#reports.cancel();
  }
}

/** A worker in a process of its own, see `queue-worker.ts`. */
export class WorkerProcess {
  readonly process: ChildProcess;
  readonly #lines: string[] = [];

  constructor(settings: WorkerSettings) {
    const file = join(import.meta.dirname, "queue-worker.ts");
    this.process = spawn(process.execPath, [file, JSON.stringify(settings)], { stdio: ["pipe", "pipe", "inherit"] });
    createInterface({ input: this.process.stdout! }).on("line", (line) => this.#lines.push(line));
  }

  /** The next line that it prints. */
  async line(timeout = PATIENCE_MS): Promise<string> {
    await waitFor(() => this.#lines.length > 0, timeout);
    return this.#lines.shift() ?? "";
  }

  say(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  async ended(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, "exit");
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.ended();
  }
}
