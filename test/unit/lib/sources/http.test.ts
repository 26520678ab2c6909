import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "@jest/globals";
import { openHttp } from "../../../../lib/sources/http.ts";
import type { FetchLimits, PagedRequest } from "../../../../lib/sources/paged-request.ts";
import { FETCH_LIMITS } from "../../../../lib/sources/paged-request.ts";
import type { RowSource } from "../../../../lib/sources/row-source.ts";
import { isExactNumber } from "../../../../lib/tabular/table.ts";
import type { PageRequest, PagedSource, PagedSourceOptions } from "../../../paged-source.ts";
import { withPagedSource } from "../../../paged-source.ts";

const TEN_A_PAGE: PagedSourceOptions = {
  total: () => 45,
  header: { id: "No.", name: "Name" },
  row: (index) => ({ name: `n${index}`, id: index }),
};

interface OpenOptions {
  limits?: Partial<FetchLimits>;
  connections?: number;
  signal?: AbortSignal;
  maxPages?: number;
}

function open(source: PagedSource, request: Partial<PagedRequest> = {}, options: OpenOptions = {}): Promise<RowSource> {
  return openHttp(
    { url: source.url, method: "GET", header: {}, param: { limit: 10 }, taskId: "task-1", ...request },
    {
      outbound: { allowPrivate: true },
      limits: { ...FETCH_LIMITS, backoffMs: 1, ...options.limits },
      connections: options.connections ?? 4,
      maxPages: options.maxPages ?? 1000,
      signal: options.signal ?? new AbortController().signal,
    },
  );
}

async function readAll(rows: RowSource): Promise<unknown[][]> {
  try {
    const all: unknown[][] = [];
    for await (const batch of rows.batches) all.push(...batch.map((row) => [...row]));
    return all;
  } finally {
    await rows.close();
  }
}

type Intercept = (request: PageRequest, response: ServerResponse) => boolean;

/** Reads the whole of a source of which some pages are answered otherwise. */
function crawl(intercept: Intercept, options: OpenOptions = {}, source: Partial<PagedSourceOptions> = {}) {
  return withPagedSource({ ...TEN_A_PAGE, ...source, intercept }, async (paged) => ({
    rows: await readAll(await open(paged, {}, options)),
    requests: paged.requests,
  }));
}

function answerJson(response: ServerResponse, value: unknown): true {
  response.end(JSON.stringify(value));
  return true;
}

function answerGzip(response: ServerResponse, bytes: Buffer): true {
  response.setHeader("content-encoding", "gzip").end(bytes);
  return true;
}

function answerStatus(response: ServerResponse, status: number, headers: Record<string, string> = {}): true {
  response.writeHead(status, headers).end("a word of the source");
  return true;
}

const page3 = (data: unknown, tag: unknown = { page: 3, total: 45, total_page: 5 }): Intercept => {
  return ({ page }, response) => page === 3 && answerJson(response, { errcode: 0, data: { data, pagetag: tag } });
};

