/** A node whose objects are in S3. */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { parse } from "csv-parse/sync";
import type { Config } from "../../lib/config.ts";
import { ExportClient } from "../export-client.ts";
import type { TestNode } from "../node.ts";
import { launchNode, startNode } from "../node.ts";
import type { PagedSource, PagedSourceOptions } from "../paged-source.ts";
import { withPagedSource } from "../paged-source.ts";
import type { S3Server } from "../s3-server.ts";
import { withS3 } from "../s3-server.ts";
import { waitFor } from "../wait-for.ts";

const ROWS: PagedSourceOptions = {
  total: () => 30_000,
  header: { id: "编号", text: "文字" },
  row: (id) => ({ id, text: `${id} `.repeat(70) }),
};

function settings({ endpoint, bucket, accessKeyId, secretAccessKey }: S3Server["place"]): Partial<Config> {
  return { s3Endpoint: endpoint, s3Bucket: bucket, s3AccessKeyId: accessKeyId, s3SecretAccessKey: secretAccessKey };
}

function environment({ endpoint, bucket, accessKeyId, secretAccessKey }: S3Server["place"]): Record<string, string> {
  return {
    S3_ENDPOINT: endpoint,
    S3_BUCKET: bucket,
    S3_ACCESS_KEY_ID: accessKeyId,
    S3_SECRET_ACCESS_KEY: secretAccessKey,
  };
}

interface Stage {
  s3: S3Server;
  source: PagedSource;
  node: TestNode;
  client: ExportClient;
}

function withNode(options: PagedSourceOptions, body: (stage: Stage) => Promise<void>): Promise<void> {
  return withS3((s3) =>
    withPagedSource(options, async (source) => {
      const node = await startNode({ config: settings(s3.place) });
      try {
        await body({ s3, source, node, client: new ExportClient(node.http) });
      } finally {
        await node.stop();
      }
    }),
  );
}

/** Of a CSV file that is in no zip. */
function request(source: object): object {
  return { timestamp: 1_625_106_204, ext_type: "CSV", title: "S3", zip: false, user_id: "u", ...source };
}

function pages({ url }: PagedSource): object {
  return request({ source_http: { url, param: { limit: 1000 } } });
}

/** What lies in the bucket, as `exports/a.csv`. */
async function objectsIn({ root }: S3Server, folder: string): Promise<string[]> {
  const names = await readdir(join(root, folder)).catch(() => []);
  return names.filter((name) => name.endsWith("._S3rver_object"));
}

describe("with its objects in S3", () => {
  test("an export of several parts is stored there, and downloaded whole and by ranges", () =>
    withNode(ROWS, async ({ s3, source, client }) => {
      const key = await client.submit("http", pages(source));
      const { down_url: link, sha256, bytes } = await client.done(key);
      expect(bytes).toBeGreaterThan(9 * 1024 * 1024);
      expect(await objectsIn(s3, "exports")).toHaveLength(1);
      expect(await s3.uploads()).toEqual([]);

      const whole = Buffer.from(await (await client.download(link)).arrayBuffer());
      expect(createHash("sha256").update(whole).digest("hex")).toBe(sha256);
      expect(parse(whole, { bom: true })).toHaveLength(30_001);

      const etag = (await client.download(link, { method: "HEAD" })).headers.get("etag")!;
      const part = await client.download(link, { headers: { range: "bytes=1000-", "if-range": etag } });
      expect(part.status).toBe(206);
      expect(part.headers.get("content-range")).toBe(`bytes 1000-${bytes - 1}/${bytes}`);
      expect(Buffer.from(await part.arrayBuffer()).equals(whole.subarray(1000))).toBe(true);
    }));

  test("rows that come in the request are exported, and their body does not stay", () =>
    withNode(ROWS, async ({ s3, client }) => {
      const rows = [{ id: "编号" }, { id: 1 }, { id: 2 }];
      const key = await client.submit("raw", request({ source_raw: JSON.stringify(rows) }));
      const { down_url: link } = await client.done(key);
      const text = await (await client.download(link)).text();
      expect(parse(text, { bom: true })).toEqual([["编号"], ["1"], ["2"]]);
      expect(await objectsIn(s3, "incoming")).toEqual([]);
    }));

  test("an export that is cancelled while its parts go up leaves nothing there", () => {
    const hang: PagedSourceOptions = { ...ROWS, intercept: ({ page }) => page === 28 };
    return withNode(hang, async ({ s3, source, client }) => {
      const key = await client.submit("http", pages(source));
      await waitFor(async () => (await s3.uploads()).length === 1);
      await client.call("POST", "/v1/export/cancel", { key });
      await waitFor(async () => (await s3.uploads()).length === 0);
      await waitFor(async () => (await objectsIn(s3, ".incoming")).length === 0);
      expect(await objectsIn(s3, "exports")).toEqual([]);
    });
  });
});

test("a node whose S3 does not answer, or lacks the bucket, does not start and names both", () =>
  withS3(async ({ place }) => {
    const absent = { ...place, endpoint: "http://127.0.0.1:1" };
    const other = { ...place, bucket: "other" };
    const lines = await Promise.all([absent, other].map(lastLine));
    const named = (bucket: string, endpoint: string) =>
      `Longshore cannot start: S3_BUCKET ${bucket}, S3_ENDPOINT ${endpoint}, S3_REGION us-east-1: `;
    expect(lines).toEqual([
      `${named("objects", absent.endpoint)}no answer (ECONNREFUSED)`,
      `${named("other", place.endpoint)}there is no such bucket`,
    ]);
  }));

async function lastLine(place: S3Server["place"]): Promise<string> {
  const node = await launchNode(environment(place));
  expect(await node.exit).toBe(1);
  return node.output().trimEnd().split("\n").at(-1)!;
}
