/** The link to an export's file: who may follow it, and what comes. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { configOf } from "../../lib/config.ts";
import { signPath } from "../../lib/objects/signed-url.ts";
import { signingKey } from "../../lib/signing-key.ts";
import type { ExportDetail } from "../export-client.ts";
import { ExportClient } from "../export-client.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";

onEveryTopology("an export's download", (start) => {
  let cluster: Cluster;
  let client: ExportClient;
  let detail: ExportDetail;
  let file: Buffer;

  const body = (more: object) => ({
    ext_type: "CSV",
    title: "季度 报表/1",
    user_id: "1",
    source_raw: JSON.stringify([{ a: "A" }, ...Array.from({ length: 500 }, (_, a) => ({ a }))]),
    ...more,
  });

  beforeAll(async () => {
    cluster = await start();
    client = new ExportClient(cluster.gateways[0].http);
    detail = await client.done(await client.submit("raw", body({})));
    file = Buffer.from(await (await client.download(detail.down_url)).arrayBuffer());
  });

  afterAll(() => cluster?.stop());

  const get = async (headers: Record<string, string> = {}, method = "GET") => {
    const response = await client.download(detail.down_url, { method, headers });
    const bytes = Buffer.from(await response.arrayBuffer());
    return { status: response.status, bytes, headers: response.headers };
  };

  test("is the file that detail tells of, under the export's key", async () => {
    const { status, bytes, headers } = await get();
    expect(status).toBe(200);
    expect(bytes.length).toBe(detail.bytes);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(detail.sha256);
    const name = `${detail.hash_key}.zip`;
    expect(Object.fromEntries(headers)).toMatchObject({
      "content-type": "application/zip",
      "content-length": String(bytes.length),
      "content-disposition": `attachment; filename="${name}"; filename*=UTF-8''${name}`,
      "accept-ranges": "bytes",
    });
  });

  test("leads to the node's own gateway where it has one", () => {
    if (cluster.nodes.length === 1) expect(new URL(detail.down_url).origin).toBe(cluster.gateways[0].http);
    expect(new URL(detail.down_url).pathname).toBe(`/v1/down/${detail.hash_key}.zip`);
  });

  test("can be followed on any gateway", async () => {
    const response = await new ExportClient(cluster.gateways[1].http).download(detail.down_url);
    expect(Buffer.from(await response.arrayBuffer()).equals(file)).toBe(true);
  });

  test("of the file itself has the title for its name", async () => {
    const plain = await client.done(await client.submit("raw", body({ zip: false })));
    const response = await client.download(plain.down_url);
    const encoded = encodeURIComponent("季度 报表_1.csv");
    expect(response.headers.get("content-disposition")).toMatch(`; filename*=UTF-8''${encoded}`);
    expect(response.headers.get("content-type")).toBe("text/csv; charset=utf-8");
    expect((await response.text()).split("\r\n").slice(0, 3)).toEqual(["A", "0", "1"]);
  });

  test("goes on where it was broken off", async () => {
    const first = await get({ range: "bytes=0-99" });
    expect([first.status, first.bytes.length]).toEqual([206, 100]);
    expect(first.headers.get("content-range")).toBe(`bytes 0-99/${file.length}`);
    const rest = await get({ range: "bytes=100-", "if-range": first.headers.get("etag")! });
    expect(rest.status).toBe(206);
    expect(Buffer.concat([first.bytes, rest.bytes]).equals(file)).toBe(true);
  });

  test("is 416 beyond its end, in the envelope", async () => {
    const { status, bytes, headers } = await get({ range: `bytes=${file.length}-` });
    expect([status, headers.get("content-range")]).toEqual([416, `bytes */${file.length}`]);
    expect(JSON.parse(bytes.toString())).toMatchObject({
      errcode: 416,
      msg: `range: the file has ${file.length} bytes`,
    });
  });

  test("is 304 for who has it, and without a body for HEAD", async () => {
    const head = await get({}, "HEAD");
    expect([head.status, head.bytes.length, head.headers.get("content-length")]).toEqual([200, 0, String(file.length)]);
    const unchanged = await get({ "if-none-match": head.headers.get("etag")! });
    expect([unchanged.status, unchanged.bytes.length]).toEqual([304, 0]);
  });

  describe("is refused", () => {
    const follow = async (link: string) => {
      const response = await client.download(link);
      return { status: response.status, body: (await response.json()) as unknown };
    };
    const refused = (msg: string) => ({
      status: 403,
      body: { errcode: 403, msg, request_id: expect.any(String) },
    });
    const altered = (change: (url: URL) => void) => {
      const url = new URL(detail.down_url);
      change(url);
      return url.href;
    };

    test.each<[string, (url: URL) => void]>([
      ["signature", ({ searchParams }) => searchParams.set("signature", "A".repeat(43))],
      ["expiry", ({ searchParams }) => searchParams.set("expires", "99999999999")],
      ["path", (url) => (url.pathname = `/v1/down/${"0".repeat(32)}.zip`)],
      ["path into the store", (url) => (url.pathname = "/v1/down/..%2Fsources%2Fx.json")],
      ["query, of which nothing is left", (url) => (url.search = "")],
    ])("with an altered %s", async (_, change) => {
      expect(await follow(altered(change))).toEqual(refused("the link is not one of ours"));
    });

    test("when it has expired", async () => {
      const key = await signingKey(configOf(cluster.gateways[0].broker));
      const link = (expires: number) =>
        `http://any${signPath(`/v1/down/${detail.hash_key}.zip`, new Date(expires), key)}`;
      expect(await follow(link(Date.now() - 2_000))).toEqual(refused("the link has expired"));
      expect((await client.download(link(Date.now() + 60_000))).status).toBe(200);
    });
  });
});
