/** Nodes for the tests: brokers in the test's own process, and whole processes. */
import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ServiceBroker, type ServiceSchema } from "moleculer";
import { loadConfig, type Config } from "../lib/config.ts";
import { loadServices } from "../lib/service-files.ts";
import { brokerOptions } from "../moleculer.config.ts";
import { NODE_FLAGS, START } from "../scripts/node-flags.ts";

export interface TestNode {
  broker: ServiceBroker;
  /** `http://127.0.0.1:54321`; empty where the node runs no gateway. */
  http: string;
  /** `127.0.0.1:54322`, as gRPC clients want it; empty where the node runs no gateway. */
  grpc: string;
  /** Stops the node and removes its data. */
  stop(): Promise<void>;
}

export interface TestNodeOptions {
  /** Schemas, or names of the program's own services; all of those where unset. */
  services?: ServiceSchema[] | string[] | "all";
  /** Differs from the defaults; ports are free ones, DATA_DIR is a new directory, logs are silent. */
  config?: Partial<Config>;
}

/** Starts a node in this process. */
export async function startNode({ services = "all", config = {} }: TestNodeOptions = {}): Promise<TestNode> {
  const directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
  const defaults = loadConfig({ HTTP_PORT: "0", GRPC_PORT: "0", LOG_LEVEL: "fatal", DATA_DIR: directory });
  const nodeId = `test-${randomUUID()}`;
  const options = brokerOptions({ ...defaults, nodeId, ...config });
  options.registry = { ...options.registry, stopDelay: config.natsUrl ? 100 : 0 };
  const broker = new ServiceBroker(options);
  const stop = async () => {
    await broker.stop();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    for (const schema of await schemas(services)) broker.createService(schema);
    await broker.start();
  } catch (error) {
    await stop();
    throw error;
  }
  const { http, grpc } = addressesOf(broker);
  return { broker, http, grpc: target(grpc), stop };
}

function schemas(services: ServiceSchema[] | string[] | "all"): Promise<ServiceSchema[]> | ServiceSchema[] {
  if (services === "all") return loadServices();
  const names = services.filter((one): one is string => typeof one === "string");
  return names.length > 0 ? loadServices(names) : (services as ServiceSchema[]);
}

function addressesOf(broker: ServiceBroker): { http: string; grpc: string } {
  const gateway = broker.getLocalService("api-gateway") as unknown as {
    addresses: { http: string; grpc: string };
  } | null;
  return gateway?.addresses ?? { http: "", grpc: "" };
}

/** A gRPC client takes host and port without the scheme. */
function target(url: string): string {
  return url.replace(/^\w+:\/\//, "");
}

export interface SpawnedNode {
  process: ChildProcess;
  http: string;
  grpc: string;
  /** All that it has printed so far, standard output and error together. */
  output(): string;
  /** Sends the signal (SIGTERM) and resolves with the exit code, or with the signal's name where that ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | string>;
  /** Resolves when the process has ended, in whatever way. */
  exit: Promise<number | string>;
}

/**
 * Starts a node as a process of its own and waits for its ready line; rejects with its output where it ends before. It
 * inherits nothing of this process's environment but PATH and HOME.
 */
export async function spawnNode(env: Record<string, string> = {}, args: string[] = []): Promise<SpawnedNode> {
  const node = await launchNode(env, args);
  const line = await Promise.race([node.ready, node.exit.then(() => undefined)]);
  if (line === undefined) throw new Error(`the node ended before it was ready:\n${node.output()}`);
  const [http = ""] = /\bhttps?:\/\/\S+\b/.exec(line) ?? [];
  const [grpc = ""] = /\bgrpcs?:\/\/\S+\b/.exec(line) ?? [];
  return { process: node.process, http, grpc: target(grpc), output: node.output, stop: node.stop, exit: node.exit };
}

/** Starts a node as a process of its own, which may never get ready: `ready` resolves with its ready line. */
export async function launchNode(
  env: Record<string, string> = {},
  args: string[] = [],
): Promise<Omit<SpawnedNode, "http" | "grpc"> & { ready: Promise<string> }> {
  const directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
  const child = spawn(process.execPath, [...NODE_FLAGS, START, ...args], {
    cwd: directory,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, HTTP_PORT: "0", GRPC_PORT: "0", ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  const ready = new Promise<string>((resolve) => {
    const read = (chunk: string) => {
      output += chunk;
      const line = /^Longshore is ready.*(?=\n)/m.exec(output);
      if (line) resolve(line[0]);
    };
    child.stdout.setEncoding("utf8").on("data", read);
    child.stderr.setEncoding("utf8").on("data", read);
  });
  const exit = once(child, "close").then(async ([code, signal]: (number | string | null)[]) => {
    await rm(directory, { recursive: true, force: true });
    return signal ?? code ?? "unknown";
  });
  const stop = (signal: NodeJS.Signals = "SIGTERM") => {
    child.kill(signal);
    return exit;
  };
  return { process: child, ready, exit, output: () => output, stop };
}
