import { execFile } from "node:child_process";
import { open, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { inflateRawSync } from "node:zlib";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { deflateInParallel, shareWriters, storeInBlocks } from "../../../../lib/tabular/deflate.ts";
import { Utf8Block } from "../../../../lib/tabular/utf8-block.ts";
import type { EntryRecord } from "../../../../lib/tabular/zip-records.ts";
import { STORED, centralDirectory, localHeader } from "../../../../lib/tabular/zip-records.ts";
import type { ZipEntry } from "../../../../lib/tabular/zip.ts";
import { writeZip } from "../../../../lib/tabular/zip.ts";
import { collect, unpack } from "../../../table-files.ts";
import { withTempDir } from "../../../temp-dir.ts";

async function* from<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

const run = promisify(execFile);
const AT = new Date(2026, 10, 21, 12, 34, 56);

describe("the zip writer", () => {
  test.each([0, 1, 9])("writes at level %i what unzip and Python read", (level) =>
    withTempDir(async (directory) => {
      const path = join(directory, "a.zip");
      const large = Array.from({ length: 7 }, (_, index) => Buffer.alloc(100_000, `block ${index} `));
      const entries: ZipEntry[] = [
        { name: "small.xml", content: Buffer.from("<a/>") },
        { name: "报表 😀.csv", content: from(...large) },
        { name: "empty.csv", content: from() },
      ];
      await writeFile(path, await collect(writeZip(from(...entries), { level, modifiedAt: AT })));
      await run("unzip", ["-t", path]);
      const files = await unpack(path);
      expect(files.map((file) => file.name)).toEqual(["small.xml", "报表 😀.csv", "empty.csv"]);
      // Not toEqual, which is slow on large buffers.
      const contents = [Buffer.from("<a/>"), Buffer.concat(large), Buffer.alloc(0)];
      expect(files.map((file, index) => file.content.equals(contents[index]!))).toEqual([true, true, true]);
      expect((await run("unzip", ["-Z", "-T", path])).stdout).toContain("20261121.123456");
      if (level > 0) expect((await stat(path)).size).toBeLessThan(20_000);
    }),
  );

  test("pulls an entry only when the one before it is written", async () => {
    const seen: string[] = [];
    async function* entries(): AsyncGenerator<ZipEntry> {
      const content = async function* () {
        yield Buffer.from("a");
        seen.push("first content ended");
      };
      yield { name: "first", content: content() };
      seen.push("second entry pulled");
    }
    await collect(writeZip(entries(), { level: 1, modifiedAt: AT }));
    expect(seen).toEqual(["first content ended", "second entry pulled"]);
  });

  test("ends with the error of its content", async () => {
    const content = async function* () {
      yield Buffer.from("a");
      throw new Error("the content broke");
    };
    const zip = collect(writeZip(from({ name: "a", content: content() }), { level: 1, modifiedAt: AT }));
    await expect(zip).rejects.toThrow("the content broke");
  });

  test("writes the ZIP64 records by which Python finds an entry of 5 GB beyond 5 GB", () =>
    withTempDir(async (directory) => {
      const path = join(directory, "large.zip");
      const size = 5 * 1024 ** 3;
      const known = { method: STORED, modifiedAt: AT, crc: 1, streamed: true };
      const first: EntryRecord = { ...known, name: Buffer.from("first"), offset: 0, compressedSize: size, size };
      const second: EntryRecord = {
        ...known,
        name: Buffer.from("second"),
        offset: size,
        compressedSize: 0,
        size: 0,
        crc: 0,
      };
      const file = await open(path, "w");
      // A sparse file: its 5 GB take no room.
      const header = localHeader(second);
      await file.write(localHeader(first), 0, undefined, 0);
      await file.write(header, 0, undefined, size);
      await file.write(centralDirectory([first, second], size + header.length), 0, undefined, size + header.length);
      await file.close();
      const script = `import json, sys, zipfile
zip = zipfile.ZipFile(sys.argv[1])
print(json.dumps([[i.filename, i.file_size, i.compress_size, i.header_offset] for i in zip.infolist()]), zip.read("second"))`;
      const { stdout } = await run("/usr/bin/python3", ["-c", script, path]);
      expect(stdout.trim()).toBe(`[["first", ${size}, ${size}, 0], ["second", 0, 0, ${size}]] b''`);
    }));

  test("writes more than 65,535 entries", () =>
    withTempDir(async (directory) => {
      const path = join(directory, "many.zip");
      async function* many(): AsyncGenerator<ZipEntry> {
        for (let index = 0; index < 65_600; index++) yield { name: String(index), content: Buffer.from("x") };
      }
      await writeFile(path, await collect(writeZip(many(), { level: 1, modifiedAt: AT })));
      const script = "import sys, zipfile; print(len(zipfile.ZipFile(sys.argv[1]).infolist()))";
      expect((await run("/usr/bin/python3", ["-c", script, path])).stdout.trim()).toBe("65600");
    }));
});

describe("deflate", () => {
  const content = fc.array(fc.uint8Array({ maxLength: 70_000, size: "max" }), { maxLength: 8 });

  test("in parallel gives one stream that inflates to the content", async () => {
    await fc.assert(
      fc.asyncProperty(content, async (chunks) => {
        const deflated = await collect(deflateInParallel(from(...chunks), 1));
        expect(inflateRawSync(deflated).equals(Buffer.concat(chunks))).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  test("deflates to the same stream whatever part of the pool a writer has, also as that changes", async () => {
    const writers = new Int32Array(new SharedArrayBuffer(4));
    shareWriters(writers);
    const counts = fc.infiniteStream(fc.integer({ min: 0, max: 5 }));
    await fc.assert(
      fc.asyncProperty(content, counts, async (chunks, others) => {
        async function* changing() {
          for (const chunk of chunks) {
            Atomics.store(writers, 0, others.next().value!);
            yield chunk;
          }
        }
        const deflated = await collect(deflateInParallel(changing(), 1));
        expect(inflateRawSync(deflated).equals(Buffer.concat(chunks))).toBe(true);
      }),
      { numRuns: 20 },
    );
    Atomics.store(writers, 0, 1);
  });

  test("leaves blocks as they are until they are deflated, and writes them again then", async () => {
    const block = new Utf8Block();
    const places = new Set<ArrayBufferLike>();
    const written: Buffer[] = [];
    async function* blocks() {
      for (let number = 0; number < 40; number++) {
        for (let line = 0; !block.isFull; line++) block.text(`${number}.${line * 7919} `);
        const taken = block.take();
        places.add(taken.buffer);
        written.push(Buffer.from(taken));
        yield taken;
      }
    }
    const deflated = await collect(deflateInParallel(blocks(), 9));
    expect(inflateRawSync(deflated).equals(Buffer.concat(written))).toBe(true);
    expect(places.size).toBeLessThan(10);
  });

  test("in stored blocks gives one stream that inflates to the content", async () => {
    await fc.assert(
      fc.asyncProperty(content, async (chunks) => {
        const stored = await collect(storeInBlocks(from(...chunks)));
        expect(inflateRawSync(stored).equals(Buffer.concat(chunks))).toBe(true);
      }),
      { numRuns: 20 },
    );
  });
});
