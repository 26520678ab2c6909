/** The URL of an upload at the gateway: what it takes, what it refuses and why, and what is left behind. */
import { createHash, randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { configOf } from "../../lib/config.ts";
import { DirectoryPresigner } from "../../lib/objects/directory-presigner.ts";
import { signingKey } from "../../lib/signing-key.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { UploadClient, put, refusalOf } from "../upload-client.ts";
import { waitFor } from "../wait-for.ts";

const MIB = 1024 ** 2;
const MAX = MIB;

let node: TestNode;
let client: UploadClient;

beforeAll(async () => {
  node = await startNode({ services: ["api-gateway", "upload"], config: { uploadMaxBytes: MAX } });
  client = new UploadClient(node.http);
});

afterAll(() => node.stop());

/** All that lies in the store: the finished, and what is being written. */
async function files(): Promise<string[]> {
  const entries = await readdir(join(configOf(node.broker).dataDir, "objects"), {
    recursive: true,
    withFileTypes: true,
  });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

const digest = (algorithm: string, body: string | Buffer) => createHash(algorithm).update(body).digest();

/** A PUT that was refused has left nothing, and the URL can be used still. */
async function expectUnused(url: string, body: string | Buffer = "good"): Promise<void> {
  const before = await files();
  expect(before.filter((name) => !name.includes("-"))).toEqual([]);
  expect((await put(url, body)).status).toBe(200);
  expect((await files()).length).toBe(before.length + 1);
}

async function clear(): Promise<void> {
  const { uploads } = await client.call<{ uploads: { id: string }[] }>("GET", "/v1/uploads?pageSize=1000");
  for (const { id } of uploads) await client.call("DELETE", `/v1/uploads/${id}`);
}

afterEach(async () => {
  await clear();
  expect(await files()).toEqual([]);
});

describe("a URL", () => {
  test("takes one PUT, of any type and without any header, and is used up by it", async () => {
    const { url, key } = await client.preSign();
    const body = randomBytes(100_000);
    const response = await put(url, body);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ key, state: "COMPLETED", size: "100000" });
    expect(await refusalOf(await put(url, "again"))).toEqual({ status: 403, message: "the URL has been used" });
    const upload = await client.get(key);
    expect(upload.sha256).toBe(digest("sha256", body).toString("hex"));
    expect(Buffer.from(await (await client.download(upload)).arrayBuffer()).equals(body)).toBe(true);
  });

  test("takes an empty body, and one of unknown length", async () => {
    expect(await client.upload("")).toMatchObject({ size: "0", contentType: "text/plain;charset=UTF-8" });
    const { url, key } = await client.preSign();
    expect((await put(url, Readable.from([Buffer.from("a"), Buffer.from("b")]))).status).toBe(200);
    expect(await client.get(key)).toMatchObject({ size: "2", contentType: "" });
  });

  test("is refused where any of it was altered", async () => {
    const { url } = await client.preSign({ size: "4" });
    const other = (await client.preSign()).key.replace("uploads/", "");
    const altered = [
      url.replace(/staged\/[^?]+/, `staged/${other}`),
      url.replace("staged/", "uploads/"),
      url.replace("size=4", "size=5"),
      url.replace("size=4&", ""),
      url.replace(/expires=\d/, "expires=9"),
      url.replace(/signature=.{4}/, "signature=AAAA"),
      url.replace("method=PUT", "method=GET"),
      url.replace(/\?.*/, ""),
    ];
    const message = "the URL is not one of ours, or was altered";
    for (const one of altered) expect(await refusalOf(await put(one, "good"))).toEqual({ status: 403, message });
    await expectUnused(url);
  });

  test("is refused where it has expired", async () => {
    const { key } = await client.preSign();
    const presigner = new DirectoryPresigner(() => node.http, await signingKey(configOf(node.broker)));
    const { url } = await presigner.put(key.replace("uploads", "staged"), {}, new Date(Date.now() - 1_000));
    expect(await refusalOf(await put(url, "late"))).toEqual({ status: 403, message: "the URL has expired" });
  });

  test.each(["GET", "POST", "PATCH", "DELETE"])("is refused with %s", async (method) => {
    const { url } = await client.preSign();
    const body = method === "GET" || method === "DELETE" ? undefined : "no JSON";
    const refusal = await refusalOf(await fetch(url, { method, body }));
    expect(refusal).toEqual({ status: 403, message: "the URL is for PUT and no other method" });
    await expectUnused(url);
  });

  test("is refused where its upload was removed", async () => {
    const { url, key } = await client.preSign();
    await client.call("DELETE", `/v1/${key}`);
    const message = "the upload that the URL is for is not there any more";
    expect(await refusalOf(await put(url, "x"))).toEqual({ status: 403, message });
  });

  test("takes one of two PUTs that come at once, whole", async () => {
    for (let round = 0; round < 5; round += 1) {
      const { url, key } = await client.preSign();
      const bodies = [Buffer.alloc(MAX, 1), Buffer.alloc(MAX, 2), Buffer.alloc(MAX, 3)];
      const statuses = await Promise.all(bodies.map(async (body) => (await put(url, body)).status));
      expect([...statuses].sort()).toEqual([200, 403, 403]);
      const winner = bodies[statuses.indexOf(200)]!;
      const upload = await client.get(key);
      expect(upload.sha256).toBe(digest("sha256", winner).toString("hex"));
      expect(Buffer.from(await (await client.download(upload)).arrayBuffer()).equals(winner)).toBe(true);
    }
  });
});

