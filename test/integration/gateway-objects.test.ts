import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Context, ServiceSchema } from "moleculer";
import { configOf } from "../../lib/config.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { StoredBody } from "../../lib/rest-options.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

const LIMIT = 1024 * 1024;
const FILE_NAME = 'report "Q1"/2026 – 报告.zip';

let stored: StoredBody[] = [];

const shelf = {
  name: "shelf",
  actions: {
    put: {
      rest: { path: "PUT /v1/shelf/{name}", body: "object", limit: LIMIT, check: "shelf.check", headers: ["x-right"] },
      handler({ params }: Context<{ name: string; object: StoredBody }>) {
        if (params.name === "refused") throw new LongshoreError("FAILED_PRECONDITION", "the shelf is full");
        stored.push(params.object);
        return params.object;
      },
    },
    keep: {
      rest: {
        path: "PUT /v1/kept/{name}",
        body: "object",
        bodyErrors: "pass",
        keepEncoding: true,
        limit: LIMIT,
        check: "shelf.check",
        headers: ["x-right"],
      },
      handler({ params: { object, bodyError } }: Context<{ object?: StoredBody; bodyError?: object }>) {
        return { object, bodyError };
      },
    },
    check(ctx: Context<{ name: string }, { headers: Record<string, string> }>) {
      if (ctx.meta.headers["x-right"] === "none")
        throw new LongshoreError("PERMISSION_DENIED", `not ${ctx.params.name}`);
    },
    get: {
      rest: { path: "GET /v1/shelf/{key=**}", response: "object" },
      handler: ({ params: { key } }: Context<{ key: string }>) => ({
        key,
        fileName: FILE_NAME,
        contentType: "application/zip",
      }),
    },
  },
} as unknown as ServiceSchema;

let node: TestNode;

beforeAll(async () => {
  node = await startNode({ services: [gateway, shelf] });
});

beforeEach(() => {
  stored = [];
});

afterAll(() => node.stop());

