/** The workers in examples/, as processes against a real node. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { freePort } from "../../scripts/servers/free-port.ts";
import type { SpawnedNode, TestNode } from "../node.ts";
import { spawnNode, startNode } from "../node.ts";
import type { TaskMessage } from "../queues-client.ts";
import { QueuesClient } from "../queues-client.ts";
import { withTempDir } from "../temp-dir.ts";
import { waitFor } from "../wait-for.ts";

const EXAMPLES = join(import.meta.dirname, "..", "..", "examples");
/** Debian's Python, because only it finds Debian's python3-grpcio. */
const PYTHON = "/usr/bin/python3";
const hasGrpcio = spawnSync(PYTHON, ["-c", "import grpc, grpc_tools"]).status === 0;
/** Where the Python modules of the contract are generated. */
const generated = mkdtempSync(join(tmpdir(), "longshore-stubs-"));

const kits = [
  {
    name: "the Node worker",
    describe,
    command: [process.execPath, join(EXAMPLES, "worker-node", "worker.ts")],
    env: {},
  },
  {
    name: `the Python worker${hasGrpcio ? "" : " (no grpcio here)"}`,
    describe: hasGrpcio ? describe : describe.skip,
    command: [PYTHON, join(EXAMPLES, "worker-python", "worker.py")],
    env: { PYTHONPATH: generated, PYTHONDONTWRITEBYTECODE: "1" },
  },
];

/** What a task asks the example workers for. */
interface Order {
  text?: string;
  seconds?: number;
  fail?: string;
}

interface WorkerProcess {
  /** How often it has begun that task; all that it has begun, where none is named. */
  begun(id?: string): number;
  output(): string;
  exit: Promise<number | string>;
  stop(signal?: NodeJS.Signals): Promise<number | string>;
}

let node: TestNode;
let client: QueuesClient;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  // The first loss of a task is its end.
  node = await startNode({ config: { maxLost: 1 } });
  client = new QueuesClient(node.grpc);
  if (hasGrpcio) execFileSync(join(EXAMPLES, "worker-python", "generate.sh"), [generated], { env: { PYTHON } });
});

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

afterAll(async () => {
  client?.close();
  await node?.stop();
  rmSync(generated, { recursive: true });
});

/** Tasks of one channel, made and looked at through that client. */
function channelOf(queues: QueuesClient, name: string) {
  return {
    async create(order: Order | string, more: object = {}): Promise<string> {
      const Input = typeof order === "string" ? order : JSON.stringify(order);
      const created = await queues.call<string>("CreateTask", { Task: { Channel: name, Input, ...more } });
      return (await queues.byHash(created.Data)).ID;
    },
    task: async (ID: string) => (await queues.call<TaskMessage>("QueryTaskByID", { ID })).Data,
    cancel: (ID: string) => queues.call("CancelTaskByID", { ID }),
    /** The task once it has ended so. */
    ended(ID: string, state: string): Promise<TaskMessage> {
      const look = async () => {
        const task = await this.task(ID);
        return ["SUCCESS", "FAILURE", "CANCEL"].includes(task.State) ? task : undefined;
      };
      return waitFor(look).then((task) => {
        expect(task).toMatchObject({ State: state });
        return task;
      });
    },
  };
}

