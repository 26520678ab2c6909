import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { signingKey } from "../../../lib/signing-key.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test("the key is made once, and only its owner may read it", async () => {
  const dataDir = join(directory, "data");
  const config = { dataDir, signingKey: undefined };
  const first = await signingKey(config);
  expect(first).toHaveLength(32);
  expect(await signingKey(config)).toEqual(first);
  expect((await stat(join(dataDir, "signing.key"))).mode & 0o777).toBe(0o600);
});

test("nodes that start at once agree on one key and leave nothing else behind", async () => {
  const config = { dataDir: directory, signingKey: undefined };
  const keys = await Promise.all(Array.from({ length: 20 }, () => signingKey(config)));
  expect(new Set(keys.map((key) => key.toString("hex"))).size).toBe(1);
  expect(await readdir(directory)).toEqual(["signing.key"]);
});

test("SIGNING_KEY goes before the file", async () => {
  const key = await signingKey({ dataDir: directory, signingKey: "x".repeat(32) });
  expect(key.toString()).toBe("x".repeat(32));
  expect(await readdir(directory)).toEqual([]);
});

test("a directory that cannot be made and a file that holds no key are named", async () => {
  await writeFile(join(directory, "file"), "");
  const unwritable = signingKey({ dataDir: join(directory, "file", "data"), signingKey: undefined });
  await expect(unwritable).rejects.toThrow(/^DATA_DIR .*file\/data cannot hold the signing key/);
  await writeFile(join(directory, "signing.key"), "half");
  await expect(signingKey({ dataDir: directory, signingKey: undefined })).rejects.toThrow(/signing\.key is not a key/);
});
