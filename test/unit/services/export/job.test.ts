import { execFile, spawnSync } from "node:child_process";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import { parse } from "csv-parse/sync";
import { openDirectory } from "../../../../lib/objects/directory.ts";
import { FETCH_LIMITS } from "../../../../lib/sources/paged-request.ts";
import type { ExportFormat, ExportJob, ExportLimits, ExportProgress } from "../../../../services/export/job-spec.ts";
import { EXPORT_LIMITS } from "../../../../services/export/job-spec.ts";
import { runExportJob } from "../../../../services/export/job.ts";
import type { PagedSourceOptions } from "../../../paged-source.ts";
import { withPagedSource } from "../../../paged-source.ts";
import { firstDifference, hasOpenpyxl, readWorkbook, unpack } from "../../../table-files.ts";
import { withTempDir } from "../../../temp-dir.ts";

const FORMAT: ExportFormat = {
  extType: "CSV",
  zip: true,
  title: "报表",
  level: 1,
  formulaGuard: true,
  longText: "fail",
};

const OBJECT = "exports/a.zip";

const command = promisify(execFile);

/** A container's root may not mount either. */
const canMount = spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status === 0;

interface JobOptions {
  format?: Partial<ExportFormat>;
  limits?: Partial<ExportLimits>;
}

function httpJob(root: string, url: string, limit: number, { format, limits }: JobOptions = {}): ExportJob {
  return {
    source: { kind: "http", url, method: "GET", header: {}, param: { limit }, taskId: "a", connections: 8 },
    format: { ...FORMAT, ...format },
    object: OBJECT,
    objects: { kind: "directory", root },
    outbound: { allowPrivate: true },
    limits: { ...EXPORT_LIMITS, fetch: { ...FETCH_LIMITS, backoffMs: 1 }, ...limits },
  };
}

async function rowsJob(root: string, rows: unknown, options: JobOptions = {}): Promise<ExportJob> {
  const store = await openDirectory(root);
  async function* content() {
    yield Buffer.from(JSON.stringify(rows));
  }
  await store.put("inputs/a.json", content());
  return { ...httpJob(root, "", 0, options), source: { kind: "rows", object: "inputs/a.json" } };
}

function run(job: ExportJob, onProgress: (progress: ExportProgress) => void = () => {}, signal?: AbortSignal) {
  return runExportJob(job, { signal: signal ?? new AbortController().signal, onProgress });
}

/** Whatever a job left in its store, finished or not. */
async function leftIn(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile() && entry.name !== "a.json").map((entry) => entry.name);
}

const TWENTY_THOUSAND: PagedSourceOptions = {
  total: () => 20_000,
  header: { id: "编号", name: "姓名", price: "价格", ok: "在售", note: "备注" },
  row: (index) => ({
    id: index,
    name: `名称,"${index}"`,
    price: index / 8,
    ok: index % 3 === 0,
    note: index % 5 === 0 ? null : `line ${index}\nnext & <last>`,
  }),
};

const TITLES = ["编号", "姓名", "价格", "在售", "备注"];

function expectedCells(index: number): unknown[] {
  const { id, name, price, ok, note } = TWENTY_THOUSAND.row(index) as Record<string, unknown>;
  return [id, name, price, ok, note];
}