describe("a body that is not as it says", () => {
  test("is refused by the checksum of its header", async () => {
    const { url } = await client.preSign();
    const md5 = digest("md5", "good").toString("base64");
    const sha256 = digest("sha256", "good").toString("base64");
    const wrong = await refusalOf(await put(url, "bad", { "content-md5": md5 }));
    expect(wrong.status).toBe(400);
    expect(wrong.message).toMatch(/^content-md5: /);
    expect((await put(url, "bad", { "x-amz-checksum-sha256": sha256 })).status).toBe(400);
    expect((await put(url, "good", { "content-md5": md5, "x-amz-checksum-sha256": sha256 })).status).toBe(200);
  });

  test("is refused by the digest and the size that were announced", async () => {
    const sha256 = digest("sha256", "good").toString("hex");
    const { url } = await client.preSign({ sha256: sha256.toUpperCase(), size: "4" });
    const digests = await refusalOf(await put(url, "evil"));
    expect(digests.status).toBe(400);
    expect(digests.message).toContain(`sha256: ${sha256} was announced`);
    const length = { status: 400, message: "content-length: the URL is for 4 bytes, not for 5" };
    expect(await refusalOf(await put(url, "large"))).toEqual(length);
    const short = { status: 400, message: "size: 4 bytes were announced, and 3 came" };
    expect(await refusalOf(await put(url, Readable.from([Buffer.from("bad")])))).toEqual(short);
    expect((await put(url, Readable.from([Buffer.from("large")]))).status).toBe(413);
    await expectUnused(url);
  });

  test("is refused where it is too large, whether it says so or not", async () => {
    const { url } = await client.preSign();
    const said = await refusalOf(await put(url, Buffer.alloc(MAX + 1)));
    expect(said).toEqual({ status: 413, message: `body: larger than ${MAX} bytes` });
    const chunks = Array.from({ length: 20 }, () => Buffer.alloc(MAX / 10));
    expect((await put(url, Readable.from(chunks))).status).toBe(413);
    await expectUnused(url, Buffer.alloc(MAX));
  });

  test("is refused where it is compressed: it would not be stored as it comes", async () => {
    const { url } = await client.preSign();
    const refusal = await refusalOf(await put(url, gzipSync("good"), { "content-encoding": "gzip" }));
    expect(refusal.status).toBe(400);
    expect(refusal.message).toMatch(/^content-encoding: /);
    await expectUnused(url);
  });

  test("is told so where it ends before its Content-Length", async () => {
    const { url } = await client.preSign();
    const { hostname, port, pathname, search } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.end(`PUT ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}\r\nContent-Length: 1000\r\n\r\nshort`);
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toContain("its body is shorter than it says");
    await waitFor(async () => (await files()).length === 0);
    await expectUnused(url);
  });

  test("leaves nothing where its client goes away in the middle, and the URL is good still", async () => {
    const { url } = await client.preSign();
    const sending = request(url, { method: "PUT", headers: { "content-length": MAX } });
    sending.on("error", () => undefined);
    sending.write(Buffer.alloc(1000));
    await waitFor(async () => (await files()).length === 1);
    sending.destroy();
    await waitFor(async () => (await files()).length === 0);
    await expectUnused(url);
  });
});

describe("the URL of a part", () => {
  const parts = { name: "large", size: MAX };

  test("takes a part again and again, of the size that it is for", async () => {
    const { id } = await client.call<{ id: string }>("POST", "/v1/uploads", parts);
    const { url } = await client.call<{ url: string }>("POST", `/v1/uploads/${id}/parts/1:presign`);
    expect((await put(url, Buffer.alloc(MAX, 1))).status).toBe(200);
    expect((await put(url, Buffer.alloc(MAX - 1))).status).toBe(400);
    expect((await put(url, Buffer.alloc(MAX, 2))).status).toBe(200);
    expect(await client.refused("POST", `/v1/uploads/${id}/parts/2:presign`)).toEqual({
      status: 400,
      message: "part_number: must be 1 to 1",
    });
    const upload = await client.call<{ sha256: string }>("POST", `/v1/uploads/${id}:complete`);
    expect(upload.sha256).toBe(digest("sha256", Buffer.alloc(MAX, 2)).toString("hex"));
    expect(await refusalOf(await put(url, Buffer.alloc(MAX)))).toEqual({
      status: 403,
      message: "the URL has been used",
    });
    expect(await files()).toHaveLength(1);
  });

  test("is refused once its upload is removed, which takes the parts along", async () => {
    const { id } = await client.call<{ id: string }>("POST", "/v1/uploads", parts);
    const { url } = await client.call<{ url: string }>("POST", `/v1/uploads/${id}/parts/1:presign`);
    expect((await put(url, Buffer.alloc(MAX))).status).toBe(200);
    await client.call("DELETE", `/v1/uploads/${id}`);
    expect(await files()).toEqual([]);
    expect((await put(url, Buffer.alloc(MAX))).status).toBe(403);
  });
});
