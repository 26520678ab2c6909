/** How exports end other than by a file: failures, cancels; and who is told of any end. */
import { createHmac } from "node:crypto";
import { readdir } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { configOf } from "../../lib/config.ts";
import { ExportClient } from "../export-client.ts";
import type { SunkRequest } from "../http-sink.ts";
import { withHttpSink } from "../http-sink.ts";
import type { TaskView } from "../../services/queues/task.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import type { PagedSource, PagedSourceOptions } from "../paged-source.ts";
import { withPagedSource } from "../paged-source.ts";
import type { TaskMessage } from "../queues-client.ts";
import { QueuesClient } from "../queues-client.ts";
import { withTempDir } from "../temp-dir.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const SECRET = "a secret of at least 32 characters";
const ROWS: PagedSourceOptions = { total: () => 1_000, header: { id: "ID" }, row: (id) => ({ id }) };

let requests = 0;

function request(url: string, more: object = {}) {
  return {
    timestamp: (requests += 1),
    ext_type: "CSV",
    title: "rows",
    user_id: "7",
    callback: "",
    source_http: { url, method: "GET", header: {}, param: { limit: 10 } },
    ...more,
  };
}

/** What lies in the object store under an export's key, finished or not. */
async function filesOf({ broker }: TestNode, key: string): Promise<string[]> {
  const entries = await readdir(join(configOf(broker).dataDir, "objects"), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.filter((path) => path.includes(key) || path.includes("/.incoming/"));
}

/** Runs `body` while an export waits for pages that never come. */
async function withHangingExport(
  client: ExportClient,
  more: object,
  body: (key: string, source: PagedSource, hanging: Set<ServerResponse>) => Promise<void>,
): Promise<void> {
  const hanging = new Set<ServerResponse>();
  const intercept: PagedSourceOptions["intercept"] = ({ page }, response) => {
    if (page < 50) return false;
    hanging.add(response);
    response.on("close", () => hanging.delete(response));
    return true;
  };
  await withPagedSource({ ...ROWS, intercept }, async (source) => {
    const key = await client.submit("http", request(source.url, more));
    await waitFor(() => hanging.size === 8);
    await body(key, source, hanging);
  });
}

onEveryTopology("the end of an export", (start) => {
  let cluster: Cluster;
  let client: ExportClient;
  /** Through another gateway, where there is one. */
  let other: ExportClient;
  let queues: QueuesClient;

  beforeAll(async () => {
    // Pages are kept from the first moment on: what is left of them is seen below.
    cluster = await start({ exportCallbackSecret: SECRET, exportCheckpoint: 1 });
    client = new ExportClient(cluster.gateways[0].http);
    other = new ExportClient(cluster.gateways[1].http);
    queues = new QueuesClient(cluster.gateways[1].grpc);
  });

  afterAll(async () => {
    queues?.close();
    await cluster?.stop();
  });

  const worker = () => cluster.nodes.at(-1)!;

  describe("by a source", () => {
    const pagetag = { page: 50, limit: 10, total: 1_000, total_page: 100 };

    test.each<[string, (response: ServerResponse) => unknown, string | RegExp]>([
      [
        "500",
        (response) => response.writeHead(500).end("broken"),
        "page 50: the source answered 500: broken (3 tries)",
      ],
      ["HTML", (response) => response.end("<html>down</html>"), 'page 50: the answer is not JSON: "<html>down</html>"'],
      [
        "a page without pagetag",
        (response) => response.end(JSON.stringify({ errcode: 0, data: { data: [{ id: "ID" }] } })),
        "page 50: data.pagetag must be an object, and is missing",
      ],
      [
        "an errcode",
        (response) => response.end(JSON.stringify({ errcode: 7, msg: "no rights" })),
        "page 50: the source answered errcode 7: no rights",
      ],
      [
        "rows that are none",
        (response) => response.end(JSON.stringify({ errcode: 0, data: { data: [{ id: "ID" }, 5], pagetag } })),
        "page 50: row 1 must be an object, and is a number",
      ],
      ["nothing", (response) => response.destroy(), /^page 50: the source cannot be reached: .* \(3 tries\)$/],
      [
        "a redirect into the cloud's metadata",
        (response) => response.writeHead(302, { location: "http://169.254.169.254/latest/meta-data" }).end(),
        /^page 50: requests to 169\.254\.169\.254 are not allowed: it is a link-local, metadata/,
      ],
    ])("that answers %s is a failure that names the page and leaves no file", async (_, answer, reason) => {
      const source: PagedSourceOptions = {
        ...ROWS,
        intercept: ({ page }, response) => page === 50 && !!answer(response),
      };
      await withPagedSource(source, async ({ url }) => {
        const key = await client.submit("http", request(url));
        const detail = await other.ended(key);
        const fail_reason = typeof reason === "string" ? reason : expect.stringMatching(reason);
        expect(detail).toMatchObject({ status: 3, fail_reason, down_url: "", bytes: 0, sha256: "" });
        expect(await filesOf(worker(), key)).toEqual([]);
      });
    });

    test("on an address that no export has business with is a failure that says so", async () => {
      const detail = await client.ended(await client.submit("http", request("http://169.254.169.254/latest")));
      expect(detail).toMatchObject({
        status: 3,
        fail_reason:
          "page 1: requests to 169.254.169.254 are not allowed: it is a link-local, metadata, multicast or reserved address",
      });
    });

    test("of rows in the request that are none is a failure that names the row", async () => {
      const { source_http: _, ...body } = request("");
      const detail = await client.ended(await client.submit("raw", { ...body, source_raw: '[{"a":"A"},5]' }));
      expect(detail).toMatchObject({
        status: 3,
        fail_reason: "the rows sent: row 1 must be an object, and is a number",
      });
    });
  });

  describe("by a cancel", () => {
    const cancels: [string, (key: string) => Promise<unknown>][] = [
      ["POST /v1/export/cancel", (key) => other.call("POST", "/v1/export/cancel", { key })],
      [
        "CancelTaskByID",
        async (key) => {
          const answer = await queues.call("CancelTaskByID", { ID: (await client.detail(key)).id });
          expect(answer.State).toBe("200");
        },
      ],
    ];

    test.each(cancels)("of %s comes within a second and leaves neither file nor kept pages", (_, cancel) =>
      withHangingExport(client, {}, async (key, source, hanging) => {
        expect(await client.detail(key)).toMatchObject({ status: 1, fail_reason: "", down_url: "" });
        // The file that is being written, and pages that are kept.
        await waitFor(async () => {
          const files = await filesOf(worker(), key);
          return files.some((path) => path.includes("/pages/")) && files.some((path) => path.includes("/.incoming/"));
        });
        const before = performance.now();
        await cancel(key);
        await waitFor(() => hanging.size === 0, 1_000);
        await waitFor(async () => (await filesOf(worker(), key)).length === 0, 1_000);
        expect(performance.now() - before).toBeLessThan(1_500);
        expect(await client.detail(key)).toMatchObject({ status: 4, fail_reason: "cancelled", down_url: "" });
        // Its file is gone, so the crawl is over: nothing is left that could ask.
        expect(source.requests.length).toBe(57);
      }),
    );

    test("answers the key; one that has ended stays as it is", () =>
      withPagedSource(ROWS, async ({ url }) => {
        const body = request(url);
        const key = await client.submit("http", body);
        const { id } = await client.done(key);
        const refused = await client.call("POST", "/v1/export/cancel", { key });
        expect(refused).toMatchObject({
          status: 400,
          body: { errcode: 400, msg: `task ${id} has ended: its state is SUCCESS` },
        });
        expect((await client.detail(key)).status).toBe(2);
      }));

    test("is undone by the same request again", () =>
      withHangingExport(client, {}, async (key, { url }) => {
        const answer = await client.call("POST", "/v1/export/cancel", { key });
        expect(answer.body).toMatchObject({ errcode: 0, msg: "", data: { hash_key: key } });
        const again = request(url, { timestamp: requests });
        expect(await client.submit("http", again)).toBe(key);
        expect(await client.detail(key)).toMatchObject({ status: 1, operation: `operations/${key}-2` });
        await client.call("POST", "/v1/export/cancel", { key });
        expect((await client.ended(key)).status).toBe(4);
      }));
  });

  test("shows how far it has come while it runs", () =>
    withHangingExport(client, {}, async (key) => {
      const detail = await waitFor(async () => {
        const one = await other.detail(key);
        return one.pages === 49 ? one : undefined;
      });
      expect(detail).toMatchObject({ progress: 49, total_pages: 100, rows: 490, total_rows: 1_000 });
      await client.call("POST", "/v1/export/cancel", { key });
    }));

  test("what it was asked with does not show through standard.Queues", () =>
    withPagedSource({ ...ROWS, total: () => 10 }, async ({ url, requests: pages }) => {
      const source_http = { url, header: { authorization: "Bearer hunter2" }, param: { limit: 10 } };
      const key = await client.submit("http", request(url, { source_http }));
      const { id } = await client.done(key);
      expect(pages[0]?.headers.authorization).toBe("Bearer hunter2");
      for (const answer of [
        await queues.call<TaskMessage>("QueryTaskByID", { ID: id }),
        await queues.call<TaskMessage>("QueryTaskByHashCode", { HashCode: key }),
        await queues.call<TaskMessage[]>("QueryTaskByOwner", { Owner: 0, Limit: 1_000 }),
      ]) {
        expect(answer.State).toBe("200");
        expect(JSON.stringify(answer.Data)).toContain(key);
        expect(JSON.stringify(answer.Data)).not.toContain("hunter2");
      }
      // Nor can it be read where the task is kept.
      const stored: { input: string } = await cluster.gateways[0].broker.call("queues.get", { hash: key });
      expect(stored.input).toContain(url);
      expect(stored.input).not.toContain("hunter2");
    }));

  describe("tells its callback", () => {
    const outcome = async (hash: string) => {
      const ended = async () => {
        const { Data } = await queues.call<TaskMessage>("QueryTaskByHashCode", { HashCode: `${hash}.callback` });
        return ["SUCCESS", "FAILURE", "CANCEL"].includes(Data.State) ? Data : undefined;
      };
      return waitFor(ended);
    };

    function expectSigned({ headers, text }: SunkRequest): void {
      const timestamp = String(headers["x-longshore-timestamp"]);
      expect(Math.abs(Date.now() / 1_000 - Number(timestamp))).toBeLessThan(60);
      const digest = createHmac("sha256", SECRET).update(`${timestamp}.${text}`).digest("hex");
      expect(headers["x-longshore-signature"]).toBe(`sha256=${digest}`);
    }

    test("of success, once, with log, file and link, signed", () =>
      withHttpSink(
        () => 204,
        (sink) =>
          withPagedSource(ROWS, async ({ url }) => {
            const body = request(url, { callback: sink.url, title: "完成" });
            const key = await client.submit("http", body);
            const detail = await client.done(key);
            expect(await outcome(key)).toMatchObject({
              State: "SUCCESS",
              Output: "delivered",
              RetryCount: "0",
              Input: "",
            });
            expect((await other.detail(key)).callback).toEqual({ state: "delivered", tries: 1, fail_reason: "" });
            expect(await other.submit("http", body)).toBe(key);
            expect(sink.requests).toHaveLength(1);
            const [told] = sink.requests as [SunkRequest];
            expect(told).toMatchObject({ method: "POST", headers: { "content-type": "application/json" } });
            expectSigned(told);
            const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
            const sent = JSON.parse(told.text) as { down_url: string };
            expect(sent).toEqual({
              log: {
                id: detail.id,
                hash_key: key,
                title: "完成",
                ext_type: "CSV",
                source_type: "http",
                param: '{"limit":10}',
                user_id: "7",
                callback: sink.url,
                status: 2,
                fail_reason: "",
                created_at: detail.created_at,
                updated_at: time,
              },
              file: {
                id: detail.id,
                hash_key: key,
                path: `exports/${key}.zip`,
                type: "CSV",
                create_at: time,
                update_at: time,
              },
              down_url: expect.stringContaining(`/v1/down/${key}.zip?`),
            });
            expect((await client.download(sent.down_url)).status).toBe(200);
          }),
      ));

    test("of failure, and tries again where that is answered 500", () =>
      withHttpSink(
        (count) => (count < 2 ? 500 : 200),
        async (sink) => {
          const source: PagedSourceOptions = { ...ROWS, intercept: (_, response) => !!response.writeHead(404).end() };
          await withPagedSource(source, async ({ url }) => {
            const key = await client.submit("http", request(url, { callback: sink.url }));
            expect(await outcome(key)).toMatchObject({ State: "SUCCESS", Output: "delivered", RetryCount: "1" });
            expect(sink.requests).toHaveLength(2);
            for (const told of sink.requests) {
              expectSigned(told);
              expect(JSON.parse(told.text)).toMatchObject({
                log: { status: 3, fail_reason: "page 1: the source answered 404" },
                file: null,
                down_url: "",
              });
            }
          });
        },
      ));

    test("of a cancel", () =>
      withHttpSink(
        () => 200,
        (sink) =>
          withHangingExport(client, { callback: sink.url }, async (key) => {
            await client.call("POST", "/v1/export/cancel", { key });
            expect(await outcome(key)).toMatchObject({ State: "SUCCESS", Output: "delivered" });
            expect(sink.requests).toHaveLength(1);
            expect(JSON.parse(sink.requests[0]!.text)).toMatchObject({
              log: { status: 4, fail_reason: "cancelled", hash_key: key },
              file: null,
              down_url: "",
            });
          }),
      ));
  });
});

describe("a callback that is never taken", () => {
  let node: TestNode;

  beforeAll(async () => {
    node = await startNode();
  });

  afterAll(() => node?.stop());

  test("is given up after 5 tries, which shows why", () =>
    withHttpSink(
      () => 500,
      async (sink) => {
        const client = new ExportClient(node.http);
        const { source_http: _, ...body } = request("", { callback: sink.url, source_raw: '[{"a":"A"}]' });
        const key = await client.submit("raw", body);
        const task = await waitFor(async () => {
          const { body } = await client.call("GET", `/v1/queues/tasks/by-hash/${key}.callback`);
          const { Data } = body as unknown as { Data: TaskMessage };
          return Data.State === "FAILURE" ? Data : undefined;
        });
        expect(task).toMatchObject({ RetryCount: "4", Output: "the callback was answered with HTTP 500" });
        expect(sink.requests).toHaveLength(5);
        expect(sink.requests[0]!.headers).not.toHaveProperty("x-longshore-signature");
        expect(await client.detail(key)).toMatchObject({
          status: 2,
          callback: { state: "failed", tries: 5, fail_reason: "the callback was answered with HTTP 500" },
        });
      },
    ));
});

describe("a queue whose node runs no export", () => {
  test("keeps what exports were asked with to itself, and their tasks from others' workers", () =>
    withTempDir(async (dataDir) => {
      const before = await startNode({ services: ["api-gateway", "queues"], config: { dataDir } });
      const input = JSON.stringify({ source: { header: { authorization: "Bearer hunter2" } } });
      const params = { key: "f".repeat(32), channel: "export.http", input };
      const { task } = await before.broker.call<{ task: TaskView }, object>("queues.createRun", params);
      await before.stop();
      const node = await startNode({ services: ["api-gateway", "queues"], config: { dataDir } });
      try {
        const client = new ExportClient(node.http);
        const shown = await client.call("GET", `/v1/queues/tasks/${task.id}`);
        expect(shown.body).toMatchObject({ Data: { Channel: "export.http", State: "WAITING", Input: "" } });
        const message = "channel export.http belongs to a service of Longshore";
        for (const [path, field] of [
          ["channels/export.http:receive", "Channel"],
          [`tasks/${task.id}:report`, "ID"],
          [`tasks/${task.id}:release`, "ID"],
        ]) {
          const refused = await client.call("POST", `/v1/queues/${path}`, { State: 1 });
          expect(refused).toMatchObject({ status: 400, body: { State: "400", Message: `${field}: ${message}` } });
        }
        const follower = { Task: { Channel: "mine", Next: task.id } };
        expect(await client.call("POST", "/v1/queues/tasks", follower)).toMatchObject({
          status: 400,
          body: { Message: `Task.Next: task ${task.id} belongs to a service of Longshore` },
        });
        expect((await client.call("GET", `/v1/queues/tasks/${task.id}`)).body).toMatchObject({
          Data: { State: "WAITING" },
        });
      } finally {
        await node.stop();
      }
    }));
});
