/** Exports whose node dies, freezes or is told to stop in the middle: nothing is lost, doubled or left over. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import { parse } from "csv-parse/sync";
import type { ExportDetail } from "../export-client.ts";
import { ExportClient } from "../export-client.ts";
import type { SpawnedNode } from "../node.ts";
import { spawnNode } from "../node.ts";
import type { PagedSource } from "../paged-source.ts";
import { withPagedSource } from "../paged-source.ts";
import { next, QueuesClient } from "../queues-client.ts";
import { describeWith, serverUrl } from "../servers.ts";
import { firstDifference } from "../table-files.ts";
import { withTempDir } from "../temp-dir.ts";
import { ownDatabase } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const ROWS = 4_000;
const LIMIT = 20;
/** Where an export is in the middle, of 200 pages. */
const MIDDLE = 60;
const LEASE_MS = 15_000;

type Start = (env: Record<string, string>) => Promise<SpawnedNode>;

/** Runs `body` with a data directory for the nodes that it starts, and ends those whatever happens. */
function withNodes(body: (dataDir: string, start: Start) => Promise<void>): Promise<void> {
  return withTempDir(async (dataDir) => {
    const nodes: SpawnedNode[] = [];
    try {
      await body(dataDir, async (env) => {
        const node = await spawnNode({ LOG_LEVEL: "warn", DATA_DIR: dataDir, ...env });
        nodes.push(node);
        return node;
      });
    } finally {
      for (const node of nodes) node.process.kill("SIGCONT");
      await Promise.all(nodes.map((node) => node.stop("SIGKILL")));
    }
  });
}

/** A port that is free now, for a node that comes back where it was. */
async function freePort(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return String(port);
}

/** A source that takes `ms` for each page, so that a node can be caught in the middle. */
function withSlowSource(body: (source: PagedSource) => Promise<void>, ms = 10): Promise<void> {
  return withPagedSource(
    {
      total: () => ROWS,
      header: { id: "ID", name: "Name" },
      row: (id) => ({ id, name: `name ${id}` }),
      intercept: () => sleep(ms, false),
    },
    body,
  );
}

function request(url: string) {
  const source_http = { url, method: "GET", param: { limit: LIMIT } };
  return { ext_type: "CSV", title: "rows", user_id: "1", conn: 2, source_http };
}

const inTheMiddle = ({ requests }: PagedSource) => waitFor(() => requests.some(({ page }) => page === MIDDLE));

/** The source is asked again before the lease of the node that asked it has ended: whoever goes on did not wait for that. */
function goesOnAtOnce({ requests }: PagedSource): Promise<unknown> {
  const before = requests.length;
  return waitFor(() => requests.length > before, LEASE_MS - 2_000);
}

