import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { writeEncryptedZip } from "../../../../lib/tabular/encrypted-zip.ts";
import type { ZipEntry } from "../../../../lib/tabular/zip.ts";
import { collect, sevenZip } from "../../../table-files.ts";
import { waitFor } from "../../../wait-for.ts";
import { withTempDir } from "../../../temp-dir.ts";

const OPTIONS = { level: 1, modifiedAt: new Date() };

async function* of(...entries: ZipEntry[]): AsyncGenerator<ZipEntry> {
  yield* entries;
}

async function* chunks(count: number, size: number): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index++) yield randomBytes(size);
}

test.each([0, 1])("an encrypted zip of level %i is opened by 7-Zip with its password only", (level) =>
  withTempDir(async (directory) => {
    const entries = of(
      { name: "名.csv", content: Buffer.from("a,b\r\n") },
      { name: "large.csv", content: chunks(40, 100_000) },
      // An empty JSONL; what is stored as it is, a workbook, never is.
      ...(level > 0 ? [{ name: "empty.jsonl", content: chunks(0, 0) }] : []),
    );
    const path = join(directory, "a.zip");
    await writeFile(path, await collect(writeEncryptedZip(entries, "correct horse", { ...OPTIONS, level })));
    expect(sevenZip("t", "-pcorrect horse", path).code).toBe(0);
    expect(sevenZip("t", "-pcorrect hors", path).code).toBe(2);
    const { text } = sevenZip("l", "-slt", path);
    expect(text.match(/^Encrypted = \+$/gm)).toHaveLength(level > 0 ? 3 : 2);
    expect(text).toContain("Size = 4000000");
    expect(text).toContain("Path = 名.csv");
  }),
);

test("ends with the error of its content", async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield randomBytes(10);
    throw new Error("the source is gone");
  }
  await expect(
    collect(writeEncryptedZip(of({ name: "a", content: failing() }), "correct horse", OPTIONS)),
  ).rejects.toThrow("the source is gone");
});

test("is pulled no faster than it is read, and stops with its reader", async () => {
  let pulled = 0;
  let ended = false;
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        pulled++;
        yield randomBytes(100_000);
      }
    } finally {
      ended = true;
    }
  }
  const zip = writeEncryptedZip(of({ name: "a", content: endless() }), "correct horse", { ...OPTIONS, level: 0 });
  for (let read = 0; read < 20; read++) await zip.next();
  // What the library and its streams hold, some MB, whatever the whole.
  expect(pulled).toBeLessThan(100);
  await zip.return(undefined);
  await waitFor(() => ended);
});
