/** NATS or MongoDB that go away and come back: what is called meanwhile ends, and all goes on by itself afterwards. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import type { ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { viewError } from "../../lib/errors.ts";
import { ExportClient } from "../export-client.ts";
import { startNode } from "../node.ts";
import type { PagedSource } from "../paged-source.ts";
import { withPagedSource } from "../paged-source.ts";
import type { TaskMessage } from "../queues-client.ts";
import { QueuesClient } from "../queues-client.ts";
import { describeWith, serverUrl } from "../servers.ts";
import type { TcpProxy } from "../tcp-proxy.ts";
import { withTcpProxy } from "../tcp-proxy.ts";
import { ownDatabase } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const CHANNEL = "work";
const PAGES = 100;
const ROWS = 1_000;
const EXPORT_LEASE_MS = 15_000;

/** Long enough to see that a connection was reset: what is sent by then is lost with it. */
const SEEN_MS = 500;

const portOf = (url: string) => Number(new URL(url).port);

/** A gateway and a node with the queues, which reach each other and MongoDB only by ways that can be cut. */
interface Stage {
  nats: TcpProxy;
  mongodb: TcpProxy;
  client: QueuesClient;
  /** Creates a task; its input once it is acknowledged, else what is told. */
  create(): Promise<string | Refusal>;
  /** Creates one until one is acknowledged. */
  createAtLast(): Promise<void>;
}

interface Refusal {
  code: string;
  text: string;
}

/** A database of its own, reached through the proxy. */
function databaseVia({ port }: TcpProxy): string {
  const url = new URL(ownDatabase());
  url.port = String(port);
  url.search = "directConnection=true";
  return url.href;
}

function withSlowSource(body: (source: PagedSource) => Promise<void>): Promise<void> {
  return withPagedSource(
    {
      total: () => ROWS,
      header: { id: "ID" },
      row: (id) => ({ id }),
      intercept: () => sleep(50, false),
    },
    body,
  );
}

function exportOf(url: string) {
  const source_http = { url, method: "GET", param: { limit: ROWS / PAGES } };
  return { ext_type: "CSV", title: "rows", user_id: "1", conn: 1, source_http };
}

async function onStage(body: (stage: Stage) => Promise<void>): Promise<void> {
  await withTcpProxy(portOf(serverUrl("nats")), (nats) =>
    withTcpProxy(portOf(serverUrl("mongodb")), async (mongodb) => {
      const config = {
        natsUrl: `nats://127.0.0.1:${nats.port}`,
        mongodbUri: databaseVia(mongodb),
        namespace: `test-${randomBytes(6).toString("hex")}`,
      };
      const nodes = await Promise.all([
        startNode({ services: ["api-gateway"], config }),
        startNode({ services: ["queues"], config }),
      ]);
      await nodes[0].broker.waitForServices("queues");
      const client = new QueuesClient(nodes[0].grpc);
      const acknowledged = new Set<string>();
      const create = async () => {
        const Input = randomBytes(8).toString("hex");
        try {
          await client.create({ Channel: CHANNEL, Input });
        } catch (error) {
          return refusalOf(error as Error);
        }
        acknowledged.add(Input);
        return Input;
      };
      const createAtLast = async () => {
        await waitFor(async () => typeof (await create()) === "string");
      };
      try {
        await createAtLast();
        await body({ nats, mongodb, client, create, createAtLast });
        await expectAll(client, acknowledged);
      } finally {
        client.close();
        await Promise.all(nodes.map((node) => node.stop()));
      }
    }),
  );
}

/** The outcome of a queue's answer, or of the call. */
function refusalOf(error: Error): Refusal {
  const { code, details } = error as ServiceError;
  return code === undefined ? { code: "answer", text: error.message } : { code: status[code], text: details };
}

/** Whatever was acknowledged is received; what was not may be there too. */
async function expectAll(client: QueuesClient, inputs: Set<string>): Promise<void> {
  const left = new Set(inputs);
  const stream = client.receive({ "x-worker-id": "worker" });
  stream.on("error", () => undefined);
  stream.on("data", ({ Tasks }: { Tasks: { Input: string } }) => {
    left.delete(Tasks.Input);
    stream.write({ Channel: CHANNEL });
  });
  for (let credit = 0; credit < 10; credit += 1) stream.write({ Channel: CHANNEL });
  await waitFor(() => left.size === 0);
  stream.cancel();
}