describe("an export of 20,000 rows in 200 pages", () => {
  (hasOpenpyxl ? test : test.skip)(
    "arrives in XLSX cell by cell",
    () =>
      withTempDir((root) =>
        withPagedSource(TWENTY_THOUSAND, async ({ url }) => {
          const result = await run(httpJob(root, url, 100, { format: { extType: "XLSX" } }));
          expect(result).toMatchObject({ file: OBJECT, rows: 20_000, pages: 200, unmappable: 0, truncated: 0 });
          const [file] = await unpack(join(root, OBJECT));
          expect(file!.name).toBe("报表.xlsx");
          await writeFile(join(root, "a.xlsx"), file!.content);
          const [sheet] = await readWorkbook(join(root, "a.xlsx"));
          const expected = [TITLES, ...Array.from({ length: 20_000 }, (_, index) => expectedCells(index))];
          expect(firstDifference(sheet!.rows, expected)).toBeUndefined();
        }),
      ),
    30_000,
  );

  test("arrives in CSV cell by cell", () =>
    withTempDir((root) =>
      withPagedSource(TWENTY_THOUSAND, async ({ url }) => {
        const result = await run(httpJob(root, url, 100));
        const [file] = await unpack(join(root, OBJECT));
        expect(file!.name).toBe("报表.csv");
        const texts = (cells: unknown[]) => cells.map((cell) => (cell === null ? "" : String(cell)));
        const expected = [TITLES, ...Array.from({ length: 20_000 }, (_, index) => texts(expectedCells(index)))];
        expect(firstDifference(parse(file!.content), expected)).toBeUndefined();
        expect(result.rows).toBe(20_000);
      }),
    ));

  test("tells its progress now and then, and all of it at the end", () =>
    withTempDir((root) =>
      withPagedSource(TWENTY_THOUSAND, async ({ url }) => {
        const told: ExportProgress[] = [];
        const started = performance.now();
        const result = await run(httpJob(root, url, 100), (progress) => told.push(progress));
        const seconds = (performance.now() - started) / 1000;
        expect(told.at(-1)).toEqual({
          pages: 200,
          totalPages: 200,
          rows: 20_000,
          totalRows: 20_000,
          bytes: result.bytes,
        });
        expect(told.length).toBeLessThanOrEqual(seconds * 4 + 1);
        expect(told.map((progress) => progress.rows)).toEqual(
          told.map((progress) => progress.rows).sort((a, b) => a - b),
        );
      }),
    ));

  test("fits a heap that holds a small part of it", () =>
    withTempDir((root) => {
      // Some 60 MB of texts; held as rows they would be more than twice as much.
      const row = (index: number) => ({ id: index, name: `${index}`.repeat(100) });
      return withPagedSource({ ...TWENTY_THOUSAND, total: () => 120_000, row }, async ({ url }) => {
        const job = httpJob(root, url, 1000, { limits: { heapMb: 40 }, format: { extType: "XLSX" } });
        expect((await run(job)).rows).toBe(120_000);
      });
    }));
});

describe("an export of rows that were sent", () => {
  const rows = [{ name: "姓名", age: "年龄" }, { name: "李雷", age: 17 }, { age: 18 }, { name: "韩梅梅" }];

  test("writes the file itself where no zip is asked for", () =>
    withTempDir(async (root) => {
      const result = await run(await rowsJob(root, rows, { format: { zip: false, extType: "JSONL" } }));
      const text = await readFile(join(root, OBJECT), "utf8");
      expect(text).toBe('{"name":"李雷","age":17}\n{"name":null,"age":18}\n{"name":"韩梅梅","age":null}\n');
      expect(result).toMatchObject({ rows: 3, pages: 1, bytes: Buffer.byteLength(text) });
    }));

  test("splits them into numbered files, each with the header", () =>
    withTempDir(async (root) => {
      await run(await rowsJob(root, rows, { format: { rowsPerFile: 2 } }));
      const files = (await unpack(join(root, OBJECT))).map(({ name, content }) => [name, content.toString()]);
      expect(files).toEqual([
        ["报表-1.csv", "姓名,年龄\r\n李雷,17\r\n,18\r\n"],
        ["报表-2.csv", "姓名,年龄\r\n韩梅梅,\r\n"],
      ]);
    }));

  test("splits XLSX too", () =>
    withTempDir(async (root) => {
      const result = await run(await rowsJob(root, rows, { format: { rowsPerFile: 2, extType: "XLSX" } }));
      expect((await unpack(join(root, OBJECT))).map((file) => file.name)).toEqual(["报表-1.xlsx", "报表-2.xlsx"]);
      expect(result.rows).toBe(3);
    }));

  test("gives the file a name that is safe wherever it is unpacked", () =>
    withTempDir(async (root) => {
      await run(await rowsJob(root, rows, { format: { title: "../../etc/passwd" } }));
      expect((await unpack(join(root, OBJECT)))[0]!.name).toBe("_.._etc_passwd.csv");
    }));

  test("makes a file of the header alone where no row follows it", () =>
    withTempDir(async (root) => {
      expect((await run(await rowsJob(root, [{ a: "A", b: "B" }]))).rows).toBe(0);
      expect((await unpack(join(root, OBJECT)))[0]!.content.toString()).toBe("A,B\r\n");
    }));

  test("counts the characters that the encoding lacks", () =>
    withTempDir(async (root) => {
      const result = await run(await rowsJob(root, [{ a: "a" }, { a: "😀?" }], { format: { extType: "CSV_GBK" } }));
      expect(result.unmappable).toBe(1);
    }));

  test.each([
    ["{}", "the rows sent: they must be an array of rows, and are an object"],
    ['"x', "the rows sent: they are not JSON"],
    ["[]", "the rows sent: the first row must be the header, an object, and is missing"],
    ['[{"a":"A"}, 5]', "the rows sent: row 1 must be an object, and is a number"],
    [
      '[{"a":"A","b":"B"}, {"a":1}, {"a":1,"c":2}]',
      'the rows sent: row 2 has the key "c", which the header does not have; it has "a, b"',
    ],
  ])("fails on %s in plain words", (text, message) =>
    withTempDir(async (root) => {
      const job = await rowsJob(root, []);
      await writeFile(join(root, "inputs/a.json"), text);
      await expect(run(job)).rejects.toThrow(message);
      expect(await leftIn(root)).toEqual([]);
    }),
  );
});