describe("a paged HTTP source", () => {
  test("hands out every row in order, in the header's columns, and no header twice", () =>
    withPagedSource(TEN_A_PAGE, async (source) => {
      const rows = await open(source);
      expect(rows.columns).toEqual([
        { key: "id", title: "No." },
        { key: "name", title: "Name" },
      ]);
      expect(await readAll(rows)).toEqual(Array.from({ length: 45 }, (_, index) => [index, `n${index}`]));
      expect(rows.position()).toEqual({ pages: 5, totalPages: 5, totalRows: 45 });
    }));

  test("reads answers that were compressed with gzip, as it asks for", async () => {
    const compressing: Intercept = ({ page, headers }, response) => {
      expect(headers["accept-encoding"]).toBe("gzip");
      if (page !== 3) return false;
      const pagetag = { page, total: 45, total_page: 5 };
      const data = [TEN_A_PAGE.header, ...Array.from({ length: 10 }, (_, index) => TEN_A_PAGE.row(20 + index))];
      return answerGzip(response, gzipSync(JSON.stringify({ errcode: 0, data: { data, pagetag } })));
    };
    const { rows } = await crawl(compressing);
    expect(rows).toEqual(Array.from({ length: 45 }, (_, index) => [index, `n${index}`]));
  });

  test("sends page, the parameters, the headers and the task's id, in a query or in a body", () =>
    withPagedSource(TEN_A_PAGE, async (source) => {
      const param = { limit: 45, filter: { a: [1] }, page: 7 };
      const header = { Authorization: "Bearer x", Host: "evil.example", "XT-Export-TaskId": "forged" };
      await readAll(await open(source, { param, header, url: `${source.url}?kept=1` }));
      await readAll(await open(source, { param, header, method: "POST" }));
      const [get, post] = source.requests;
      expect(Object.fromEntries(get!.query)).toEqual({ kept: "1", page: "1", limit: "45", filter: '{"a":[1]}' });
      expect(post!.body).toEqual({ ...param, page: 1 });
      for (const { headers } of source.requests) {
        expect(headers).toMatchObject({ authorization: "Bearer x", "xt-export-taskid": "task-1" });
        expect(headers.host).toMatch(/^127/);
      }
      expect(source.requests).toHaveLength(2);
    }));

  test("fetches pages concurrently, but never more than its connections", () =>
    withPagedSource(
      { ...TEN_A_PAGE, total: () => 400, intercept: async () => (await delay(5), false) },
      async (source) => {
        expect(await readAll(await open(source, {}, { connections: 6 }))).toHaveLength(400);
        expect(source.peak()).toBe(6);
      },
    ));

  test("runs ahead of its reader by a bounded number of pages", () =>
    withPagedSource({ ...TEN_A_PAGE, total: () => 10_000 }, async (source) => {
      const rows = await open(source, {}, { connections: 2 });
      const batches = rows.batches[Symbol.asyncIterator]();
      for (let page = 1; page <= 20; page++) {
        await batches.next();
        // Turns of the loop in which a crawl without a bound would go on.
        for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
        expect(source.requests.length).toBeLessThanOrEqual(page + 4);
      }
      expect(source.requests.length).toBeGreaterThan(20);
      await rows.close();
    }));

  test("reads the pages that a source grew by while it was read, the last partial one too", async () => {
    let total = 45;
    const grow: Intercept = ({ page }) => {
      if (page === 4) total = 63;
      return false;
    };
    const { rows } = await crawl(grow, { connections: 1 }, { total: () => total });
    expect(rows).toHaveLength(63);
  });

  test("asks for no page that a source lost while it was read", async () => {
    let total = 100;
    const shrink: Intercept = ({ page }) => {
      if (page === 2) total = 35;
      return false;
    };
    const { rows, requests } = await crawl(shrink, { connections: 1 }, { total: () => total });
    expect(rows).toHaveLength(35);
    expect(Math.max(...requests.map((request) => request.page))).toBeLessThanOrEqual(4);
  });

  test("reads a source without rows", async () => {
    const { rows } = await crawl(() => false, {}, { total: () => 0 });
    expect(rows).toEqual([]);
  });

  test("keeps every digit of large numbers", async () => {
    const answer =
      '{"errcode":0,"data":{"data":[{"id":"No."},{"id":12345678901234567890}],"pagetag":{"total_page":1}}}';
    const { rows } = await crawl((_, response) => !!response.end(answer));
    const [[id]] = rows as [[object]];
    expect(isExactNumber(id) && id.rawJSON).toBe("12345678901234567890");
  });

  test("reads a cell that a row lacks as empty, also one named as what objects inherit", async () => {
    const header = { a: "A", toString: "T", constructor: "C" };
    const { rows } = await crawl(() => false, {}, { total: () => 1, header, row: () => ({ a: 1 }) });
    expect(rows).toEqual([[1, undefined, undefined]]);
  });
});