/** Every row is there once, and the store holds the one file and nothing unfinished. */
async function expectWhole(client: ExportClient, detail: ExportDetail, dataDir: string): Promise<void> {
  const [file] = await client.unzip(detail.down_url);
  const expected = Array.from({ length: ROWS }, (_, id) => [String(id), `name ${id}`]);
  expect(firstDifference(parse(file!.content), [["ID", "Name"], ...expected])).toBeUndefined();
  const entries = await readdir(join(dataDir, "objects"), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  expect(files).toHaveLength(1);
  expect(detail.down_url).toContain(`/v1/down/${files[0]}?`);
}

// Those that wait for a lease do so together.
test.concurrent("a node that is killed in the middle of an export completes it when it is back", () =>
  withNodes((dataDir, start) =>
    withSlowSource(async (source) => {
      const env = { HTTP_PORT: await freePort(), GRPC_PORT: await freePort() };
      const killed = await start(env);
      const client = new ExportClient(killed.http);
      const key = await client.submit("http", request(source.url));
      await inTheMiddle(source);
      expect(await killed.stop("SIGKILL")).toBe("SIGKILL");
      expect((await readdir(join(dataDir, "objects", ".incoming"))).length).toBe(1);
      await start(env);
      expect((await client.detail(key)).status).toBe(1);
      // Alone with its store, it knows at once that nobody has the export.
      await goesOnAtOnce(source);
      await expectWhole(client, await client.done(key), dataDir);
    }),
  ),
);

test.concurrent("an export that is taken over asks its source again only for what was not kept", () =>
  withNodes((dataDir, start) =>
    withSlowSource(async (source) => {
      const env = { HTTP_PORT: await freePort(), GRPC_PORT: await freePort(), EXPORT_CHECKPOINT: "1" };
      const killed = await start(env);
      const client = new ExportClient(killed.http);
      const pages = join(dataDir, "objects", "pages");
      const key = await client.submit("http", { ...request(source.url), conn: 1 });
      const [kept = ""] = await waitFor(async () => {
        const names = await readdir(pages).catch(() => []);
        return names.length > 0 ? names : undefined;
      });
      await killed.stop("SIGKILL");
      const [, first, last] = /\.(\d+)-(\d+)$/.exec(kept)!.map(Number);
      expect(last! - first!).toBeGreaterThan(10);
      await start(env);
      await expectWhole(client, await client.done(key), dataDir);
      const times = (page: number) => source.requests.filter((request) => request.page === page).length;
      expect(times(1)).toBe(2);
      for (let page = first!; page <= last!; page++) expect([page, times(page)]).toEqual([page, 1]);
    }, 25),
  ),
);

test("a node that is told to stop gives an export back without a loss, and completes it when it is back", () =>
  withNodes((dataDir, start) =>
    withSlowSource(async (source) => {
      const env = { HTTP_PORT: await freePort(), STOP_TIMEOUT: "1", MAX_LOST: "1" };
      const stopped = await start(env);
      const client = new ExportClient(stopped.http);
      const key = await client.submit("http", request(source.url));
      await inTheMiddle(source);
      const before = performance.now();
      expect(await stopped.stop()).toBe(0);
      expect(performance.now() - before).toBeLessThan(2_000);
      expect(source.requests.length).toBeLessThan(200);
      await start(env);
      // Given back, it waits for no lease.
      await goesOnAtOnce(source);
      await expectWhole(client, await client.done(key), dataDir);
    }),
  ));

test("what a client's worker has in hand when its node stops can be reported when that is back", () =>
  withNodes(async (_, start) => {
    const env = { HTTP_PORT: await freePort(), GRPC_PORT: await freePort(), MAX_LOST: "1" };
    const node = await start(env);
    const worker = { "x-worker-id": "worker" };
    let client = new QueuesClient(node.grpc);
    const { ID } = await client.create({ Channel: "work", Input: "x" });
    const stream = client.receive(worker);
    stream.on("error", () => undefined);
    stream.write({ Channel: "work" });
    expect(await next(stream)).toMatchObject({ Tasks: { ID } });
    expect(await node.stop()).toBe(0);
    client.close();
    client = new QueuesClient((await start(env)).grpc);
    try {
      const reported = await client.report({ ID, State: 1, Output: "done" }, worker);
      expect(reported).toEqual({ State: "200", Message: "", Data: ID });
    } finally {
      client.close();
    }
  }));

describeWith(["mongodb", "nats"], "three nodes, of which two export", () => {
  interface Cluster {
    client: ExportClient;
    workers: [SpawnedNode, SpawnedNode];
    dataDir: string;
  }

  function withCluster(more: Record<string, string>, body: (cluster: Cluster) => Promise<void>): Promise<void> {
    return withNodes(async (dataDir, start) => {
      const env = {
        MONGODB_URI: ownDatabase(),
        NATS_URL: serverUrl("nats"),
        NAMESPACE: `test-${randomBytes(6).toString("hex")}`,
        ...more,
      };
      const [gateway, ...workers] = await Promise.all([
        start({ ...env, NODE_ID: "gateway", SERVICES: "api-gateway,queues" }),
        start({ ...env, NODE_ID: "one", SERVICES: "export" }),
        start({ ...env, NODE_ID: "two", SERVICES: "export" }),
      ]);
      const client = new ExportClient(gateway.http);
      await waitFor(async () => (await client.call("GET", "/v1/export/history?user_id=1")).status === 200);
      await body({ client, workers, dataDir });
    });
  }

  /** The worker that an export's unfinished file belongs to comes first. */
  async function byWork({ workers, dataDir }: Cluster): Promise<[SpawnedNode, SpawnedNode]> {
    const [name = ""] = await readdir(join(dataDir, "objects", ".incoming"));
    const [one, two] = workers;
    const isTwo = name.includes(`.${two.process.pid}.`);
    expect(isTwo || name.includes(`.${one.process.pid}.`)).toBe(true);
    return isTwo ? [two, one] : [one, two];
  }

  test.concurrent("the other takes over from one that is killed", () =>
    withCluster({}, (cluster) =>
      withSlowSource(async (source) => {
        const { client, dataDir } = cluster;
        const key = await client.submit("http", request(source.url));
        await inTheMiddle(source);
        const [working] = await byWork(cluster);
        await working.stop("SIGKILL");
        await expectWhole(client, await client.done(key), dataDir);
      }),
    ),
  );

  test.concurrent("the other takes over from one that freezes, which does no harm when it goes on", () =>
    withCluster({}, (cluster) =>
      withSlowSource(async (source) => {
        const { client, dataDir } = cluster;
        const key = await client.submit("http", request(source.url));
        await inTheMiddle(source);
        const [working] = await byWork(cluster);
        working.process.kill("SIGSTOP");
        const detail = await client.done(key);
        working.process.kill("SIGCONT");
        await waitFor(async () => (await readdir(join(dataDir, "objects", ".incoming"))).length === 0);
        await expectWhole(client, detail, dataDir);
        expect(await client.detail(key)).toEqual({ ...detail, down_url: expect.any(String) });
      }),
    ),
  );

  test("the other takes over at once from one that is told to stop, without a loss", () =>
    withCluster({ STOP_TIMEOUT: "1", MAX_LOST: "1" }, (cluster) =>
      withSlowSource(async (source) => {
        const { client, dataDir } = cluster;
        const key = await client.submit("http", request(source.url));
        await inTheMiddle(source);
        const [working] = await byWork(cluster);
        await working.stop();
        await goesOnAtOnce(source);
        await expectWhole(client, await client.done(key), dataDir);
      }),
    ));
});
