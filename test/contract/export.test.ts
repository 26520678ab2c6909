/** The document's REST of export: what is asked for, what is told of it, and the file that it comes to. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parse } from "csv-parse/sync";
import ExcelJS from "exceljs";
import type { ExportDetail, ExportSummary } from "../export-client.ts";
import { ExportClient, eventsOf } from "../export-client.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import type { PagedSourceOptions } from "../paged-source.ts";
import { withPagedSource } from "../paged-source.ts";
import { firstDifference, hasOpenpyxl, readWorkbook, sevenZip } from "../table-files.ts";
import { withTempDir } from "../temp-dir.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";

const SUMMARY_KEYS = ["created_at", "ext_type", "fail_reason", "hash_key", "id", "source_type", "status", "title"];
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

const ORDERS: PagedSourceOptions = {
  total: () => 20_000,
  header: { id: "编号", name: "姓名", price: "价格", ok: "在售", note: "备注" },
  row: (index) => ({
    note: index % 5 === 0 ? null : `line ${index}\nnext & <last>`,
    id: index,
    name: `名称,"${index}"`,
    price: index / 8,
    ok: index % 3 === 0,
  }),
};

function ordersTable(): unknown[][] {
  const rows = Array.from({ length: 20_000 }, (_, index) => {
    const { id, name, price, ok, note } = ORDERS.row(index) as Record<string, unknown>;
    return [id, name, price, ok, note];
  });
  return [["编号", "姓名", "价格", "在售", "备注"], ...rows];
}

function demoTable(): unknown[][] {
  const rows = Array.from({ length: 500 }, (_, id) => [id, `Demo ${id}`, 15 + (id % 50)]);
  return [["编号", "姓名", "年龄"], ...rows];
}

/** A table as CSV has it: text alone. */
function texts(table: unknown[][]): string[][] {
  return table.map((row) => row.map((cell) => (cell === null ? "" : String(cell))));
}

function readSheet(content: Buffer): Promise<unknown[][]> {
  return withTempDir(async (directory) => {
    const path = join(directory, "a.xlsx");
    await writeFile(path, content);
    return (await readWorkbook(path))[0]!.rows;
  });
}

const testWithOpenpyxl = hasOpenpyxl ? test : test.skip;

