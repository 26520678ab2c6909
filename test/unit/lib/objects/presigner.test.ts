/** Presigned requests, whoever serves them: a gateway over a directory, or S3. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "@jest/globals";
import {
  DirectoryPresigner,
  OBJECTS_PATH,
  getTermsOf,
  putTermsOf,
} from "../../../../lib/objects/directory-presigner.ts";
import type { Multipart } from "../../../../lib/objects/multipart.ts";
import type { ObjectStore } from "../../../../lib/objects/object-store.ts";
import { openObjects, openPresigned } from "../../../../lib/objects/open.ts";
import type { Presigner } from "../../../../lib/objects/presigner.ts";
import { withS3 } from "../../../s3-server.ts";
import { withTempDir } from "../../../temp-dir.ts";

const BASE = "https://files.example.com";
const MIB = 1024 ** 2;

interface Stage {
  objects: ObjectStore;
  presigner: Presigner;
  multipart: Multipart;
  /** Sends a request and answers the status of what came. */
  send(url: string, method: string, body?: Buffer<ArrayBuffer>, headers?: Record<string, string>): Promise<number>;
}

type Body = (stage: Stage) => Promise<void>;

const directory = new DirectoryPresigner(() => BASE, Buffer.alloc(32, 7));

/** As a gateway does it, which then stores the body. */
async function serve(objects: ObjectStore, url: string, method: string, body = Buffer.alloc(0)): Promise<number> {
  const { pathname, searchParams } = new URL(url);
  const key = pathname.slice(OBJECTS_PATH.length);
  try {
    directory.verify([method], key, Object.fromEntries(searchParams));
  } catch (error) {
    expect(error).toMatchObject({ type: "PERMISSION_DENIED" });
    return 403;
  }
  if (method === "PUT") await objects.put(key, Readable.from([body]));
  return 200;
}

const stages = [
  {
    name: "the gateway",
    withStage: (body: Body) =>
      withTempDir(async (root) => {
        const place = { kind: "directory", root } as const;
        const objects = await openObjects(place);
        const send: Stage["send"] = (url, method, sent) => serve(objects, url, method, sent);
        await body({ objects, ...(await openPresigned(place, objects, directory)), send });
      }),
  },
  {
    name: "S3",
    withStage: (body: Body) =>
      withS3(async ({ place }) => {
        const objects = await openObjects(place);
        const send: Stage["send"] = async (url, method, sent, headers) => {
          const response = await fetch(url, { method, headers, body: sent });
          await response.arrayBuffer();
          return response.status;
        };
        await body({ objects, ...(await openPresigned(place, objects, directory)), send });
      }),
  },
];

const soon = () => new Date(Date.now() + 60_000);
const hello = Buffer.from("hello");

async function read(objects: ObjectStore, key: string): Promise<Buffer> {
  return buffer((await objects.get(key)).stream);
}

async function keysOf(objects: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list("")) keys.push(key);
  return keys;
}