describe("a source that fails for a while", () => {
  test.each([500, 502, 503, 429])("is asked again after a %i", async (status) => {
    const { rows } = await crawl(({ page, attempt }, response) => {
      return page === 3 && attempt < 3 && answerStatus(response, status);
    });
    expect(rows).toHaveLength(45);
  });

  test("is asked again after an answer that does not unpack", async () => {
    const cut = gzipSync("{}").subarray(0, 10);
    const { rows } = await crawl(
      ({ page, attempt }, response) => page === 3 && attempt < 3 && answerGzip(response, cut),
    );
    expect(rows).toHaveLength(45);
  });

  test("is asked again after a broken connection", async () => {
    const { rows } = await crawl(({ page, attempt }, response) => page === 2 && attempt < 3 && !!response.destroy());
    expect(rows).toHaveLength(45);
  });

  test("is left alone for as long as its Retry-After says, up to a bound", async () => {
    const times: number[] = [];
    const intercept: Intercept = ({ page, attempt }, response) => {
      if (page === 2) times.push(performance.now());
      return page === 2 && attempt === 1 && answerStatus(response, 429, { "retry-after": "3600" });
    };
    await crawl(intercept, { limits: { maxRetryAfterMs: 200 } });
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(195);
  });

  test("fails the crawl after the last try, naming the page", async () => {
    const failing = crawl(({ page }, response) => page === 4 && answerStatus(response, 500));
    await expect(failing).rejects.toMatchObject({
      type: "UNAVAILABLE",
      message: "page 4: the source answered 500: a word of the source (3 tries)",
    });
  });

  test("fails when it says nothing for too long, naming the page", async () => {
    const hanging = crawl(({ page }) => page === 3, { limits: { pageTimeoutMs: 60 } });
    await expect(hanging).rejects.toThrow("page 3: no answer within 0.06 s (3 tries)");
  });

  test("fails when it stops in the middle of an answer", async () => {
    const hanging = crawl(({ page }, response) => page === 3 && response.write("{") !== undefined, {
      limits: { pageTimeoutMs: 60 },
    });
    await expect(hanging).rejects.toThrow("page 3: no answer within");
  });
});

