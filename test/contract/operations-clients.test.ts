/** Operations as clients that others wrote see them: google-gax over gRPC and REST, Python's stubs, curl. */
import { execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import gax from "google-gax";
import protobuf from "protobufjs";
import { PROTO_DIRECTORIES, protoTypes } from "../grpc-client.ts";
import { startNode } from "../node.ts";
import type { ReportMessage, TaskMessage } from "../queues-client.ts";
import { QueuesClient } from "../queues-client.ts";
import { withTempDir } from "../temp-dir.ts";
import type { Cluster } from "../topologies.ts";
import { onSmallestAndLargest } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const { GetOperationRequest, ListOperationsRequest, CancelOperationRequest, DeleteOperationRequest } =
  gax.operationsProtos.google.longrunning;
type GaxOperation = gax.operationsProtos.google.longrunning.IOperation;

const SUCCESS = 1;
const FAILURE = 2;
const PROCEEDING = 6;

// google-gax would look for credentials in the cloud.
process.env.METADATA_SERVER_DETECTION = "none";

const types = protoTypes(
  "google/longrunning/operations.proto",
  "google/rpc/error_details.proto",
  "longshore/v1/operations.proto",
);
const [metadataType, resultType] = ["OperationMetadata", "QueueTaskResult"].map((name) =>
  types.lookupType(`longshore.v1.${name}`),
) as [protobuf.Type, protobuf.Type];
const decoder = (type: protobuf.Type) => (bytes: protobuf.Reader | Uint8Array) => type.decode(bytes);

/** The rules that google-gax has for REST where its user gives none, with our messages. */
function ownRules(): protobuf.Root {
  const main = createRequire(import.meta.url).resolve("google-gax");
  const root = protobuf.Root.fromJSON(JSON.parse(readFileSync(join(main, "../../protos/operations.json"), "utf8")));
  for (const [namespace, name] of [
    ["google.protobuf", "Timestamp"],
    ["google.rpc", "ErrorInfo"],
    ["longshore.v1", "OperationMetadata"],
    ["longshore.v1", "QueueTaskResult"],
  ] as const) {
    root.define(namespace, { [name]: types.lookupType(`${namespace}.${name}`).toJSON() });
  }
  return root;
}

function overGrpc({ grpc }: { grpc: string }) {
  const [servicePath, port] = grpc.split(":");
  const sslCreds = gax.grpc.credentials.createInsecure();
  return gax.lro({ grpc: gax.grpc }).operationsClient({ servicePath, port: Number(port), sslCreds });
}

function overRest(protoJson: protobuf.Root, transporterOptions: object = {}) {
  const { GoogleAuth, googleAuthLibrary, fallback } = gax;
  const auth = new GoogleAuth({ authClient: new googleAuthLibrary.PassThroughClient({ transporterOptions }) });
  const builder = fallback.lro({ auth, protoJson });
  return ({ http }: { http: string }) => {
    const { hostname, port } = new URL(http);
    return builder.operationsClient({ servicePath: hostname, port: Number(port), protocol: "http" });
  };
}

const gaxClients = [
  { name: "google-gax over gRPC", open: overGrpc, readsErrors: true },
  // As it comes, what it fetches with throws the HTTP status, before it reads the error.
  { name: "google-gax over REST", open: overRest(types), readsErrors: false },
  {
    name: "google-gax over REST by its own rules",
    open: overRest(ownRules(), { validateStatus: () => true }),
    readsErrors: true,
  },
];

/** Debian's Python, because only it finds Debian's python3-grpcio. */
const PYTHON = "/usr/bin/python3";
const hasGrpcio = spawnSync(PYTHON, ["-c", "import grpc, grpc_tools"]).status === 0;
const hasCurl = spawnSync("curl", ["--version"]).status === 0;
const run = promisify(execFile);
/** Where the Python modules of the contracts are generated. */
const generated = mkdtempSync(join(tmpdir(), "longshore-stubs-"));

beforeAll(() => {
  if (!hasGrpcio) return;
  const google = ["api/annotations", "api/client", "api/field_behavior", "api/http", "api/launch_stage", "rpc/status"];
  execFileSync(PYTHON, [
    ...["-m", "grpc_tools.protoc", `--python_out=${generated}`, `--grpc_python_out=${generated}`],
    ...PROTO_DIRECTORIES.flatMap((directory) => ["-I", directory]),
    ...[...google, "longrunning/operations"].map((name) => `google/${name}.proto`),
    "longshore/v1/operations.proto",
  ]);
});

afterAll(() => rmSync(generated, { recursive: true }));

onSmallestAndLargest("operations", (start) => {
  let cluster: Cluster;
  let queues: QueuesClient;
  let channels = 0;
  let owners = 0;
  const fresh = () => `clients-${(channels += 1)}`;
  const nameOf = ({ HashCode }: TaskMessage) => `operations/${HashCode}`;

  beforeAll(async () => {
    cluster = await start();
    queues = new QueuesClient(cluster.gateways[0].grpc);
  });

  afterAll(async () => {
    queues?.close();
    await cluster?.stop();
  });

  /** A task that a worker has. */
  async function begun(): Promise<TaskMessage> {
    const { Channel } = await queues.create({ Channel: fresh() });
    const [task] = (await queues.call<TaskMessage[]>("ReceiveTasks", { Channel, WaitSeconds: 15 })).Data;
    return task!;
  }

  async function ended(State: number, Output: string): Promise<TaskMessage> {
    const task = await begun();
    await report({ ID: task.ID, State, Output });
    return task;
  }

  async function report(report: ReportMessage): Promise<void> {
    expect(await queues.report(report)).toMatchObject({ State: "200" });
  }

  /** Five tasks of one owner: the filter for them, and their names. */
  async function five(): Promise<{ filter: string; names: string[] }> {
    const Owner = String((owners += 1));
    const names: string[] = [];
    for (let count = 0; count < 5; count += 1) names.unshift(nameOf(await queues.create({ Channel: fresh(), Owner })));
    return { filter: `metadata.owner = ${Owner} AND done = false`, names: names.sort() };
  }

  const sorted = (operations: GaxOperation[]) => operations.map(({ name }) => name).sort();

  describe.each(gaxClients)("$name", ({ open, readsErrors }) => {
    let client: gax.OperationsClient;

    beforeAll(() => {
      client = open(cluster.gateways[1]);
    });

    afterAll(() => client?.close());

    async function get(task: TaskMessage): Promise<gax.operationsProtos.google.longrunning.Operation> {
      const [operation] = await client.getOperation(new GetOperationRequest({ name: nameOf(task) }));
      return operation;
    }

    /** The operation as the helper of google-gax that asks until it is done. */
    async function polled(task: TaskMessage): Promise<gax.Operation> {
      const backoff = gax.createBackoffSettings(20, 1, 20, null, null, null, 20_000);
      const { LongrunningDescriptor } = gax;
      const descriptor = new LongrunningDescriptor(client, decoder(resultType), decoder(metadataType));
      return gax.operation(await get(task), descriptor, backoff);
    }

    test("gets an operation", async () => {
      const waiting = await get(await begun());
      expect(waiting).toMatchObject({ done: false });
      expect(waiting.result).toBeFalsy();
      const { type_url, value } = waiting.metadata!;
      expect(type_url).toBe("type.googleapis.com/longshore.v1.OperationMetadata");
      expect(metadataType.decode(value as Uint8Array)).toMatchObject({ kind: "queues.task", state: "PROCEEDING" });
      const done = await get(await ended(SUCCESS, "out"));
      expect(done).toMatchObject({ done: true, result: "response" });
      expect(resultType.decode(done.response!.value as Uint8Array)).toMatchObject({ output: "out" });
      const failed = await get(await ended(FAILURE, "no"));
      expect(failed).toMatchObject({ done: true, result: "error", error: { code: 2, message: "no" } });
    });

    test("lists all pages, in each of its ways", async () => {
      const { filter, names } = await five();
      const request = new ListOperationsRequest({ name: "operations", filter, pageSize: 2 });
      const [all] = (await client.listOperations(request)) as unknown as [GaxOperation[]];
      expect(sorted(all)).toEqual(names);
      const iterated: GaxOperation[] = [];
      for await (const operation of client.listOperationsAsync(request)) iterated.push(operation);
      expect(sorted(iterated)).toEqual(names);
      const streamed: GaxOperation[] = [];
      const stream = client.listOperationsStream(request);
      stream.on("data", (operation: GaxOperation) => streamed.push(operation));
      await once(stream, "end");
      expect(sorted(streamed)).toEqual(names);
    });

    test("lists page by page", async () => {
      const { filter, names } = await five();
      const seen: GaxOperation[] = [];
      const sizes: number[] = [];
      let request: object | null = new ListOperationsRequest({ name: "operations", filter, pageSize: 2 });
      while (request) {
        const page = (await client.listOperations(request as never, { autoPaginate: false })) as unknown;
        const [operations, next] = page as [GaxOperation[], object | null];
        seen.push(...operations);
        sizes.push(operations.length);
        request = next;
      }
      expect(sizes).toEqual([2, 2, 1]);
      expect(sorted(seen)).toEqual(names);
    });

    test("cancels, also again, and what is done", async () => {
      const task = await begun();
      const request = new CancelOperationRequest({ name: nameOf(task) });
      for (let count = 0; count < 2; count += 1) await client.cancelOperation(request);
      expect((await get(task)).error).toMatchObject({ code: 1 });
      expect(await queues.byID(task.ID)).toMatchObject({ State: "CANCEL" });
    });

    test("deletes once", async () => {
      const task = await begun();
      const request = new DeleteOperationRequest({ name: nameOf(task) });
      await client.deleteOperation(request);
      const code = readsErrors ? gax.Status.NOT_FOUND : 404;
      await expect(client.deleteOperation(request)).rejects.toMatchObject({ code });
      expect(await queues.byID(task.ID)).toMatchObject({ State: "PROCEEDING" });
    });

    test("understands our errors", async () => {
      const get = client.getOperation(new GetOperationRequest({ name: "operations/nobody" }));
      const list = client.listOperations(new ListOperationsRequest({ name: "operations", filter: "done = " }));
      const [unknown, wrong] = await Promise.allSettled([get, list]);
      if (!readsErrors) {
        expect([unknown, wrong]).toMatchObject([{ reason: { code: 404 } }, { reason: { code: 400 } }]);
        return;
      }
      expect(unknown).toMatchObject({
        reason: {
          code: gax.Status.NOT_FOUND,
          message: expect.stringContaining("there is no operation operations/nobody") as unknown,
          reason: "NOT_FOUND",
          domain: "longshore",
          errorInfoMetadata: { name: "operations/nobody" },
        },
      });
      expect(wrong).toMatchObject({
        reason: {
          code: gax.Status.INVALID_ARGUMENT,
          message: expect.stringContaining("filter: at 8: ") as unknown,
        },
      });
    });

    test("follows an operation to its response, and tells its progress", async () => {
      const task = await begun();
      const operation = await polled(task);
      const percents: number[] = [];
      operation.on("progress", ({ progressPercent }: { progressPercent: number }) => percents.push(progressPercent));
      const over = operation.promise() as Promise<[protobuf.Message, protobuf.Message, GaxOperation]>;
      for (const Progress of [40, 80]) {
        await report({ ID: task.ID, State: PROCEEDING, Progress });
        await waitFor(() => percents.includes(Progress));
      }
      await report({ ID: task.ID, State: SUCCESS, Output: "out" });
      const [result, metadata, raw] = await over;
      expect(percents).toEqual([40, 80]);
      expect(result.toJSON()).toEqual({ id: task.ID, output: "out" });
      expect(metadata).toMatchObject({ progressPercent: 100, state: "SUCCESS" });
      expect(raw).toMatchObject({ name: nameOf(task), done: true });
    });

    test("follows an operation to its error", async () => {
      const failing = await begun();
      const failed = (await polled(failing)).promise();
      await report({ ID: failing.ID, State: FAILURE, Output: "no such address" });
      await expect(failed).rejects.toMatchObject({ code: gax.Status.UNKNOWN, message: "no such address" });
      const cancelled = await polled(await begun());
      await cancelled.cancel();
      await expect(cancelled.promise()).rejects.toMatchObject({ code: gax.Status.CANCELLED });
    });
  });

  (hasGrpcio ? describe : describe.skip)(`Python's stubs${hasGrpcio ? "" : " (no grpcio here)"}`, () => {
    async function call(method: string, request: object, seconds = 10): Promise<Record<string, unknown>> {
      const script = join(import.meta.dirname, "..", "fixtures", "operations.py");
      const env = { PATH: process.env.PATH, PYTHONPATH: generated, PYTHONDONTWRITEBYTECODE: "1" };
      const args = [script, cluster.gateways[1].grpc, method, JSON.stringify(request), String(seconds)];
      return JSON.parse((await run(PYTHON, args, { env })).stdout) as Record<string, unknown>;
    }

    test("get operations", async () => {
      const task = await ended(SUCCESS, "é🦀");
      expect(await call("GetOperation", { name: nameOf(task) })).toMatchObject({
        done: true,
        metadata: { kind: "queues.task", state: "SUCCESS", progressPercent: 100, attempts: 1 },
        response: { id: task.ID, output: "é🦀" },
      });
      expect(await call("GetOperation", { name: "operations/nobody" })).toEqual({
        code: "NOT_FOUND",
        message: "there is no operation operations/nobody",
      });
    });

    test("list them in pages", async () => {
      const { filter, names } = await five();
      const first = await call("ListOperations", { filter, pageSize: 3 });
      const second = await call("ListOperations", { filter, pageSize: 3, pageToken: first["next"] });
      expect(second["next"]).toBe("");
      expect(sorted([first["operations"], second["operations"]].flat() as GaxOperation[])).toEqual(names);
    });

    test("cancel and delete", async () => {
      const task = await begun();
      const request = { name: nameOf(task) };
      expect(await call("CancelOperation", request)).toEqual({});
      expect(await call("GetOperation", request)).toMatchObject({ done: true, error: { code: 1 } });
      expect(await call("DeleteOperation", request)).toEqual({});
      expect(await call("DeleteOperation", request)).toMatchObject({ code: "NOT_FOUND" });
    });

    test("wait until it is done, or until their deadline", async () => {
      const task = await begun();
      const request = { name: nameOf(task) };
      expect(await call("WaitOperation", request, 1)).toMatchObject({ done: false });
      const wait = call("WaitOperation", { ...request, timeout: "20s" }, 20);
      await report({ ID: task.ID, State: SUCCESS, Output: "out" });
      expect(await wait).toMatchObject({ done: true, response: { output: "out" } });
    });
  });

  (hasCurl ? describe : describe.skip)(`curl${hasCurl ? "" : " (not here)"}`, () => {
    const urlOf = (path: string) => `${cluster.gateways[1].http}/v1/${path}`;

    async function curl(path: string, ...options: string[]): Promise<Record<string, unknown>> {
      return JSON.parse((await run("curl", ["-sS", ...options, urlOf(path)])).stdout) as Record<string, unknown>;
    }

    test("gets and deletes", async () => {
      const name = nameOf(await ended(SUCCESS, "out"));
      expect(await curl(name)).toMatchObject({ name, done: true, response: { output: "out" } });
      expect(await curl(name, "-X", "DELETE")).toEqual({});
      expect(await curl(name)).toMatchObject({ error: { code: 404, status: "NOT_FOUND" } });
    });

    test("lists by a filter", async () => {
      const { filter, names } = await five();
      const query = ["-G", "--data-urlencode", `filter=${filter}`, "-d", "pageSize=10"];
      const { operations, nextPageToken } = await curl("operations", ...query);
      expect([sorted(operations as GaxOperation[]), nextPageToken]).toEqual([names, ""]);
    });

    test("waits and cancels", async () => {
      const name = nameOf(await begun());
      const json = ["-H", "content-type: application/json", "-d"];
      expect(await curl(`${name}:wait`, ...json, '{"timeout": "0.1s"}')).toMatchObject({ done: false });
      const wait = curl(`${name}:wait`, "-X", "POST");
      expect(await curl(`${name}:cancel`, "-X", "POST")).toEqual({});
      expect(await wait).toMatchObject({ name, done: true, error: { code: 1 } });
      expect(await curl(`${name}:cancel`, ...json, "{}")).toEqual({});
    });

    test("sees progress and the end as server-sent events", async () => {
      const task = await begun();
      const child = spawn("curl", ["-sSN", urlOf(`${nameOf(task)}:watch`)], { stdio: ["ignore", "pipe", "inherit"] });
      const closed = once(child, "close");
      let output = "";
      child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
      const percents = () =>
        [...output.matchAll(/^data: .*"progressPercent":(\d+).*$/gm)].map(([, percent]) => percent);
      await waitFor(() => percents().length === 1);
      await report({ ID: task.ID, State: PROCEEDING, Progress: 40 });
      await waitFor(() => percents().length === 2);
      await report({ ID: task.ID, State: SUCCESS });
      expect(await closed).toEqual([0, null]);
      expect(percents()).toEqual(["0", "40", "100"]);
    });
  });
});

describe("a node that is away", () => {
  const ends: (() => unknown)[] = [];

  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  /** Nobody answers on this port; counts who tries. */
  async function nobody() {
    let tries = 0;
    const server = createServer((socket) => {
      tries += 1;
      socket.destroy();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const close = () => once(server.close(), "close");
    return { port: (server.address() as AddressInfo).port, tries: () => tries, close };
  }

  test("is tried again by google-gax until it is back", () =>
    withTempDir(async (dataDir) => {
      const before = await startNode({ config: { dataDir } });
      const queues = new QueuesClient(before.grpc);
      const [kept, deleted] = [await queues.create({ Channel: "away" }), await queues.create({ Channel: "away" })];
      queues.close();
      await before.stop();

      const { port, tries, close } = await nobody();
      const client = overGrpc({ grpc: `127.0.0.1:${port}` });
      ends.push(() => client.close());
      const get = client.getOperation(new GetOperationRequest({ name: `operations/${kept.HashCode}` }));
      const cancel = client.cancelOperation(new CancelOperationRequest({ name: `operations/${kept.HashCode}` }));
      const remove = client.deleteOperation(new DeleteOperationRequest({ name: `operations/${deleted.HashCode}` }));
      await waitFor(() => tries() > 0);
      await close();
      const node = await startNode({ config: { dataDir, grpcPort: port } });
      ends.push(() => node.stop());
      const [[operation]] = await Promise.all([get, cancel, remove]);
      expect(operation.name).toBe(`operations/${kept.HashCode}`);
      const { operations } = (await (await fetch(`${node.http}/v1/operations`)).json()) as { operations: unknown };
      expect(operations).toMatchObject([{ name: `operations/${kept.HashCode}`, error: { code: 1 } }]);
    }));
});
