/** Exports as operations: what begins one, and what it holds at its end. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { TestClient } from "../grpc-client.ts";
import type { Operation } from "../operations-client.ts";
import { OperationsClient } from "../operations-client.ts";
import { withPagedSource } from "../paged-source.ts";
import { sevenZip } from "../table-files.ts";
import { withTempDir } from "../temp-dir.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";

const ROWS = 2_500;
const SOURCE = { total: () => ROWS, header: { id: "Id" }, row: (id: number) => ({ id }) };

onEveryTopology("exports as operations", (start) => {
  let cluster: Cluster;
  let exports: TestClient;
  let operations: OperationsClient;

  beforeAll(async () => {
    cluster = await start();
    const [first, second] = cluster.gateways;
    exports = new TestClient("longshore/v1/export.proto", "longshore.v1.Exports", first.grpc);
    operations = new OperationsClient(second.http, second.grpc);
  });

  afterAll(async () => {
    exports?.close();
    operations?.close();
    await cluster?.stop();
  });

  async function begin(url: string, more: object = {}): Promise<string> {
    const request = { ext_type: "CSV", title: "Orders", user_id: "7", zip: false, source_http: { url }, ...more };
    const { message } = await exports.unary("ExportHttp", request);
    return message["name"] as string;
  }

  async function end(name: string): Promise<Operation> {
    return (await operations.both("WaitOperation", { name, timeout: 20 })) as Operation;
  }

  test("an RPC answers the operation at once, and that ends with the file", async () => {
    await withPagedSource(SOURCE, async ({ url }) => {
      const name = await begin(url);
      const { done, metadata, response } = await end(name);
      expect(done).toBe(true);
      const counts = { doneUnits: `${ROWS}`, totalUnits: `${ROWS}`, progressPercent: 100 };
      expect(metadata).toMatchObject({ kind: "export.http", state: "SUCCESS", ...counts });
      const { downloadUrl, downloadExpireTime, bytes, ...file } = response!;
      const type = "type.googleapis.com/longshore.v1.ExportResult";
      expect(file).toMatchObject({ "@type": type, fileName: "Orders.csv", rows: `${ROWS}`, unmappable: "0" });
      expect(Date.parse(downloadExpireTime as string)).toBeGreaterThan(Date.now());
      const content = await (await fetch(downloadUrl as string)).text();
      expect(content.trimEnd().split("\r\n")).toHaveLength(ROWS + 1);
      expect(String(Buffer.byteLength(content))).toBe(bytes);
      const found = async (filter: string) =>
        (await operations.list({ filter: `name = "${name}" AND ${filter}` })).operations.length;
      expect(await found(`metadata.done_units = ${ROWS} AND metadata.total_units >= ${ROWS}`)).toBe(1);
      expect(await found(`metadata.done_units > ${ROWS}`)).toBe(0);
      // The same request is the same operation.
      expect(await begin(url)).toBe(name);
    });
  });

  test("a password encrypts the file, and is told by nobody", async () => {
    await withPagedSource(SOURCE, async ({ url }) => {
      const password = "correct horse battery";
      const operation = await end(await begin(url, { zip: true, password }));
      expect(JSON.stringify(operation)).not.toContain(password);
      const bytes = await (await fetch(operation.response!["downloadUrl"] as string)).bytes();
      await withTempDir(async (directory) => {
        const path = join(directory, "a.zip");
        await writeFile(path, bytes);
        expect(sevenZip("t", "-pwrong password", path)).toMatchObject({ code: 2 });
        expect(sevenZip("t", `-p${password}`, path)).toMatchObject({ code: 0 });
      });
    });
    await expect(begin("http://127.0.0.1:1/x", { password: "short", zip: true })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining("password"),
    });
  });

  test("what is sent with each page reaches the source as it was given", async () => {
    await withPagedSource(SOURCE, async ({ url, requests }) => {
      const field = (value: object) => ({ fields: value });
      const param = field({ shop: { numberValue: 5 }, of: { listValue: { values: [{ stringValue: "x" }] } } });
      await end(await begin("", { source_http: { url, method: "POST", header: { "x-key": "k" }, param } }));
      expect(requests[0]).toMatchObject({ method: "POST", body: { shop: 5, of: ["x"] } });
      expect(requests[0]!.headers["x-key"]).toBe("k");
    });
  });

  test("a request that is wrong names its field, and begins nothing", async () => {
    await expect(begin("ftp://127.0.0.1/x")).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining("source_http.url"),
    });
    await expect(begin("http://127.0.0.1:1/x", { source_http: null })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining("source_http"),
    });
  });

  test("a source that fails is the operation's error, with the page that failed", async () => {
    const intercept = (_: unknown, response: { writeHead(code: number): { end(): void } }) => {
      response.writeHead(404).end();
      return true;
    };
    await withPagedSource({ ...SOURCE, intercept }, async ({ url }) => {
      const { error, metadata } = await end(await begin(url));
      expect(metadata).toMatchObject({ state: "FAILURE" });
      expect(error!.message).toMatch(/page 1/);
      expect(error!.code).not.toBe(status.UNKNOWN);
    });
  });
});