function put(name: string, body: Buffer, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${node.http}/v1/shelf/${name}`, { method: "PUT", body: new Uint8Array(body), headers });
}

async function putObject(body: Buffer): Promise<string> {
  const response = await put("x", body);
  expect(response.status).toBe(200);
  return `${node.http}/v1/shelf/${stored.at(-1)!.key}`;
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** All that lies in the store: the finished, and what is being written. */
async function files(): Promise<string[]> {
  const directory = join(configOf(node.broker).dataDir, "objects");
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

describe("a body that is an object", () => {
  test("is stored, and its action is told where, how long and which", async () => {
    const body = randomBytes(LIMIT);
    const response = await put("a", body, { "Content-Type": "text/csv" });
    const answer = (await response.json()) as StoredBody;
    expect(answer).toEqual({
      key: expect.stringMatching(/^incoming\/[0-9a-f-]{36}$/),
      size: LIMIT,
      sha256: sha256(body),
      contentType: "text/csv",
    });
    const back = await fetch(`${node.http}/v1/shelf/${answer.key}`);
    expect(sha256(Buffer.from(await back.arrayBuffer()))).toBe(sha256(body));
  });

  test("that was compressed is stored plain, and the limit counts what it unfolds to", async () => {
    const plain = Buffer.from("row\n".repeat(1000));
    const answer = (await (await put("a", gzipSync(plain), { "Content-Encoding": "gzip" })).json()) as StoredBody;
    expect(answer).toMatchObject({ size: plain.length, sha256: sha256(plain), contentEncoding: "gzip" });
    const bomb = await put("a", gzipSync(Buffer.alloc(LIMIT * 20)), { "Content-Encoding": "gzip" });
    expect(bomb.status).toBe(413);
    expect((await put("a", Buffer.from("no gzip"), { "Content-Encoding": "gzip" })).status).toBe(400);
    expect((await put("a", plain, { "Content-Encoding": "br" })).status).toBe(400);
  });

  test("stays compressed where its path keeps the encoding, and is measured by what it unfolds to", async () => {
    const keep = async (body: Buffer, headers: Record<string, string> = {}, query = "") => {
      const all = { "Content-Encoding": "gzip", ...headers };
      const url = `${node.http}/v1/kept/a${query}`;
      const response = await fetch(url, { method: "PUT", body: new Uint8Array(body), headers: all });
      expect(response.status).toBe(200);
      return (await response.json()) as { object?: StoredBody; bodyError?: { status: number; reason?: string } };
    };
    const before = (await files()).length;
    const plain = randomBytes(LIMIT);
    const packed = gzipSync(plain);
    const { object } = await keep(packed);
    expect(object).toMatchObject({ size: LIMIT, sha256: sha256(plain), contentEncoding: "gzip" });
    const back = await fetch(`${node.http}/v1/shelf/${object!.key}`);
    expect(sha256(Buffer.from(await back.arrayBuffer()))).toBe(sha256(packed));
    const half = gzipSync(plain.subarray(0, 100_000));
    for (const [body, status] of [
      [gzipSync(Buffer.alloc(LIMIT + 1)), 413],
      [gzipSync(Buffer.alloc(LIMIT * 100)), 413],
      [randomBytes(2 * LIMIT), 413],
      [Buffer.from("no gzip"), 400],
      [half.subarray(0, half.length - 4), 400],
    ] as const) {
      // A query brings no object.
      const refused = await keep(body, {}, "?object=x");
      expect(refused).toMatchObject({ bodyError: { status } });
      expect(refused.object).toBeUndefined();
    }
    const wrong = { "x-amz-checksum-sha256": createHash("sha256").update(packed).digest("base64") };
    expect(await keep(packed, wrong)).toMatchObject({ bodyError: { status: 400 } });
    expect(await keep(packed, { "x-right": "none" })).toMatchObject({ bodyError: { status: 403 } });
    expect(await files()).toHaveLength(before + 1);
  });

  test("must have the checksum that it states", async () => {
    const body = Buffer.from("hello");
    const md5 = createHash("md5").update(body).digest("base64");
    const sum = createHash("sha256").update(body).digest("base64");
    expect((await put("a", body, { "Content-MD5": md5, "x-amz-checksum-sha256": sum })).status).toBe(200);
    expect((await put("a", body, { "Content-MD5": sum })).status).toBe(400);
    expect((await put("a", body, { "x-amz-checksum-sha256": md5 })).status).toBe(400);
  });

  test("leaves nothing behind when it is refused, too large or broken", async () => {
    const before = (await files()).length;
    expect((await put("refused", Buffer.from("x"))).status).toBe(400);
    expect((await put("a", randomBytes(LIMIT + 1))).status).toBe(413);
    expect((await put("a", Buffer.from("x"), { "Content-MD5": "wrong" })).status).toBe(400);

    const request = httpRequest(`${node.http}/v1/shelf/a`, { method: "PUT", headers: { "Content-Length": 1000 } });
    request.on("error", () => undefined);
    request.write("half");
    await waitFor(async () => (await files()).length === before + 1);
    request.destroy();
    await waitFor(async () => (await files()).length === before);
    expect(stored).toEqual([]);
  });

  test("is not read before its check has passed", async () => {
    const before = (await files()).length;
    const headers = { "x-right": "none", "Content-Length": 1000 };
    const request = httpRequest(`${node.http}/v1/shelf/mine`, { method: "PUT", headers });
    request.on("error", () => undefined);
    request.write("half");
    const [response] = (await once(request, "response")) as [IncomingMessage];
    expect(response.statusCode).toBe(403);
    response.resume();
    request.destroy();
    expect(await files()).toHaveLength(before);
  });
});

describe("an answer that is an object", () => {
  const body = Buffer.from("0123456789");
  let url: string;

  beforeAll(async () => {
    url = await putObject(body);
  });

  const get = async (headers: Record<string, string> = {}, method = "GET") => {
    const response = await fetch(url, { method, headers });
    return { status: response.status, text: await response.text(), headers: Object.fromEntries(response.headers) };
  };

  test("has its type, length, validators and a name in any characters", async () => {
    const { status, text, headers } = await get();
    expect([status, text]).toEqual([200, "0123456789"]);
    expect(headers).toMatchObject({
      "content-type": "application/zip",
      "content-length": "10",
      "accept-ranges": "bytes",
      "content-disposition":
        'attachment; filename="report _Q1__2026 _ __.zip"; ' +
        "filename*=UTF-8''report%20%22Q1%22%2F2026%20%E2%80%93%20%E6%8A%A5%E5%91%8A.zip",
      etag: expect.stringMatching(/^".+"$/),
      "last-modified": expect.stringMatching(/GMT$/),
    });
  });

  test("has no body for HEAD", async () => {
    const { status, text, headers } = await get({}, "HEAD");
    expect([status, text, headers["content-length"]]).toEqual([200, "", "10"]);
  });

  test.each([
    ["bytes=2-4", 206, "234", "bytes 2-4/10"],
    ["bytes=7-", 206, "789", "bytes 7-9/10"],
    ["bytes=-2", 206, "89", "bytes 8-9/10"],
    ["bytes=5-100", 206, "56789", "bytes 5-9/10"],
    ["lines=1-2", 200, "0123456789", undefined],
    ["bytes=0-1,3-4", 200, "0123456789", undefined],
  ])("is what the range %s asks for", async (range, expected, content, contentRange) => {
    const { status, text, headers } = await get({ Range: range });
    expect([status, text, headers["content-range"]]).toEqual([expected, content, contentRange]);
    expect(headers["content-length"]).toBe(String(content.length));
  });

  test("is 416 beyond its end", async () => {
    const { status, headers } = await get({ Range: "bytes=10-" });
    expect([status, headers["content-range"]]).toEqual([416, "bytes */10"]);
  });

  test("is 304 where the client has it, and whole where the client has a part of another", async () => {
    const { headers } = await get();
    const etag = headers["etag"]!;
    expect((await get({ "If-None-Match": etag })).status).toBe(304);
    expect((await get({ "If-None-Match": `"other", W/${etag}` })).status).toBe(304);
    expect((await get({ "If-None-Match": '"other"' })).status).toBe(200);
    expect((await get({ Range: "bytes=2-4", "If-Range": etag })).status).toBe(206);
    expect((await get({ Range: "bytes=2-4", "If-Range": headers["last-modified"]! })).status).toBe(206);
    expect((await get({ Range: "bytes=2-4", "If-Range": '"other"' })).status).toBe(200);
  });

  test("may be empty", async () => {
    const response = await fetch(await putObject(Buffer.alloc(0)));
    expect([response.status, await response.text(), response.headers.get("content-length")]).toEqual([200, "", "0"]);
  });

  test.each(["incoming/none", "..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd"])(
    "is an error where there is none: %s",
    async (key) => {
      const { status } = await fetch(`${node.http}/v1/shelf/${key}`);
      expect([400, 404]).toContain(status);
    },
  );
});
