/** What every object store does, whatever it keeps its objects in. */
import { createHash } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "@jest/globals";
import type { ObjectStore } from "../../../../lib/objects/object-store.ts";
import { openObjects } from "../../../../lib/objects/open.ts";
import { withS3 } from "../../../s3-server.ts";
import { withTempDir } from "../../../temp-dir.ts";

async function* chunks(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

async function read(store: ObjectStore, key: string, range?: { start?: number; end?: number }): Promise<string> {
  return (await buffer((await store.get(key, range)).stream)).toString();
}

async function keysOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const info of store.list(prefix)) keys.push(info.key);
  return keys.sort();
}

type Body = (store: ObjectStore) => Promise<void>;

const stores = [
  {
    name: "a directory",
    withStore: (body: Body) => withTempDir(async (root) => body(await openObjects({ kind: "directory", root }))),
  },
  { name: "S3", withStore: (body: Body) => withS3(async ({ place }) => body(await openObjects(place))) },
];

describe.each(stores)("objects in $name", ({ withStore }) => {
  test("are read back as they were put, with size, digest and ETag", () =>
    withStore(async (store) => {
      const before = Date.now();
      const put = await store.put("exports/a.zip", chunks("long", "shore"));
      expect(put.size).toBe(9);
      expect(put.sha256).toBe(createHash("sha256").update("longshore").digest("hex"));
      expect(await read(store, "exports/a.zip")).toBe("longshore");
      const info = (await store.head("exports/a.zip"))!;
      expect(info).toMatchObject({ key: "exports/a.zip", size: 9, etag: put.etag });
      expect(info.etag).toMatch(/^"[^"]+"$/);
      expect(Math.abs(info.modifiedAt.getTime() - before)).toBeLessThan(10_000);
    }));

  test("are read by ranges, both ends inclusive, and no more than there is", () =>
    withStore(async (store) => {
      await store.put("a", chunks("0123456789"));
      expect(await read(store, "a", { start: 2, end: 4 })).toBe("234");
      expect(await read(store, "a", { start: 0, end: 1 })).toBe("01");
      expect(await read(store, "a", { start: 7 })).toBe("789");
      expect(await read(store, "a", { start: 8, end: 99 })).toBe("89");
    }));

  test("tell of the whole when a range is read", () =>
    withStore(async (store) => {
      const { etag } = await store.put("a", chunks("0123456789"));
      const { stream, info } = await store.get("a", { start: 2, end: 4 });
      stream.destroy();
      expect(info).toMatchObject({ key: "a", size: 10, etag });
    }));

  test("may be empty", () =>
    withStore(async (store) => {
      await store.put("empty", chunks());
      expect(await read(store, "empty")).toBe("");
      expect(await store.head("empty")).toMatchObject({ size: 0 });
    }));

  test("get another ETag when they are replaced", () =>
    withStore(async (store) => {
      const first = await store.put("a", chunks("one"));
      const second = await store.put("a", chunks("two"));
      expect(second.etag).not.toBe(first.etag);
      expect(await read(store, "a")).toBe("two");
    }));

  test("stay as they were when a put breaks", () =>
    withStore(async (store) => {
      await store.put("a", chunks("old"));
      const broken = async function* () {
        yield Buffer.from("half");
        throw new Error("the source broke");
      };
      await expect(store.put("a", broken())).rejects.toThrow("the source broke");
      expect(await read(store, "a")).toBe("old");
      expect(await keysOf(store, "")).toEqual(["a"]);
    }));

  test("are not put when the signal aborts, also while the source keeps silent", () =>
    withStore(async (store) => {
      const controller = new AbortController();
      const silent = async function* () {
        yield Buffer.from("half");
        controller.abort();
        await new Promise(() => {});
      };
      const put = store.put("a", silent(), { signal: controller.signal });
      await expect(put).rejects.toMatchObject({ name: "AbortError" });
      const late = store.put("a", chunks("x"), { signal: controller.signal });
      await expect(late).rejects.toMatchObject({ name: "AbortError" });
      expect(await store.head("a")).toBeUndefined();
    }));

  test("may not be larger than a put allows", () =>
    withStore(async (store) => {
      const put = store.put("a", chunks("1234", "5678"), { maxBytes: 7 });
      await expect(put).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
      expect(await store.head("a")).toBeUndefined();
      await store.put("a", chunks("1234", "5678"), { maxBytes: 8 });
    }));

  test("have no keys that lead out of the store or to what is unfinished", () =>
    withStore(async (store) => {
      const keys = ["", "/a", "a/", "a//b", "../a", "a/../../b", ".incoming/a", "a/.b", "a\\b", "a\0b", "a b", "é"];
      for (const key of keys) {
        await expect(store.put(key, chunks("x"))).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
        await expect(store.get(key)).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
        await expect(store.head(key)).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
        await expect(store.delete(key)).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
      }
    }));

  test("are NOT_FOUND where there is none, also as a part of another key's path", () =>
    withStore(async (store) => {
      await store.put("a/b", chunks("x"));
      for (const key of ["c", "a", "a/b/c"]) {
        const message = `there is no object ${key}`;
        await expect(store.get(key)).rejects.toMatchObject({ type: "NOT_FOUND", message });
        expect(await store.head(key)).toBeUndefined();
        expect(await store.delete(key)).toBe(false);
      }
    }));

  test("are listed by prefix, and gone when they are deleted", () =>
    withStore(async (store) => {
      for (const key of ["exports/1.zip", "exports/2.zip", "uploads/1"]) await store.put(key, chunks(key));
      expect(await store.delete("exports/1.zip")).toBe(true);
      expect(await store.delete("exports/1.zip")).toBe(false);
      expect(await keysOf(store, "")).toEqual(["exports/2.zip", "uploads/1"]);
      expect(await keysOf(store, "exports/")).toEqual(["exports/2.zip"]);
      for await (const info of store.list("exports/")) expect(info).toEqual(await store.head(info.key));
    }));

  test("are moved to another key, in the place of what was there", () =>
    withStore(async (store) => {
      await store.put("incoming/a", chunks("new"));
      await store.put("uploads/a", chunks("old"));
      await store.move("incoming/a", "uploads/a");
      expect(await read(store, "uploads/a")).toBe("new");
      expect(await keysOf(store, "")).toEqual(["uploads/a"]);
      await expect(store.move("incoming/a", "uploads/b")).rejects.toMatchObject({ type: "NOT_FOUND" });
      await expect(store.move("uploads/a", "../a")).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
      expect(await read(store, "uploads/a")).toBe("new");
    }));

  test("have room left", () =>
    withStore(async (store) => {
      expect(await store.freeBytes()).toBeGreaterThan(0);
    }));
});
