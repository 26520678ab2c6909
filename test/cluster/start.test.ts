/** scripts/start.ts as a process: how a node gets ready, refuses to, and ends. */
import { afterEach, expect, test } from "@jest/globals";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { launchNode, spawnNode, type SpawnedNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

const open: (SpawnedNode | Server | Socket)[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) {
    if ("exit" in one) await one.stop("SIGKILL");
    else if ("close" in one) one.close();
    else one.destroy();
  }
});

async function start(env: Record<string, string> = {}): Promise<SpawnedNode> {
  const node = await spawnNode(env);
  open.push(node);
  return node;
}

/** Starts a node that cannot start, and gives the last line it prints. */
async function refused(env: Record<string, string>): Promise<string> {
  const node = await launchNode(env);
  expect(await node.exit).toBe(1);
  expect(node.output()).not.toMatch(/^ +at /m);
  return node.output().trimEnd().split("\n").at(-1)!;
}

/** Begins a request that never ends, which a stopping node waits for. */
async function holdRequest(node: SpawnedNode): Promise<Socket> {
  const { hostname, port } = new URL(node.http);
  const socket = connect(Number(port), hostname).on("error", () => undefined);
  open.push(socket);
  await once(socket, "connect");
  const head = "POST /v1/queues/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n";
  socket.write(`${head}Expect: 100-continue\r\n\r\n`);
  await once(socket, "data");
  return socket;
}

test("a node says where it is when it serves there, within 5 s", async () => {
  const begin = performance.now();
  const node = await start();
  expect(performance.now() - begin).toBeLessThan(5_000);
  expect(node.output().match(/^Longshore is ready.*/gm)).toEqual([
    `Longshore is ready at ${node.http} (REST) and grpc://${node.grpc} (gRPC). A console: npm run repl`,
  ]);
  expect((await fetch(`${node.http}/health/ready`)).status).toBe(200);
});

test("what a node stores is for its own user alone", async () => {
  const parent = await mkdtemp(join(tmpdir(), "longshore-test-"));
  try {
    const node = await start({ DATA_DIR: join(parent, "data") });
    expect((await stat(join(parent, "data"))).mode & 0o777).toBe(0o700);
    await node.stop();
  } finally {
    await rm(parent, { recursive: true });
  }
});

test("a node at rest weighs less than 150 MB", async () => {
  // What the sources have become since `npm ci` is compiled by a first start.
  await (await start()).stop();
  const node = await start();
  const megabytes = async () => {
    const status = await readFile(`/proc/${node.process.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  };
  await waitFor(async () => (await megabytes()) < 150);
});

test("a node ends well on SIGTERM and on SIGINT", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const node = await start();
    expect(await node.stop(signal)).toBe(0);
  }
});

test("a node without a gateway says what it runs and stays", async () => {
  const node = await start({ SERVICES: "queues", NODE_ID: "worker-1" });
  expect(node.output()).toMatch(/^Longshore is ready as node worker-1, which runs queues\./m);
  expect(await node.stop()).toBe(0);
});

test("a second signal ends a stopping node at once", async () => {
  const node = await start();
  await holdRequest(node);
  node.process.kill("SIGTERM");
  while ((await fetch(`${node.http}/health/ready`)).status !== 503);
  expect(await node.stop("SIGTERM")).toBe(1);
});

test("a node that cannot finish ends when STOP_TIMEOUT is over, and says so", async () => {
  const node = await start({ STOP_TIMEOUT: "1" });
  await holdRequest(node);
  expect(await node.stop()).toBe(1);
  expect(node.output()).toContain("Longshore did not stop within STOP_TIMEOUT, 1 s");
});

test("a rejection that nobody handles is logged and ends the node", async () => {
  const hook = 'process.on("SIGUSR2", () => void Promise.reject(new Error("boom")))';
  const node = await start({ NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hook)}` });
  expect(await node.stop("SIGUSR2")).toBe(1);
  expect(node.output()).toMatch(/"level":"fatal".*boom/);
});

test.each(["HTTP_PORT", "GRPC_PORT"])("a %s that is taken is named", async (variable) => {
  const taken = createServer().listen(0, "127.0.0.1");
  open.push(taken);
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  const line = await refused({ [variable]: String(port) });
  expect(line).toMatch(new RegExp(`^Longshore cannot start: ${variable} ${port} `));
});

test("a DATA_DIR that cannot be written is named", async () => {
  expect(await refused({ DATA_DIR: "/dev/null/data" })).toMatch(/^Longshore cannot start: DATA_DIR \/dev\/null\/data /);
});

test("a setting that does not exist is named", async () => {
  const line = await refused({ EXPORT_CONCURENCY: "4" });
  expect(line).toMatch("Longshore cannot start: EXPORT_CONCURENCY is not a setting: did you mean EXPORT_CONCURRENCY?");
});

test("a service that does not exist is named", async () => {
  expect(await refused({ SERVICES: "qeues" })).toMatch('SERVICES: there is no service "qeues"; did you mean queues?');
});

test("a NATS and a MongoDB that do not answer are named, without their passwords", async () => {
  const mongodb = { MONGODB_URI: "mongodb://me:hunter2@127.0.0.1:1/x" };
  const [noNats, noMongo] = await Promise.all([
    refused({ ...mongodb, NATS_URL: "nats://me:hunter2@127.0.0.1:1" }),
    refused(mongodb),
  ]);
  expect(noNats).toMatch(/^Longshore cannot start: NATS_URL nats:\/\/\*\*\*@127\.0\.0\.1:1: /);
  expect(noMongo).toMatch(/^Longshore cannot start: MONGODB_URI/);
  expect(noMongo).not.toContain("hunter2");
});

test("npm run config reads .env below the environment", async () => {
  const directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
  try {
    await writeFile(join(directory, ".env"), "MAX_LOST=9\nHTTP_PORT=82\n");
    const script = join(import.meta.dirname, "..", "..", "scripts", "config.ts");
    const env = { PATH: process.env.PATH, HTTP_PORT: "81" };
    const { stdout } = await promisify(execFile)(process.execPath, [script], { cwd: directory, env });
    expect(stdout).toMatch(/^MAX_LOST +9 +\.env /m);
    expect(stdout).toMatch(/^HTTP_PORT +81 +environment /m);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
