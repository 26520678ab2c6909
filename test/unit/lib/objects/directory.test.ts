import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { openDirectory, sweepIncoming } from "../../../../lib/objects/directory.ts";
import { withTempDir } from "../../../temp-dir.ts";

async function* chunk(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

const incoming = (root: string) => readdir(join(root, ".incoming"));

test("a put that breaks leaves no temporary file", () =>
  withTempDir(async (root) => {
    const store = await openDirectory(root);
    const broken = async function* () {
      yield Buffer.from("half");
      expect(await incoming(root)).toHaveLength(1);
      throw new Error("the source broke");
    };
    await expect(store.put("a", broken())).rejects.toThrow("the source broke");
    expect(await incoming(root)).toEqual([]);
  }));

test("a put that is aborted leaves no temporary file, also while its source keeps silent", () =>
  withTempDir(async (root) => {
    const store = await openDirectory(root);
    const controller = new AbortController();
    const silent = async function* () {
      yield Buffer.from("half");
      controller.abort();
      await new Promise(() => {});
    };
    await expect(store.put("a", silent(), { signal: controller.signal })).rejects.toMatchObject({ name: "AbortError" });
    expect(await incoming(root)).toEqual([]);
  }));

test("a key cannot be a part of another key's path, as a file cannot be a directory", () =>
  withTempDir(async (root) => {
    const store = await openDirectory(root);
    await store.put("a/b", chunk("x"));
    await expect(store.put("a/b/c", chunk("x"))).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
    await expect(store.put("a", chunk("x"))).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
  }));

test("opening removes what dead processes left, and nothing of the living", () =>
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

test("sweeping removes the unfinished files of one owner only", () =>
  withTempDir(async (root) => {
    await openDirectory(root);
    for (const name of ["job-1.1.a.h", "job-12.1.b.h"]) await writeFile(join(root, ".incoming", name), "half");
    await sweepIncoming(root, "job-1");
    expect(await incoming(root)).toEqual(["job-12.1.b.h"]);
  }));