onEveryTopology("export", (start) => {
  let cluster: Cluster;
  let client: ExportClient;
  /** Through another gateway, where there is one. */
  let other: ExportClient;
  let requests = 0;

  beforeAll(async () => {
    cluster = await start();
    client = new ExportClient(cluster.gateways[0].http);
    other = new ExportClient(cluster.gateways[1].http);
  });

  afterAll(() => cluster?.stop());

  /** A request like the document's, different from every other. */
  function request(url: string, more: object = {}) {
    return {
      timestamp: 1_625_106_204 + (requests += 1),
      ext_type: "CSV",
      title: "订单",
      user_id: `user-${requests}`,
      callback: "",
      source_http: { url, method: "GET", header: {}, param: { limit: 100 } },
      ...more,
    };
  }

  /** Rows in the request; each call's are others. */
  function raw(more: object = {}) {
    const { source_http: _, ...rest } = request("");
    return { ...rest, source_raw: JSON.stringify([{ name: "姓名" }, { name: `李雷 ${requests}` }]), ...more };
  }

  describe("of the demo source", () => {
    const demo = (ext_type: string) => {
      const { source_http, ...rest } = request(`${cluster.gateways[0].http}/demo/page`, { ext_type });
      return { ...rest, source_http: { ...source_http, param: { limit: 20 } } };
    };

    test("arrives as CSV, all 500 rows", async () => {
      const detail = await other.done(await client.submit("http", demo("CSV")));
      const [file] = await client.unzip(detail.down_url);
      expect(file!.name).toBe("订单.csv");
      expect(firstDifference(parse(file!.content), texts(demoTable()))).toBeUndefined();
    });

    testWithOpenpyxl("arrives as XLSX, all 500 rows, numbers as numbers", async () => {
      const detail = await other.done(await client.submit("http", demo("XLSX")));
      const [file] = await other.unzip(detail.down_url);
      expect(file!.name).toBe("订单.xlsx");
      expect(firstDifference(await readSheet(file!.content), demoTable())).toBeUndefined();
    });
  });

  testWithOpenpyxl("20,000 rows in 200 pages arrive as XLSX cell by cell", () =>
    withPagedSource(ORDERS, async ({ url, requests: pages }) => {
      const key = await client.submit("http", request(url, { ext_type: "XLSX" }));
      const detail = await client.done(key);
      const [file] = await client.unzip(detail.down_url);
      expect(firstDifference(await readSheet(file!.content), ordersTable())).toBeUndefined();
      expect(pages.map(({ page }) => page).sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
      expect(new Set(pages.map(({ headers }) => headers["xt-export-taskid"]))).toEqual(new Set([key]));
    }),
  );

  test("20,000 rows of a source that is asked by POST arrive as CSV cell by cell", () =>
    withPagedSource(ORDERS, async ({ url, requests: pages }) => {
      const source_http = { url, method: "POST", header: { token: "t" }, param: { limit: 100, city: "深圳" } };
      const detail = await client.done(await client.submit("http", request(url, { source_http })));
      const [file] = await client.unzip(detail.down_url);
      expect(firstDifference(parse(file!.content), texts(ordersTable()))).toBeUndefined();
      expect(pages).toHaveLength(200);
      for (const { method, body, headers } of pages) {
        expect([method, body["city"], headers["token"]]).toEqual(["POST", "深圳", "t"]);
      }
    }));

  test("rows in the request arrive; a cell that a row lacks is empty", async () => {
    const rows = [{ name: "姓名", age: "年龄" }, { name: "李雷", age: 17 }, { age: 18 }];
    const key = await client.submit("raw", raw({ source_raw: JSON.stringify(rows), title: "../../etc/passwd" }));
    const detail = await other.done(key);
    expect(detail).toMatchObject({ source_type: "raw", rows: 2, title: "../../etc/passwd" });
    const files = await client.unzip(detail.down_url);
    expect(files.map(({ name, content }) => [name, content.toString()])).toEqual([
      ["_.._etc_passwd.csv", "姓名,年龄\r\n李雷,17\r\n,18\r\n"],
    ]);
  });

  test("20 MB of rows in the request arrive, row by row", async () => {
    const note = "备".repeat(160);
    const rows = Array.from({ length: 40_000 }, (_, id) => ({ id, note: `${id}${note}` }));
    const source_raw = JSON.stringify([{ id: "ID", note: "Note" }, ...rows]);
    expect(Buffer.byteLength(source_raw)).toBeGreaterThan(19_000_000);
    const detail = await client.done(await client.submit("raw", raw({ source_raw, ext_type: "JSONL" })));
    const [file] = await client.unzip(detail.down_url);
    const lines = file!.content.toString().trimEnd().split("\n");
    expect(lines).toHaveLength(40_000);
    expect(lines.findIndex((line, index) => line !== JSON.stringify(rows[index]))).toBe(-1);
  });

  test("a body of more than 64 MB is refused with 413 in the envelope", async () => {
    const answer = await client.call("POST", "/v1/export/raw", Buffer.alloc(64 * 1024 * 1024 + 1, "x").toString());
    expect(answer).toEqual({
      status: 413,
      body: { errcode: 413, msg: "body: larger than 67108864 bytes", request_id: expect.any(String) },
    });
  });

  test("detail and history tell an export with the document's names", async () => {
    const user_id = `historian ${Math.random()}`;
    const first = await client.submit("raw", raw({ user_id }));
    const second = await client.submit("raw", raw({ user_id, title: "第二" }));
    await client.done(first);
    const detail = await client.done(second);
    const told: ExportSummary = {
      created_at: expect.stringMatching(RFC_3339) as unknown as string,
      ext_type: "CSV",
      fail_reason: "",
      hash_key: second,
      id: expect.any(Number) as unknown as number,
      source_type: "raw",
      status: 2,
      title: "第二",
    };
    expect(detail).toEqual({
      ...told,
      down_url: expect.stringMatching(`/v1/down/${second}.zip\\?`),
      progress: 100,
      pages: 1,
      total_pages: 1,
      rows: 1,
      total_rows: 1,
      bytes: expect.any(Number),
      unmappable: 0,
      callback: null,
      rows_per_second: 0,
      seconds_left: null,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      operation: `operations/${second}`,
      updated_at: expect.stringMatching(RFC_3339),
    } satisfies Record<keyof ExportDetail, unknown> & Record<string, unknown>);
    expect(first).toMatch(/^[0-9a-f]{32}$/);
    const history = await other.history(encodeURIComponent(user_id));
    expect(history.map(({ hash_key }) => hash_key)).toEqual([second, first]);
    expect(history[0]).toEqual(told);
    for (const one of history) expect(Object.keys(one).sort()).toEqual(SUMMARY_KEYS);
    expect(await client.history("nobody")).toEqual([]);
  });

  test("history is whole where it is more than one message between nodes can hold", async () => {
    const user = `much-${Math.random()}`;
    const run = { hashKey: "", title: "t", extType: "CSV", source: { kind: "http" }, pad: "x".repeat(200_000) };
    // Any node that has queues makes them: what is newest must not depend on which.
    const { broker } = cluster.nodes[0]!;
    for (let index = 0; index < 12; index += 1) {
      const input = JSON.stringify({ ...run, hashKey: `${user}-${index}` });
      const params = { key: `${user}.${index}`, channel: "nobody.serves", input, label: `export.user/${user}` };
      await broker.call("queues.createRun", params);
    }
    const history = await client.history(user);
    const keys = Array.from({ length: 12 }, (_, index) => `${user}-${index}`);
    expect(history.map(({ hash_key }) => hash_key).sort()).toEqual(keys.sort());
    // By the time that is told: the clocks of two nodes may differ by the millisecond between two of these.
    const times = history.map(({ created_at }) => created_at);
    expect(times).toEqual(times.toSorted().reverse());
  });

  test("a history is asked for in pages, and by what its exports are", async () => {
    const user = `pager-${Math.random()}`;
    const keys: string[] = [];
    for (const ext_type of ["CSV", "JSONL", "CSV", "JSONL", "CSV"]) {
      keys.unshift(await client.submit("raw", raw({ user_id: user, ext_type })));
      await client.done(keys[0]!);
    }
    const failed = await client.submit("http", request("http://127.0.0.1:9/", { user_id: user }));
    keys.unshift(failed);
    await client.ended(failed);
    const page = async (query: string) => {
      const { body } = await other.call<ExportSummary[]>("GET", `/v1/export/history?user_id=${user}&${query}`);
      return { ...body, keys: body.data?.map(({ hash_key }) => hash_key) };
    };
    expect((await page("")).next_page_token).toBeUndefined();
    const walked: string[][] = [];
    let token = "";
    do {
      const { keys: some, next_page_token } = await page(`page_size=4&page_token=${token}`);
      walked.push(some);
      token = next_page_token!;
    } while (token);
    expect(walked).toEqual([keys.slice(0, 4), keys.slice(4)]);
    expect((await page("status=3")).keys).toEqual([failed]);
    expect((await page("source_type=raw&ext_type=CSV")).keys).toEqual([keys[1], keys[3], keys[5]]);
    const { data } = await page("source_type=raw&page_size=2");
    const second = encodeURIComponent(data[1]!.created_at);
    expect((await page(`from=${second}&source_type=raw`)).keys).toEqual(keys.slice(1, 3));
    expect((await page(`to=${second}`)).keys).toEqual(keys.slice(3));
    const foreign = (await page("page_size=2")).next_page_token;
    expect(await page(`page_size=2&status=2&page_token=${foreign}`)).toMatchObject({
      errcode: 400,
      msg: "page_token: is not the token of a page of this query",
    });
  });

  test("server-sent events tell an export's detail until it has ended, and no more to who has that", async () => {
    const held = Promise.withResolvers<void>();
    const intercept = async ({ page }: { page: number }) => {
      if (page === 150) await held.promise;
      return false;
    };
    await withPagedSource({ ...ORDERS, intercept }, async ({ url }) => {
      const key = await client.submit("http", request(url));
      const told: ExportDetail[] = [];
      let id = "";
      for await (const event of eventsOf(`${cluster.gateways[1].http}/v1/export/events?key=${key}`)) {
        told.push(event.data);
        ({ id } = event);
        if (event.data.rows > 0) held.resolve();
      }
      expect(told[0]).toMatchObject({ hash_key: key, status: 1 });
      expect(told.find(({ rows, status }) => rows > 0 && status === 1)).toMatchObject({ total_rows: 20_000 });
      expect(told.at(-1)).toMatchObject({ status: 2, rows: 20_000, progress: 100 });
      const again = await fetch(`${cluster.gateways[0].http}/v1/export/events?key=${key}`, {
        headers: { "last-event-id": id },
      });
      expect(again.status).toBe(204);
    });
  });

  test("a password encrypts the zip, so that 7-Zip opens it with that and no other", async () => {
    const password = "correct horse battery";
    const body = raw({ ext_type: "XLSX", password, rows_per_file: 1, source_raw: '[{"a":"A"},{"a":1},{"a":2}]' });
    const { down_url } = await client.done(await client.submit("raw", body));
    const bytes = Buffer.from(await (await other.download(down_url)).arrayBuffer());
    await withTempDir(async (directory) => {
      const path = join(directory, "a.zip");
      await writeFile(path, bytes);
      expect(sevenZip("t", "-pwrong password", path)).toMatchObject({ code: 2 });
      expect(sevenZip("l", "-slt", path)).toMatchObject({ text: expect.stringContaining("Method = AES-256") });
      expect(sevenZip("x", `-p${password}`, `-o${directory}`, path)).toMatchObject({ code: 0 });
      const sheets = await Promise.all(
        ["订单-1.xlsx", "订单-2.xlsx"].map(async (name) => {
          const book = new ExcelJS.Workbook();
          await book.xlsx.readFile(join(directory, name));
          return book.worksheets[0]!.getColumn(1).values.slice(1);
        }),
      );
      expect(sheets).toEqual([
        ["A", 1],
        ["A", 2],
      ]);
    });
  });

  test("a summary tells in a last sheet what was exported, for whom and when", () =>
    withPagedSource({ ...ORDERS, total: () => 30 }, async ({ url }) => {
      const source_http = { url: `${url}?token=hunter2`, param: { limit: 10, city: "上海" } };
      const body = request(url, { ext_type: "XLSX", summary: true, source_http, user_id: "li", title: "people" });
      const key = await client.submit("http", body);
      const [file] = await client.unzip((await client.done(key)).down_url);
      const book = new ExcelJS.Workbook();
      await book.xlsx.load(file!.content as unknown as ArrayBuffer);
      expect(book.worksheets.map(({ name, rowCount }) => [name, rowCount])).toEqual([
        ["Sheet1", 31],
        ["Summary", 7],
      ]);
      const lines = new Map<unknown, unknown>();
      book.worksheets[1]!.eachRow(({ values }) => lines.set((values as unknown[])[1], (values as unknown[])[2]));
      expect(Object.fromEntries(lines)).toEqual({
        Title: "people",
        "Exported by": "li",
        "Exported at (UTC)": expect.any(Date),
        Source: url,
        Filter: '{"limit":10,"city":"上海"}',
        Request: key,
        Rows: 30,
      });
      expect(book.creator).toBe("li");
      expect(Math.abs(Number(lines.get("Exported at (UTC)")) - Date.now())).toBeLessThan(60_000);
    }));

  test("rows_per_file splits the export within its zip", async () => {
    const rows = [{ name: "Name" }, ...Array.from({ length: 5 }, (_, index) => ({ name: `row ${index}` }))];
    const body = raw({ rows_per_file: 2, source_raw: JSON.stringify(rows) });
    const { down_url } = await client.done(await client.submit("raw", body));
    const files = await client.unzip(down_url);
    expect(files.map(({ name }) => name)).toEqual(["订单-1.csv", "订单-2.csv", "订单-3.csv"]);
    expect(files[2]!.content.toString()).toBe("Name\r\nrow 4\r\n");
  });

  describe("the same request", () => {
    test("is one export, whatever its white space and the order of its keys", () =>
      withPagedSource({ ...ORDERS, total: () => 10 }, async ({ url, requests: pages }) => {
        const body = request(url, { source_http: { url, method: "GET", param: { limit: 100, a: 1 } } });
        const backwards = Object.fromEntries(Object.entries(body).reverse());
        const source_http = { param: { a: 1, limit: 100 }, method: "GET", url };
        const keys = await Promise.all([
          client.submit("http", body),
          other.submit("http", JSON.stringify(body, null, 3)),
          client.submit("http", { ...backwards, source_http }),
          other.submit("http", ` ${JSON.stringify(body)}\n`),
        ]);
        expect(new Set(keys).size).toBe(1);
        const { id } = await client.done(keys[0]);
        expect(await other.submit("http", body)).toBe(keys[0]);
        expect(await client.detail(keys[0])).toMatchObject({ id, status: 2, operation: `operations/${keys[0]}` });
        expect(pages).toHaveLength(1);
        const later = await client.submit("http", { ...body, timestamp: body.timestamp + 1_000_000 });
        expect(later).not.toBe(keys[0]);
        await client.done(later);
        expect(pages).toHaveLength(2);
      }));

    test("of rows is one export too", async () => {
      const body = raw();
      const backwards = Object.fromEntries(Object.entries(body).reverse());
      const keys = await Promise.all([
        client.submit("raw", body),
        other.submit("raw", JSON.stringify(backwards, null, 2)),
      ]);
      expect(keys[1]).toBe(keys[0]);
      const { id } = await client.done(keys[0]!);
      expect(await client.submit("raw", body)).toBe(keys[0]);
      expect((await client.detail(keys[0]!)).id).toBe(id);
    });

    test("runs again where it failed, and detail tells of the last run", () => {
      let broken = true;
      const source: PagedSourceOptions = {
        ...ORDERS,
        total: () => 10,
        intercept: (_, response) => broken && !!response.writeHead(404).end("gone"),
      };
      return withPagedSource(source, async ({ url }) => {
        // A callback is a task of its own, whose HashCode begins with that of its run.
        const body = request(url, { callback: "http://127.0.0.1:9/" });
        const key = await client.submit("http", body);
        const failed = await client.ended(key);
        expect(failed).toMatchObject({ status: 3, fail_reason: "page 1: the source answered 404: gone", down_url: "" });
        broken = false;
        expect(await other.submit("http", body)).toBe(key);
        const detail = await client.done(key);
        expect(detail).toMatchObject({ hash_key: key, fail_reason: "", operation: `operations/${key}-2` });
        expect(detail.id).not.toBe(failed.id);
        expect(await client.unzip(detail.down_url)).toHaveLength(1);
        expect(await client.submit("http", body)).toBe(key);
        expect((await client.detail(key)).id).toBe(detail.id);
      });
    });
  });

  describe("request_id", () => {
    const trace = "4bf92f3577b34da6a3ce929d0e0e4736";

    test.each([
      [{ "x-b3-traceid": "463ac35c9f6413ad", traceparent: `00-${trace}-00f067aa0ba902b7-01` }, "463ac35c9f6413ad"],
      [{ traceparent: `00-${trace}-00f067aa0ba902b7-01` }, trace],
      [{}, expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)],
    ])("is the caller's trace, else a new one: %j", async (headers, id) => {
      const good = await client.call("GET", "/v1/export/history?user_id=5", undefined, headers);
      expect(good).toEqual({ status: 200, body: { errcode: 0, msg: "", data: [], request_id: id } });
      const bad = await client.call("GET", "/v1/export/detail?key=x", undefined, headers);
      expect(bad.body.request_id).toEqual(id);
    });
  });

  describe("bad input", () => {
    const http = () => request("http://127.0.0.1:9/");
    const source = { url: "http://127.0.0.1:9/", method: "GET" };

    test.each<[string, "http" | "raw", () => unknown, string | RegExp]>([
      ["no JSON", "http", () => "{", /^body: is not JSON/],
      ["no JSON", "raw", () => "{", /^body: is not JSON/],
      ["an array", "http", () => [], "body: must be a JSON object"],
      ["an array", "raw", () => [], "body: must be a JSON object"],
      ["nothing", "http", () => "", /^ext_type: must be/],
      ["ext_type", "http", () => ({ ...http(), ext_type: "PDF" }), /^ext_type: must be one of XLSX, CSV,/],
      ["title", "http", () => ({ ...http(), title: 5 }), "title: must be a string"],
      ["an empty title", "raw", () => raw({ title: "" }), "title: must not be empty"],
      [
        "an empty title of much",
        "raw",
        () => raw({ title: "", user_id: "x".repeat(100_000) }),
        "title: must not be empty",
      ],
      ["no user_id", "http", () => ({ ...http(), user_id: undefined }), "user_id: must be given"],
      ["timestamp", "raw", () => raw({ timestamp: "soon" }), "timestamp: must be Unix seconds"],
      ["callback", "raw", () => raw({ callback: "ftp://a" }), "callback: must begin with http:// or https://"],
      ["zip", "raw", () => raw({ zip: "no" }), "zip: must be true or false"],
      ["rows_per_file", "raw", () => raw({ rows_per_file: 0 }), "rows_per_file: must be 1 or more"],
      ["a split file", "raw", () => raw({ rows_per_file: 5, zip: false }), "rows_per_file: needs a zip"],
      ["conn", "http", () => ({ ...http(), conn: 1_000 }), "conn: must be 1 to 32"],
      ["no source", "http", () => ({ ...http(), source_http: undefined }), "source_http: must be an object with url"],
      ["no rows", "raw", () => raw({ source_raw: undefined }), "source_raw: must be a string"],
      ["rows that are no text", "raw", () => raw({ source_raw: [{}] }), "source_raw: must be a string"],
      [
        "url",
        "http",
        () => ({ ...http(), source_http: { url: "file:///etc/passwd" } }),
        "source_http.url: must begin with http:// or https://",
      ],
      [
        "method",
        "http",
        () => ({ ...http(), source_http: { ...source, method: "PUT" } }),
        "source_http.method: must be GET or POST",
      ],
      [
        "header",
        "http",
        () => ({ ...http(), source_http: { ...source, header: [] } }),
        "source_http.header: must be an object of strings",
      ],
      [
        "param",
        "http",
        () => ({ ...http(), source_http: { ...source, param: "limit=5" } }),
        "source_http.param: must be an object",
      ],
    ])("%s (%s) is errcode 400 with the field named", async (_, kind, body, message) => {
      const answer = await client.call("POST", `/v1/export/${kind}`, body());
      const msg = typeof message === "string" ? message : expect.stringMatching(message);
      expect(answer).toEqual({ status: 400, body: { errcode: 400, msg, request_id: expect.any(String) } });
    });

    test.each([
      ["GET", "/v1/export/detail", 401, "key: must be given"],
      ["GET", "/v1/export/history", 401, "user_id: must be given"],
      ["POST", "/v1/export/cancel", 401, "key: must be given"],
      ["GET", `/v1/export/detail?key=${"0".repeat(32)}`, 400, `key: there is no export ${"0".repeat(32)}`],
      ["GET", "/v1/export/detail?key=x", 400, "key: there is no export x"],
      ["GET", "/v1/export/detail?key=x&key=y", 400, "key: must be a string"],
      ["GET", "/v1/export/history?user_id=x&user_id=y", 400, "user_id: must be given once"],
      ["GET", "/v1/export/history?user_id=x&status=5", 400, "status: must be 1 to 4"],
      [
        "GET",
        "/v1/export/history?user_id=x&from=today",
        400,
        "from: must be an RFC 3339 time, such as 2030-01-31T12:00:00Z",
      ],
      ["GET", "/v1/export/history?user_id=x&page_size=-1", 400, "page_size: must be a whole number, 0 or more"],
      ["GET", "/v1/export/history?user_id=x&page_token=y", 400, "page_token: is not the token of a page of this query"],
      ["GET", "/v1/export/events?key=x", 400, "key: there is no export x"],
      ["GET", "/v1/export/events", 400, "key: must be given"],
      ["GET", "/demo/page?page=x", 400, "page: must be a whole number"],
    ])("%s %s is HTTP 400 with errcode %d", async (method, path, errcode, msg) => {
      const { status, body } = await client.call(method, path, method === "POST" ? {} : undefined);
      expect(status).toBe(400);
      expect(body).toMatchObject({ errcode, msg, request_id: expect.any(String) });
    });

    test("a key that is no text, or of nothing, cancels nothing", async () => {
      expect((await client.call("POST", "/v1/export/cancel", { key: 5 })).body.errcode).toBe(400);
      expect((await client.call("POST", "/v1/export/cancel", { key: "f".repeat(32) })).body).toMatchObject({
        errcode: 400,
        msg: `key: there is no export ${"f".repeat(32)}`,
      });
    });

    test("somebody else's task under an export's key is not taken for the export", async () => {
      const body = raw();
      const key = await client.submit("raw", { ...body, title: "other" });
      await client.done(key);
      const foreign = { Channel: "mine", HashCode: `${key}-9`, Input: "{}" };
      const created = await client.call("POST", "/v1/queues/tasks", { Task: foreign });
      expect(created.status).toBe(200);
      expect(await client.detail(key)).toMatchObject({ hash_key: key, status: 2 });
    });
  });
});