describe("an export that fails", () => {
  test("says why, with the page, and leaves no file", () =>
    withTempDir((root) => {
      const source: PagedSourceOptions = {
        ...TWENTY_THOUSAND,
        intercept: ({ page }, response) => page === 150 && !!response.writeHead(500).end("broken"),
      };
      return withPagedSource(source, async ({ url }) => {
        await expect(run(httpJob(root, url, 100))).rejects.toMatchObject({
          type: "UNAVAILABLE",
          message: "page 150: the source answered 500: broken (3 tries)",
        });
        expect(await leftIn(root)).toEqual([]);
      });
    }));

  test("ends within a second of its abort and leaves no file, also while a page hangs", () =>
    withTempDir((root) => {
      const source = { ...TWENTY_THOUSAND, intercept: ({ page }: { page: number }) => page === 100 };
      return withPagedSource(source, async ({ url }) => {
        const controller = new AbortController();
        let abortedAt = 0;
        const onProgress = () => {
          abortedAt ||= performance.now();
          controller.abort();
        };
        const job = run(httpJob(root, url, 100), onProgress, controller.signal);
        await expect(job).rejects.toMatchObject({ name: "AbortError" });
        expect(performance.now() - abortedAt).toBeLessThan(1000);
        expect(await leftIn(root)).toEqual([]);
      });
    }));

  test("ends as soon when it is aborted before its thread has begun", () =>
    withTempDir(async (root) => {
      const controller = new AbortController();
      const job = run(await rowsJob(root, [{ a: "A" }]), () => {}, controller.signal);
      const abortedAt = performance.now();
      controller.abort();
      await expect(job).rejects.toMatchObject({ name: "AbortError" });
      expect(performance.now() - abortedAt).toBeLessThan(1000);
      expect(await leftIn(root)).toEqual([]);
    }));

  // In 4 MB not even the thread's own code finds room, in 24 MB a page of 200,000 rows does not.
  test.each([4, 24])("for want of memory fails alone, says so and leaves no file (%i MB)", (heapMb) =>
    withTempDir((root) => {
      const fat = { ...TWENTY_THOUSAND, total: () => 400_000, row: (index: number) => ({ id: index }) };
      return withPagedSource(fat, async ({ url }) => {
        await expect(run(httpJob(root, url, 200_000, { limits: { heapMb } }))).rejects.toMatchObject({
          type: "RESOURCE_EXHAUSTED",
          message: `the export needed more than its ${heapMb} MiB of memory; ask for fewer rows a page`,
        });
        expect(await leftIn(root)).toEqual([]);
      });
    }),
  );

  test("leaves room for others, and says so", () =>
    withTempDir((root) =>
      withPagedSource(TWENTY_THOUSAND, async ({ url, requests }) => {
        await expect(run(httpJob(root, url, 2000, { limits: { minFreeBytes: 2 ** 60 } }))).rejects.toMatchObject({
          type: "RESOURCE_EXHAUSTED",
          message: "fewer than 1099511627776 MiB are free where files are kept",
        });
        expect(await leftIn(root)).toEqual([]);
        expect(requests.length).toBeLessThanOrEqual(1);
      }),
    ));

  // Only root can make a disk small enough to fill.
  (canMount || process.env.CI ? test : test.skip)("for want of room says whose disk is full and leaves no file", () =>
    withTempDir(async (directory) => {
      const root = join(directory, "small");
      await mkdir(root);
      await command("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", root]);
      try {
        await withPagedSource({ ...TWENTY_THOUSAND, total: () => 100_000 }, async ({ url }) => {
          const job = httpJob(root, url, 2000, { format: { zip: false }, limits: { minFreeBytes: 0 } });
          await expect(run(job)).rejects.toMatchObject({
            type: "RESOURCE_EXHAUSTED",
            message: expect.stringContaining(`the disk of ${root} is full (ENOSPC)`),
          });
          expect(await leftIn(root)).toEqual([]);
        });
      } finally {
        await command("umount", [root]);
      }
    }),
  );

  test.each([
    { zip: false, rowsPerFile: 2 },
    { zip: true, rowsPerFile: 0 },
  ])("refuses to split as %p", (format) =>
    withTempDir(async (root) => {
      const job = await rowsJob(root, [{ a: "A" }], { format });
      await expect(run(job)).rejects.toMatchObject({ type: "INVALID_ARGUMENT", data: { field: "rows_per_file" } });
      expect(await leftIn(root)).toEqual([]);
    }),
  );
});