describe("a page that is wrong fails the crawl at once, naming the page", () => {
  const header = TEN_A_PAGE.header;
  const cases: [string, Intercept, string][] = [
    ["HTML", ({ page }, r) => page === 3 && !!r.end("<html>\n<b>login"), 'the answer is not JSON: "<html> <b>login"'],
    ["an errcode", ({ page }, r) => page === 3 && answerJson(r, { errcode: 7, msg: "no" }), "errcode 7: no"],
    ["no pagetag", page3([header], null), "data.pagetag must be an object, and is null"],
    ["no total_page", page3([header], {}), "data.pagetag.total_page is missing"],
    ["a text for total_page", page3([header], { total_page: "x" }), "data.pagetag.total_page must be a whole number"],
    ["no rows", page3(undefined), "data.data must be an array of rows, and is missing"],
    ["a row that is none", page3([header, [1]]), "row 1 must be an object, and is an array"],
    ["a row of other keys", page3([header, { ID: 1, NAME: "n" }]), 'row 1 has the key "ID", which the header does not'],
    ["no header", page3([{ id: 1, name: "n" }]), "its first row is not the header"],
    ["an empty page", page3([]), "its first row is not the header"],
    ["another page", page3([header], { page: 1, total_page: 5 }), "data.pagetag says it is page 1"],
    ["a 404", ({ page }, r) => page === 3 && answerStatus(r, 404), "the source answered 404: a word of the source"],
    [
      "brotli, which was not asked for",
      ({ page }, r) => page === 3 && answerStatus(r, 200, { "content-encoding": "br" }),
      "compressed its answer (br)",
    ],
    ["an array", ({ page }, r) => page === 3 && answerJson(r, []), "the answer must be an object, and is an array"],
  ];
  test.each(cases)("%s", async (_, intercept, message) => {
    let asked = 0;
    const failing = crawl((request, response) => {
      if (request.page === 3) asked++;
      return intercept(request, response);
    });
    await expect(failing).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
    await expect(crawl(intercept)).rejects.toThrow(`page 3: `);
    await expect(crawl(intercept)).rejects.toThrow(message);
    expect(asked).toBe(1);
  });

  test("a header without columns", async () => {
    await expect(crawl(() => false, {}, { header: {} })).rejects.toThrow("page 1: the header row names no column");
  });

  test("more bytes than a page may have", async () => {
    const large: Intercept = ({ page }, response) => page === 3 && !!response.end("x".repeat(100_000));
    await expect(crawl(large, { limits: { maxPageBytes: 50_000 } })).rejects.toMatchObject({
      type: "RESOURCE_EXHAUSTED",
      message: expect.stringContaining("page 3: the answer is larger than 50000 bytes"),
    });
  });

  test("a gzip bomb, before it has unfolded", async () => {
    const bomb = gzipSync(Buffer.alloc(200 * 1024 ** 2));
    const intercept: Intercept = ({ page }, response) => page === 3 && answerGzip(response, bomb);
    await expect(crawl(intercept, { limits: { maxPageBytes: 1024 ** 2 } })).rejects.toMatchObject({
      type: "RESOURCE_EXHAUSTED",
      message: expect.stringContaining("page 3: the answer is larger than 1048576 bytes"),
    });
  });

  test("more pages than are read", async () => {
    await expect(crawl(() => false, { maxPages: 4 })).rejects.toThrow("page 1: the source has 5 pages; at most 4");
  });
});

describe("a redirect", () => {
  const to = (target: (page: number) => string, status = 302): Intercept => {
    return ({ page, query }, response) =>
      !query.has("moved") && answerStatus(response, status, { location: target(page) });
  };

  test("is followed", async () => {
    const { rows } = await crawl(to((page) => `/page?moved=1&limit=10&page=${page}`));
    expect(rows).toHaveLength(45);
  });

  test("to the address of cloud metadata is refused, and not tried again", async () => {
    const failing = crawl(to(() => "http://169.254.169.254/latest/meta-data/"));
    await expect(failing).rejects.toMatchObject({
      type: "PERMISSION_DENIED",
      message: expect.stringContaining("page 1: requests to 169.254.169.254 are not allowed"),
    });
  });

  test("to another protocol is refused", async () => {
    await expect(crawl(to(() => "file:///etc/passwd"))).rejects.toThrow("page 1: the redirect's target");
  });

  test("is followed five times and no more", async () => {
    await expect(crawl(to(() => "/page"))).rejects.toThrow("page 1: more than 5 redirects");
  });

  test("to another host does not carry the author's headers there", () =>
    withPagedSource(TEN_A_PAGE, async (target) => {
      const elsewhere = target.url.replace("127.0.0.1", "localhost");
      const intercept = to((page) => `${elsewhere}?limit=45&page=${page}`, 307);
      await withPagedSource({ ...TEN_A_PAGE, intercept }, async (source) => {
        await readAll(await open(source, { header: { Authorization: "Bearer x" } }));
        expect(source.requests[0]!.headers.authorization).toBe("Bearer x");
      });
      expect(target.requests[0]!.headers.authorization).toBeUndefined();
      expect(target.requests[0]!.headers["xt-export-taskid"]).toBe("task-1");
    }));
});

test("an aborted crawl ends, also while a page hangs", async () => {
  const controller = new AbortController();
  const aborted = crawl(({ page }) => page === 3 && (setImmediate(() => controller.abort()), true), {
    signal: controller.signal,
  });
  await expect(aborted).rejects.toMatchObject({ name: "AbortError" });
});
