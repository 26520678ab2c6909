/** The document's demo of a paged source: 500 people, so that a first export needs nothing else. */

const TOTAL = 500;
const MAX_LIMIT = 1_000;

export interface DemoPage {
  data: Record<string, string | number>[];
  pagetag: { page: number; limit: number; total: number; total_page: number };
}

/** Page `page` (from 1) of `limit` rows, the header row before them. */
export function demoPage(page: number, limit: number): DemoPage {
  const size = Math.min(Math.max(1, limit), MAX_LIMIT);
  const number = Math.max(1, page);
  const rows: DemoPage["data"] = [{ ID: "编号", Name: "姓名", Age: "年龄" }];
  for (let id = (number - 1) * size; id < Math.min(number * size, TOTAL); id += 1) {
    rows.push({ ID: id, Name: `Demo ${id}`, Age: 15 + (id % 50) });
  }
  return { data: rows, pagetag: { page: number, limit: size, total: TOTAL, total_page: Math.ceil(TOTAL / size) } };
}