describeWith(["mongodb", "nats"], "an outage", () => {
  test.concurrent("of NATS for a moment only delays a call that begins in it", () =>
    onStage(async ({ nats, create }) => {
      await nats.goDown();
      await sleep(SEEN_MS);
      const creating = create();
      await sleep(SEEN_MS);
      await nats.comeBack();
      expect(await creating).toEqual(expect.any(String));
    }),
  );

  test.concurrent("of NATS that nobody is told of ends, and tells clients nothing of the inside", () =>
    onStage(async ({ nats, create, createAtLast }) => {
      nats.goDeaf();
      const refusal = await create();
      expect(["DEADLINE_EXCEEDED", "UNAVAILABLE"]).toContain((refusal as Refusal).code);
      expect((refusal as Refusal).text).toMatch(/^(the call took longer|the node that served|no node offers)/);
      await createAtLast();
    }),
  );

  test.concurrent("of NATS is UNAVAILABLE where it lasts, and keeps no node from stopping", () =>
    withTcpProxy(portOf(serverUrl("nats")), async (nats) => {
      const config = { natsUrl: `nats://127.0.0.1:${nats.port}`, namespace: `test-${randomBytes(6).toString("hex")}` };
      const there = await startNode({ services: [{ name: "there", actions: { echo: () => "echo" } }], config });
      const node = await startNode({ services: [], config });
      await node.broker.waitForServices("there");
      await nats.goDown();
      await sleep(SEEN_MS);
      const refusal = (params: object) => node.broker.call("there.echo", params).catch(viewError);
      const message = "the other nodes cannot be reached: the connection to NATS is lost";
      const waiting = refusal({});
      const large = { bytes: Buffer.alloc(40 * 1_048_576) };
      const refused = await Promise.all([refusal(large), refusal(large)]);
      expect(refused).toContainEqual(expect.objectContaining({ message: `${message}, and much waits for it` }));
      expect(await waiting).toMatchObject({ type: "UNAVAILABLE", message });
      await Promise.all([node.stop(), there.stop()]);
    }),
  );

  test.concurrent("of MongoDB is UNAVAILABLE until it is back", () =>
    onStage(async ({ mongodb, create, createAtLast }) => {
      await mongodb.goDown();
      for (let attempt = 0; attempt < 2; attempt += 1) {
        expect(await create()).toMatchObject({
          code: "UNAVAILABLE",
          text: expect.stringContaining("MONGODB_URI: the database does not answer"),
        });
      }
      await mongodb.comeBack();
      await createAtLast();
    }),
  );

  test.concurrent("of MongoDB takes no task from a worker that comes back", () =>
    onStage(async ({ mongodb, client, createAtLast }) => {
      await client.create({ Channel: "in hand" });
      const receive = { Channel: "in hand", Max: 1, LeaseSeconds: 3 };
      const [task] = (await client.call<TaskMessage[]>("ReceiveTasks", receive)).Data;
      await mongodb.goDown();
      await sleep(9_000);
      await mongodb.comeBack();
      await createAtLast();
      // The lease ran out long ago, and it is looked for such at least every 1.25 s.
      await sleep(3_000);
      expect(await client.report({ ID: task!.ID, State: 1, Output: "done" })).toMatchObject({ State: "200" });
    }),
  );

  test.concurrent("of MongoDB ends a receive stream, and leaves its worker what it has in hand", () =>
    onStage(async ({ mongodb, client, createAtLast }) => {
      const worker = { "x-worker-id": "worker" };
      await client.create({ Channel: "in hand" });
      const stream = client.receive(worker);
      const ended = once(stream, "error");
      // One for the task, one that waits.
      for (let credit = 0; credit < 2; credit += 1) stream.write({ Channel: "in hand" });
      const [{ Tasks }] = (await once(stream, "data")) as [{ Tasks: TaskMessage }];
      await mongodb.goDown();
      expect(await ended).toMatchObject([{ code: status.UNAVAILABLE }]);
      await mongodb.comeBack();
      await createAtLast();
      // By now the queues have learned that the stream has ended.
      await sleep(3_000);
      expect(await client.report({ ID: Tasks.ID, State: 1, Output: "done" }, worker)).toMatchObject({ State: "200" });
    }),
  );

  test.concurrent("of MongoDB longer than its lease makes an export that ends in it no work twice", () =>
    withTcpProxy(portOf(serverUrl("mongodb")), async (mongodb) => {
      const node = await startNode({ config: { mongodbUri: databaseVia(mongodb) } });
      try {
        await withSlowSource(async (source) => {
          const exports = new ExportClient(node.http);
          const key = await exports.submit("http", exportOf(source.url));
          await waitFor(() => source.requests.length > 5);
          await mongodb.goDown();
          await waitFor(() => source.requests.length === PAGES);
          await sleep(EXPORT_LEASE_MS + 5_000);
          await mongodb.comeBack();
          expect(await exports.done(key)).toMatchObject({ rows: ROWS });
          expect(source.requests).toHaveLength(PAGES);
        });
      } finally {
        await node.stop();
      }
    }),
  );

  test.concurrent("of MongoDB that nobody is told of ends", () =>
    onStage(async ({ mongodb, create, createAtLast }) => {
      mongodb.goDeaf();
      await create();
      await createAtLast();
    }),
  );
});
