/** How much of a bare grpc-js server's speed the gateway keeps: unary calls, and requests on one stream of each. */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import type { ServerDuplexStream, ServiceDefinition } from "@grpc/grpc-js";
import { Client, Server, ServerCredentials, credentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { ServiceSchema } from "moleculer";
import { ServiceBroker } from "moleculer";
import { loadConfig } from "../../lib/config.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import { brokerOptions } from "../../moleculer.config.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";

const CONTRACT = `
  syntax = "proto3";
  package bench;
  service Bench { rpc Echo(Task) returns (Task); rpc Each(stream Task) returns (stream Task); }
  message Task {
    uint64 ID = 1; uint64 Owner = 2; string State = 3; string Input = 4; string Channel = 5; string HashCode = 6;
  }
`;
const TASK = {
  ID: "7",
  Owner: "42",
  State: "WAITING",
  Input: "x".repeat(100),
  Channel: "mail",
  HashCode: "h".repeat(20),
};
const IN_FLIGHT = 64;
const ROUND_MS = 1_500;
const ROUNDS = 5;

type Task = Record<string, unknown>;
type Kind = "unary" | "each";

interface Round {
  rate: number;
  calls: number;
}

/** Of one server: calls a second, and calls a second of its thread's CPU time, which a busy machine changes less. */
interface Sample {
  rate: number;
  perCpuSecond: number;
}

interface Comparison {
  bare: Sample;
  gateway: Sample;
  /** Gateway to bare. */
  ratio: Sample;
}

/** Measures both servers in turn, the clients in a thread of their own, and prints what the gateway keeps. */
export async function run(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "longshore-bench-"));
  const proto = join(directory, "bench.proto");
  await writeFile(proto, CONTRACT);
  const bare = await startBare(proto);
  const node = await startGateway(proto, directory);
  const client = new Worker(new URL(import.meta.url), { workerData: { proto } });
  const measure = async (kind: Kind, address: string): Promise<Sample> => {
    const before = process.threadCpuUsage();
    client.postMessage({ kind, address });
    const [{ rate, calls }] = (await once(client, "message")) as [Round];
    const { user, system } = process.threadCpuUsage(before);
    return { rate, perCpuSecond: Math.round((calls * 1_000_000) / (user + system)) };
  };
  const compare = async (kind: Kind): Promise<Comparison> => {
    const samples: { bare: Sample; gateway: Sample }[] = [];
    // In turn, for the machine is not equally quick all the time; the first round is for warming up.
    for (let round = 0; round <= ROUNDS; round++) {
      samples.push({ bare: await measure(kind, bare.address), gateway: await measure(kind, node.address) });
    }
    const best = (server: "bare" | "gateway"): Sample => ({
      rate: Math.max(...samples.slice(1).map((sample) => sample[server].rate)),
      perCpuSecond: Math.max(...samples.slice(1).map((sample) => sample[server].perCpuSecond)),
    });
    const result = { bare: best("bare"), gateway: best("gateway") };
    return { ...result, ratio: ratioOf(result.gateway, result.bare) };
  };
  try {
    for (const kind of ["unary", "each"] as const) {
      const { bare, gateway, ratio } = await compare(kind);
      console.log(`${kind}: bare grpc-js ${bare.rate}/s, gateway ${gateway.rate}/s, ratio ${ratio.rate}`);
      console.log(`  a second of CPU: ${bare.perCpuSecond}, ${gateway.perCpuSecond}, ratio ${ratio.perCpuSecond}`);
    }
  } finally {
    await client.terminate();
    bare.stop();
    await node.stop();
    await rm(directory, { recursive: true });
  }
}

function ratioOf(one: Sample, other: Sample): Sample {
  const rounded = (name: keyof Sample) => Number((one[name] / other[name]).toFixed(2));
  return { rate: rounded("rate"), perCpuSecond: rounded("perCpuSecond") };
}

function contractOf(proto: string): ServiceDefinition {
  const options = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
  return loadSync(proto, options)["bench.Bench"] as unknown as ServiceDefinition;
}

async function startBare(proto: string): Promise<{ address: string; stop(): void }> {
  const server = new Server();
  server.addService(contractOf(proto), {
    Echo: (call: { request: Task }, callback: (error: null, answer: Task) => void) => callback(null, call.request),
    Each: (call: ServerDuplexStream<Task, Task>) => {
      call.on("data", (task: Task) => call.write(task));
      call.on("end", () => call.end());
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { address: `127.0.0.1:${port}`, stop: () => server.forceShutdown() };
}

async function startGateway(proto: string, dataDir: string): Promise<{ address: string; stop(): Promise<void> }> {
  const config = loadConfig({ HTTP_PORT: "0", GRPC_PORT: "0", LOG_LEVEL: "fatal", DATA_DIR: dataDir });
  const broker = new ServiceBroker(brokerOptions(config));
  const echo = ({ params }: { params: Task }): Task => params;
  broker.createService(gateway);
  broker.createService({
    name: "bench",
    mixins: [grpc({ proto, service: "bench.Bench", methods: { Each: { action: "each", inFlight: IN_FLIGHT } } })],
    actions: { echo, each: echo },
  } as unknown as ServiceSchema);
  await broker.start();
  const { addresses } = broker.getLocalService("api-gateway") as unknown as { addresses: { grpc: string } };
  return { address: addresses.grpc.replace("grpc://", ""), stop: () => broker.stop() };
}

/** The clients' side: keeps `IN_FLIGHT` calls under way for one round. */
async function measureRound(contract: ServiceDefinition, kind: Kind, address: string): Promise<Round> {
  const client = new Client(address, credentials.createInsecure());
  await new Promise<void>((resolve, reject) => {
    client.waitForReady(Date.now() + 5_000, (error) => (error ? reject(error) : resolve()));
  });
  const begin = performance.now();
  const end = begin + ROUND_MS;
  const calls = kind === "unary" ? await callUnary(client, contract, end) : await callEach(client, contract, end);
  const rate = Math.round((calls * 1000) / (performance.now() - begin));
  client.close();
  return { rate, calls };
}

async function callUnary(client: Client, contract: ServiceDefinition, end: number): Promise<number> {
  const { path, requestSerialize, responseDeserialize } = contract["Echo"]!;
  let done = 0;
  const one = () =>
    new Promise<void>((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, TASK, (error) =>
        error ? reject(error) : resolve(),
      );
    });
  const lane = async () => {
    for (; performance.now() < end; done++) await one();
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return done;
}

function callEach(client: Client, contract: ServiceDefinition, end: number): Promise<number> {
  const { path, requestSerialize, responseDeserialize } = contract["Each"]!;
  return new Promise((resolve, reject) => {
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    let done = 0;
    stream.on("data", () => {
      done++;
      if (performance.now() < end) stream.write(TASK);
      else stream.end();
    });
    stream.on("error", reject);
    stream.on("end", () => resolve(done));
    for (let sent = 0; sent < IN_FLIGHT; sent++) stream.write(TASK);
  });
}

if (!isMainThread && parentPort) {
  const port = parentPort;
  const contract = contractOf((workerData as { proto: string }).proto);
  port.on("message", ({ kind, address }: { kind: Kind; address: string }) => {
    void measureRound(contract, kind, address).then((round) => port.postMessage(round));
  });
}