describe("a node with limits of its operator", () => {
  let node: TestNode;
  let client: ExportClient;
  const settings = { exportUserLimit: 2, exportConcurrency: 1, exportDenyHosts: ["localhost"] };

  beforeAll(async () => {
    node = await startNode({ config: settings });
    client = new ExportClient(node.http);
  });

  afterAll(() => node?.stop());

  const body = (url: string, title: string, user_id = "1") => ({
    ext_type: "CSV",
    title,
    user_id,
    source_http: { url },
  });

  test("lets one user have so many exports under way, and others theirs", async () => {
    const held = Promise.withResolvers<void>();
    const intercept = async () => {
      await held.promise;
      return false;
    };
    await withPagedSource({ ...ORDERS, intercept }, async ({ url }) => {
      const first = await client.submit("http", body(url, "a"));
      await client.submit("http", body(url, "b"));
      expect(await client.call("POST", "/v1/export/http", body(url, "c"))).toMatchObject({
        status: 429,
        body: { errcode: 429, msg: expect.stringMatching(/^user_id: 2 exports of this user wait or run/) },
      });
      // What is under way already is nothing more.
      expect(await client.submit("http", body(url, "a"))).toBe(first);
      const others = await client.submit("http", body(url, "c", "2"));
      held.resolve();
      await client.done(first);
      await client.done(await client.submit("http", body(url, "c")));
      await client.done(others);
    });
  });

  test("asks no source that is on the list of those that may not be asked", async () => {
    await withPagedSource(ORDERS, async ({ url, requests }) => {
      const denied = body(url.replace("127.0.0.1", "localhost"), "denied", "3");
      const detail = await client.ended(await client.submit("http", denied));
      expect(detail).toMatchObject({ status: 3, fail_reason: expect.stringMatching(/it is on the deny list/) });
      expect(requests).toEqual([]);
    });
  });
});

describe("a node that bounds timestamps", () => {
  let node: TestNode;
  let client: ExportClient;

  beforeAll(async () => {
    node = await startNode({ config: { exportTimestampWindow: 300_000 } });
    client = new ExportClient(node.http);
  });

  afterAll(() => node?.stop());

  const body = (timestamp: number | undefined) => ({
    timestamp,
    ext_type: "CSV",
    title: "t",
    user_id: "1",
    source_raw: '[{"a":"A"}]',
  });
  const now = () => Math.floor(Date.now() / 1_000);

  test.each([
    [() => now() - 330, "timestamp: must be within 300 seconds of now"],
    [() => now() + 330, "timestamp: must be within 300 seconds of now"],
    [() => undefined, "timestamp: must be given, in Unix seconds"],
  ])("refuses one that is not within its window: %#", async (timestamp, msg) => {
    const answer = await client.call("POST", "/v1/export/raw", body(timestamp()));
    expect(answer).toMatchObject({ status: 400, body: { errcode: 400, msg } });
  });

  test.each([-240, 0, 240])("takes one that is: %d seconds from now", async (offset) => {
    await client.done(await client.submit("raw", body(now() + offset)));
  });
});