describe.each(stages)("a request that is presigned for $name", ({ withStage }) => {
  test("puts one object, and says until when it may", () =>
    withStage(async ({ objects, presigner, send }) => {
      const expiresAt = soon();
      const put = await presigner.put("uploads/a", {}, expiresAt);
      expect(put).toMatchObject({ method: "PUT", headers: {}, expiresAt });
      expect(await send(put.url, "PUT", hello)).toBe(200);
      expect((await read(objects, "uploads/a")).toString()).toBe("hello");
    }));

  test("is refused where it is altered, has another method, or has expired", () =>
    withStage(async ({ objects, presigner, send }) => {
      await objects.put("uploads/b", Readable.from([hello]));
      const { url } = await presigner.put("uploads/a", {}, soon());
      const { url: get } = await presigner.get("uploads/b", { fileName: "b", contentType: "text/plain" }, soon());
      expect(await send(url.replace("uploads/a", "uploads/b"), "PUT", Buffer.from("other"))).toBe(403);
      expect(await send(url.replace(/(signature=)./i, "$1~"), "PUT", hello)).toBe(403);
      expect(await send(url.replace(/(expires=)\d/i, "$19"), "PUT", hello)).toBe(403);
      expect(await send(url, "GET")).toBe(403);
      expect(await send(url, "DELETE")).toBe(403);
      expect(await send(get, "GET")).toBe(200);
      expect(await send(get, "PUT", Buffer.from("other"))).toBe(403);
      expect(await send(get.replace("plain", "html"), "GET")).toBe(403);
      expect((await read(objects, "uploads/b")).toString()).toBe("hello");
      expect(await keysOf(objects)).toEqual(["uploads/b"]);
    }));

  test("says what its body must be, and that cannot be altered", () =>
    withStage(async ({ presigner, send }) => {
      const sha256 = createHash("sha256").update(hello).digest("hex");
      const { url, headers } = await presigner.put("uploads/a", { size: 5, sha256 }, soon());
      expect(await send(url.replace(/size=5|content-length/, "size=6"), "PUT", hello, headers)).toBe(403);
      expect(await send(url, "PUT", hello, headers)).toBe(200);
    }));

  test("cannot be made for what is no key", () =>
    withStage(async ({ presigner }) => {
      await expect(async () => presigner.put("../etc/passwd", {}, soon())).rejects.toMatchObject({
        data: { field: "key" },
      });
      const terms = { fileName: "a", contentType: "text/plain" };
      await expect(async () => presigner.get(".incoming/a", terms, soon())).rejects.toThrow(
        "is not a key of an object",
      );
    }));

  test("puts parts, which become one object that nothing is left of beside", () =>
    withStage(async ({ objects, multipart, send }) => {
      const key = "uploads/large";
      const upload = { key, upload: await multipart.begin(key) };
      const parts = [Buffer.alloc(8 * MIB, 1), Buffer.alloc(3, 2)];
      for (const [index, part] of parts.entries()) {
        const { url } = await multipart.presign({ ...upload, number: index + 1, size: part.length }, soon());
        expect(await send(url, "PUT", Buffer.alloc(part.length))).toBe(200);
        expect(await send(url, "PUT", part)).toBe(200);
      }
      const found = await multipart.parts(upload);
      expect(found.map(({ number, size }) => [number, size])).toEqual([
        [1, 8 * MIB],
        [2, 3],
      ]);
      await multipart.complete(upload, found);
      expect((await read(objects, key)).equals(Buffer.concat(parts))).toBe(true);
      expect(await keysOf(objects)).toEqual([key]);
      await multipart.abort(upload);
      expect(await objects.head(key)).toBeDefined();
    }));

  test("puts parts, of which an abort leaves nothing", () =>
    withStage(async ({ objects, multipart, send }) => {
      const key = "uploads/large";
      const upload = { key, upload: await multipart.begin(key) };
      const { url } = await multipart.presign({ ...upload, number: 1, size: 5 }, soon());
      expect(await send(url, "PUT", hello)).toBe(200);
      await multipart.abort(upload);
      await multipart.abort(upload);
      expect(await keysOf(objects)).toEqual([]);
    }));
});

describe("the gateway's URLs", () => {
  const queryOf = (url: string) => Object.fromEntries(new URL(url).searchParams);

  test("carry what was agreed, in any characters", async () => {
    const terms = { fileName: "季度 & 报表?.csv", contentType: "text/csv; charset=utf-8" };
    const get = await directory.get("exports/a", terms, soon());
    expect(get.url).toMatch(/^https:\/\/files\.example\.com\/v1\/objects\/exports\/a\?method=GET&/);
    expect(getTermsOf(queryOf(get.url))).toEqual(terms);
    const put = await directory.put("uploads/a", { size: 0, sha256: "ab" }, soon());
    expect(putTermsOf(queryOf(put.url))).toEqual({ size: 0, sha256: "ab" });
    expect(putTermsOf(queryOf((await directory.put("uploads/a", {}, soon())).url))).toEqual({});
  });

  test("say why they are refused", async () => {
    const { url } = await directory.put("uploads/a", {}, soon());
    const old = await directory.put("uploads/a", {}, new Date(Date.now() - 1));
    const verify = (query: object, method = "PUT") => directory.verify([method], "uploads/a", { ...query });
    expect(() => verify(queryOf(old.url))).toThrow("the URL has expired");
    expect(() => verify(queryOf(url), "GET")).toThrow("the URL is for PUT and no other method");
    expect(() => verify({ ...queryOf(url), size: "1" })).toThrow("the URL is not one of ours, or was altered");
    expect(() => verify({ ...queryOf(url), method: ["PUT", "GET"] })).toThrow("the URL is not one of ours");
    expect(() => verify({})).toThrow("the URL is not one of ours");
    verify({ ...queryOf(url), tracking: "1" });
  });
});

test("S3's URLs lead where clients reach it", () =>
  withS3(async ({ place }) => {
    const other = { ...place, publicEndpoint: "https://s3.example.com" };
    const { presigner, multipart } = await openPresigned(other, await openObjects(place), directory);
    const part = { key: "uploads/a", upload: "1", number: 1, size: 1 };
    for (const { url } of [await presigner.put("uploads/a", {}, soon()), await multipart.presign(part, soon())]) {
      expect(url).toMatch(/^https:\/\/s3\.example\.com\/objects\/uploads\/a\?/);
    }
  }));
