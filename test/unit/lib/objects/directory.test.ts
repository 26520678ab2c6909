import { createHash } from "node:crypto";
import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "@jest/globals";
import { openDirectory, sweepIncoming } from "../../../../lib/objects/directory.ts";
import type { ObjectStore } from "../../../../lib/objects/object-store.ts";
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

function withStore(body: (store: ObjectStore, root: string) => Promise<void>): () => Promise<void> {
  return () => withTempDir(async (root) => body(await openDirectory(root), root));
}

const incoming = (root: string) => readdir(join(root, ".incoming"));

describe("a directory of objects", () => {
  test(
    "reads back what was put, with its size, digest and ETag",
    withStore(async (store) => {
      const put = await store.put("exports/a.zip", chunks("long", "shore"));
      expect(put.size).toBe(9);
      expect(put.sha256).toBe(createHash("sha256").update("longshore").digest("hex"));
      expect(await read(store, "exports/a.zip")).toBe("longshore");
      expect(await store.head("exports/a.zip")).toMatchObject({ key: "exports/a.zip", size: 9, etag: put.etag });
    }),
  );

  test(
    "reads a range, both ends inclusive, and no more than there is",
    withStore(async (store) => {
      await store.put("a", chunks("0123456789"));
      expect(await read(store, "a", { start: 2, end: 4 })).toBe("234");
      expect(await read(store, "a", { start: 7 })).toBe("789");
      expect(await read(store, "a", { start: 8, end: 99 })).toBe("89");
    }),
  );

  test(
    "holds an empty object",
    withStore(async (store) => {
      await store.put("empty", chunks());
      expect(await read(store, "empty")).toBe("");
    }),
  );

  test(
    "gives a replaced object another ETag",
    withStore(async (store) => {
      const first = await store.put("a", chunks("one"));
      const second = await store.put("a", chunks("two"));
      expect(second.etag).not.toBe(first.etag);
      expect(await read(store, "a")).toBe("two");
    }),
  );

  test(
    "keeps the old object and no temporary file when a put breaks",
    withStore(async (store, root) => {
      await store.put("a", chunks("old"));
      const broken = async function* () {
        yield Buffer.from("half");
        throw new Error("the source broke");
      };
      await expect(store.put("a", broken())).rejects.toThrow("the source broke");
      expect(await read(store, "a")).toBe("old");
      expect(await incoming(root)).toEqual([]);
    }),
  );

  test(
    "stops a put whose source keeps silent when its signal aborts",
    withStore(async (store, root) => {
      const controller = new AbortController();
      const silent = async function* () {
        yield Buffer.from("half");
        controller.abort();
        await new Promise(() => {});
      };
      const put = store.put("a", silent(), { signal: controller.signal });
      await expect(put).rejects.toMatchObject({ name: "AbortError" });
      expect(await store.head("a")).toBeUndefined();
      expect(await incoming(root)).toEqual([]);
    }),
  );

  test(
    "refuses more bytes than a put may have",
    withStore(async (store) => {
      const put = store.put("a", chunks("1234", "5678"), { maxBytes: 7 });
      await expect(put).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
      expect(await store.head("a")).toBeUndefined();
    }),
  );

  test(
    "refuses keys that would leave the directory or meet its temporary files",
    withStore(async (store) => {
      for (const key of [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../../b",
        ".incoming/a",
        "a/.b",
        "a\\b",
        "a\0b",
        "a b",
        "é",
      ]) {
        await expect(store.put(key, chunks("x"))).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
        await expect(store.get(key)).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
      }
    }),
  );

  test(
    "says NOT_FOUND for what is missing, and for a part of another key's path",
    withStore(async (store) => {
      await store.put("a/b", chunks("x"));
      for (const key of ["c", "a", "a/b/c"]) {
        await expect(store.get(key)).rejects.toMatchObject({ type: "NOT_FOUND" });
        expect(await store.head(key)).toBeUndefined();
      }
      await expect(store.put("a/b/c", chunks("x"))).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
      await expect(store.put("a", chunks("x"))).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
    }),
  );

  test(
    "lists by prefix and forgets what was deleted",
    withStore(async (store) => {
      for (const key of ["exports/1.zip", "exports/2.zip", "uploads/1"]) await store.put(key, chunks(key));
      expect(await store.delete("exports/1.zip")).toBe(true);
      expect(await store.delete("exports/1.zip")).toBe(false);
      expect(await keysOf(store, "")).toEqual(["exports/2.zip", "uploads/1"]);
      expect(await keysOf(store, "exports/")).toEqual(["exports/2.zip"]);
    }),
  );

  test(
    "knows how much room is left",
    withStore(async (store) => {
      expect(await store.freeBytes()).toBeGreaterThan(0);
    }),
  );

  test("removes at opening what dead processes left, and nothing of the living", () =>
    withTempDir(async (root) => {
      const directory = join(root, ".incoming");
      await mkdir(directory);
      // No Linux has a pid so high.
      const dead = `put.${2 ** 30}.1.${hostname()}`;
      const alive = `put.${process.pid}.2.${hostname()}`;
      const elsewhere = "put.1.3.another.host";
      const elsewhereOld = "put.1.4.another.host";
      for (const name of [dead, alive, elsewhere, elsewhereOld]) await writeFile(join(directory, name), "half");
      const longAgo = new Date(Date.now() - 2 * 3_600_000);
      await utimes(join(directory, elsewhereOld), longAgo, longAgo);
      await openDirectory(root);
      expect((await incoming(root)).sort()).toEqual([elsewhere, alive].sort());
    }));

  test("removes the unfinished files of one owner only", () =>
    withTempDir(async (root) => {
      await openDirectory(root);
      for (const name of ["job-1.1.a.h", "job-12.1.b.h"]) await writeFile(join(root, ".incoming", name), "half");
      await sweepIncoming(root, "job-1");
      expect(await incoming(root)).toEqual(["job-12.1.b.h"]);
    }));
});
