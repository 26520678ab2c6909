import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { openDirectory } from "../../../../lib/objects/directory.ts";
import type { ObjectStore } from "../../../../lib/objects/object-store.ts";
import { openHttp } from "../../../../lib/sources/http.ts";
import { KeptPages } from "../../../../lib/sources/kept-pages.ts";
import { FETCH_LIMITS } from "../../../../lib/sources/paged-request.ts";
import type { PagedSource } from "../../../paged-source.ts";
import { withPagedSource } from "../../../paged-source.ts";
import { withTempDir } from "../../../temp-dir.ts";

const PAGES = 40;
const LIMIT = 10;

interface CrawlOptions {
  everyMs?: number;
  /** Leaves after so many pages, as if it had been killed. */
  leaveAfter?: number;
}

/** The ids of the rows that a crawl read. */
async function crawl(
  source: PagedSource,
  store: ObjectStore,
  { everyMs = 0, leaveAfter = Infinity }: CrawlOptions = {},
) {
  const { signal } = new AbortController();
  const kept = await KeptPages.open(store, { prefix: "pages/a.", everyMs, signal });
  const rows = await openHttp(
    { url: source.url, method: "GET", header: {}, param: { limit: LIMIT }, taskId: "a" },
    { outbound: { allowPrivate: true }, limits: FETCH_LIMITS, connections: 4, maxPages: 1_000, kept, signal },
  );
  const ids: unknown[] = [];
  let pages = 0;
  try {
    for await (const batch of rows.batches) {
      ids.push(...batch.map(([id]) => id));
      if (++pages === leaveAfter) break;
    }
  } finally {
    await rows.close();
  }
  return ids;
}

function withSource(body: (source: PagedSource, store: ObjectStore, root: string) => Promise<void>): Promise<void> {
  const rows = { total: () => PAGES * LIMIT, header: { id: "ID" }, row: (id: number) => ({ id }) };
  return withTempDir((root) => withPagedSource(rows, async (source) => body(source, await openDirectory(root), root)));
}

const ALL = Array.from({ length: PAGES * LIMIT }, (_, id) => id);

/** How often each page was asked for; page 1, which tells of the others, always is. */
function asked({ requests }: PagedSource, page: number): number {
  return requests.filter((request) => request.page === page).length;
}

test("a crawl goes on from the pages that one before it kept", () =>
  withSource(async (source, store) => {
    await crawl(source, store, { leaveAfter: 25 });
    expect(await crawl(source, store)).toEqual(ALL);
    for (let page = 2; page <= 24; page++) expect([page, asked(source, page)]).toEqual([page, 1]);
    expect(asked(source, PAGES)).toBe(1);
    // A third finds what the first and the second kept.
    expect(await crawl(source, store)).toEqual(ALL);
    expect(asked(source, PAGES - 1)).toBe(1);
    await KeptPages.remove(store, "pages/a.");
    expect(await crawl(source, store)).toEqual(ALL);
    expect(asked(source, 10)).toBe(2);
  }));

test("a crawl that is soon over keeps nothing", () =>
  withSource(async (source, store, root) => {
    await crawl(source, store, { everyMs: 60_000 });
    expect(await readdir(root)).toEqual([".incoming"]);
  }));

test("what is kept but cannot be read is asked for again", () =>
  withSource(async (source, store, root) => {
    await crawl(source, store, { leaveAfter: 20 });
    const files = await readdir(join(root, "pages"));
    expect(files.length).toBeGreaterThan(10);
    for (const file of files.slice(0, 5)) {
      const bytes = await readFile(join(root, "pages", file));
      await writeFile(join(root, "pages", file), bytes.subarray(0, bytes.byteLength / 2));
    }
    expect(await crawl(source, store)).toEqual(ALL);
  }));

test("a store that takes nothing does not stop a crawl", () =>
  withSource(async (source, store) => {
    store.put = () => Promise.reject(new Error("the disk is full"));
    expect(await crawl(source, store)).toEqual(ALL);
  }));

test("pages of another export are not taken for its own", () =>
  withSource(async (source, store) => {
    const other = await KeptPages.open(store, {
      prefix: "pages/a-2.",
      everyMs: 0,
      signal: new AbortController().signal,
    });
    await other.add(2, Buffer.from("not json"));
    await other.close();
    expect(await crawl(source, store)).toEqual(ALL);
  }));