for (const [index, kit] of kits.entries()) {
  const startWorker = (address: string, channel: string, settings: Record<string, string> = {}): WorkerProcess => {
    const [program = "", ...args] = kit.command;
    const { PATH, HOME } = process.env;
    const env = { PATH, HOME, LONGSHORE_ADDRESS: address, CHANNEL: channel, ...kit.env, ...settings };
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const read = (chunk: string) => void (output += chunk);
    child.stdout.setEncoding("utf8").on("data", read);
    child.stderr.setEncoding("utf8").on("data", read);
    const exit = once(child, "close").then(([code, signal]: (number | string)[]) => signal ?? code ?? "unknown");
    const stop = (signal: NodeJS.Signals = "SIGTERM") => {
      child.kill(signal);
      return exit;
    };
    ends.push(() => stop("SIGKILL"));
    return {
      begun: (id = "\\d+") => output.match(new RegExp(`^task ${id}: begun$`, "gm"))?.length ?? 0,
      output: () => output,
      exit,
      stop,
    };
  };

  kit.describe(kit.name, () => {
    let channels = 0;
    const channelName = () => `kit-${index}-${(channels += 1)}`;

    test("works 200 tasks off, each once", async () => {
      const name = channelName();
      const channel = channelOf(client, name);
      const Owner = 900 + index;
      const worker = startWorker(node.grpc, name, { CREDITS: "16" });
      const texts = Array.from({ length: 200 }, (_, number) => `text ${number}`);
      const ids = await Promise.all(texts.map((text) => channel.create({ text }, { Owner })));
      const tasks = await waitFor(async () => {
        const { Data } = await client.call<TaskMessage[]>("QueryTaskByOwner", { Owner, Limit: 1_000 });
        return Data.every(({ State }) => State === "SUCCESS") ? Data : undefined;
      });
      expect(tasks.map(({ Output }) => Output).sort()).toEqual(texts.map((text) => text.toUpperCase()).sort());
      expect(ids.map((id) => worker.begun(id))).toEqual(ids.map(() => 1));
    });

    test("tries a task that failed again, until its retries are over", async () => {
      const name = channelName();
      const channel = channelOf(client, name);
      const worker = startWorker(node.grpc, name);
      const id = await channel.create({ fail: "broken" }, { RetryMaxLimit: 2, RetryPolicy: { DelaySeconds: [0.01] } });
      expect(await channel.ended(id, "FAILURE")).toMatchObject({ Output: "broken", RetryCount: "2" });
      expect(worker.begun(id)).toBe(3);
    });

    test("lets a task fail at once that no retry would help", async () => {
      const name = channelName();
      const channel = channelOf(client, name);
      const worker = startWorker(node.grpc, name);
      const id = await channel.create("not JSON", { RetryMaxLimit: 3 });
      expect(await channel.ended(id, "FAILURE")).toMatchObject({
        Output: expect.stringMatching(/^Input: /) as unknown,
        RetryCount: "0",
      });
      expect(worker.begun(id)).toBe(1);
    });

    test("keeps a task that takes longer than its lease, tells how far it is, and logs", async () => {
      const name = channelName();
      const channel = channelOf(client, name);
      const worker = startWorker(node.grpc, name, { LEASE_SECONDS: "1" });
      const id = await channel.create({ text: "slow", seconds: 3 });
      await waitFor(async () => (await channel.task(id)).Output === "1 of 3 s");
      expect(await channel.ended(id, "SUCCESS")).toMatchObject({ Output: "SLOW" });
      expect(worker.begun(id)).toBe(1);
      const logs = (await (await fetch(`${node.http}/v1/queues/tasks/${id}/logs`)).json()) as {
        Data: { Text: string }[];
      };
      expect(logs.Data.map(({ Text }) => Text)).toEqual(["second 1", "second 2", "second 3"]);
    });

    test("stops working on a task within a second of its cancel, reports nothing, and takes the next", async () => {
      const name = channelName();
      const channel = channelOf(client, name);
      const worker = startWorker(node.grpc, name, { CREDITS: "1" });
      const id = await channel.create({ seconds: 60 });
      await waitFor(() => worker.begun(id));
      await channel.cancel(id);
      await waitFor(() => worker.output().includes(`task ${id}: stopped: `), 1_000);
      await channel.ended(await channel.create({ text: "next" }), "SUCCESS");
      await channel.ended(id, "CANCEL");
      expect(worker.output()).not.toContain("refused");
    });

    test("finishes on SIGTERM what ends in time, and gives back the rest", async () => {
      const name = channelName();
      const channel = channelOf(client, name);
      const worker = startWorker(node.grpc, name, { CREDITS: "2", STOP_SECONDS: "1" });
      const short = await channel.create({ seconds: 0.5, text: "short" });
      const long = await channel.create({ seconds: 60 });
      const waiting = await channel.create({ text: "never begun" });
      await waitFor(() => worker.begun() === 2);
      expect(await worker.stop()).toBe(0);
      const tasks = await Promise.all([short, long, waiting].map(channel.task));
      expect(tasks.map(({ State }) => State)).toEqual(["SUCCESS", "WAITING", "WAITING"]);
      expect(worker.output()).toContain(`task ${long}: stopped: the worker stops`);
    });

    test("ends with the reason where the server refuses its channel", async () => {
      const worker = startWorker(node.grpc, "a/b");
      expect(await worker.exit).toBe(1);
      expect(worker.output()).toContain("Channel: ");
    });

    test("begins a task anew that it lost with its connection", async () => {
      const lenient = await startNode();
      ends.push(() => lenient.stop());
      const proxy = await startProxy(lenient.grpc);
      ends.push(() => proxy.stop());
      const direct = new QueuesClient(lenient.grpc);
      ends.push(() => direct.close());
      const channel = channelOf(direct, "cut");
      const worker = startWorker(proxy.address, "cut");
      const id = await channel.create({ text: "again", seconds: 1 });
      await waitFor(() => worker.begun(id));
      proxy.cut();
      await waitFor(() => worker.begun(id) === 2);
      await waitFor(() => worker.output().includes(`task ${id}: stopped: `));
      expect(await channel.ended(id, "SUCCESS")).toMatchObject({ Output: "AGAIN", RetryCount: "0" });
      expect(worker.output()).not.toContain("refused");
    });

    test("goes on with its tasks when a node that was killed is back", async () => {
      await withTempDir(async (DATA_DIR) => {
        const nodes: SpawnedNode[] = [];
        try {
          const GRPC_PORT = String(await freePort());
          const start = async () => {
            const started = await spawnNode({ DATA_DIR, GRPC_PORT, LOG_LEVEL: "warn", MAX_LOST: "1" });
            nodes.push(started);
            return started;
          };
          const killed = await start();
          const before = new QueuesClient(killed.grpc);
          ends.push(() => before.close());
          const worker = startWorker(killed.grpc, "work");
          const channel = channelOf(before, "work");
          // Some end while the node is away, some after it.
          const ids = await Promise.all([0.2, 0.2, 3, 3].map((seconds) => channel.create({ seconds, text: "done" })));
          await waitFor(() => worker.begun() === 4);
          await killed.stop("SIGKILL");
          const after = new QueuesClient((await start()).grpc);
          ends.push(() => after.close());
          const again = channelOf(after, "work");
          for (const id of ids) expect(await again.ended(id, "SUCCESS")).toMatchObject({ Output: "DONE" });
          await again.ended(await again.create({ text: "new" }), "SUCCESS");
          expect(ids.map((id) => worker.begun(id))).toEqual([1, 1, 1, 1]);
          expect(await worker.stop()).toBe(0);
        } finally {
          await Promise.all(nodes.map((one) => one.stop("SIGKILL")));
        }
      });
    });
  });
}

/** A way to a node that can be cut: `cut` breaks the connections that are there. */
async function startProxy(target: string): Promise<{ address: string; cut(): void; stop(): Promise<unknown> }> {
  const [host = "", port] = target.split(":");
  const sockets = new Set<Socket>();
  const server = createServer((incoming) => {
    const outgoing = connect(Number(port), host);
    for (const [from, to] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(from);
      from.on("error", () => undefined).on("close", () => to.destroy());
      from.pipe(to);
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    stop: () => {
      cut();
      return once(server.close(), "close");
    },
  };
}
