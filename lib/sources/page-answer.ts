import { failedPrecondition } from "../errors.ts";
import { parseJson } from "./json.ts";
import { RowShapeError, kindOf } from "./object-rows.ts";
import { excerpt } from "./page-fetcher.ts";

/** One page of the paged HTTP contract: `{errcode, msg, data: {data: [header, ...rows], pagetag}}`. */
export interface PageAnswer {
  objects: readonly unknown[];
  totalPages: number;
  totalRows: number | undefined;
  text: string;
}

/** Reads the answer to page `page`, or says with the page's number what is wrong with it. */
export function readAnswer(body: Buffer, page: number): PageAnswer {
  const text = body.toString("utf8").replace(/^\ufeff/, "");
  const root = parse(text, body);
  if (!isObject(root)) throw new RowShapeError(`the answer must be an object, and is ${kindOf(root)}`);
  if (Number(root["errcode"] ?? 0) !== 0) {
    const message = excerpt(Buffer.from(String(root["msg"] ?? "")));
    throw new RowShapeError(
      `the source answered errcode ${String(root["errcode"])}${message === "" ? "" : `: ${message}`}`,
    );
  }
  const data = root["data"];
  if (!isObject(data)) throw new RowShapeError(`data must be an object, and is ${kindOf(data)}`);
  const objects = data["data"];
  if (!Array.isArray(objects)) throw new RowShapeError(`data.data must be an array of rows, and is ${kindOf(objects)}`);
  return { objects, ...readTag(data["pagetag"], page), text };
}

/** Where `readAnswer` found the header. */
export function findHeader(root: unknown): unknown {
  return (root as { data: { data: unknown[] } }).data.data[0];
}

/** Runs what may throw a RowShapeError, and names the page in it. */
export function explainPage<T>(page: number, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof RowShapeError ? failedPrecondition(`page ${page}: ${error.message}`) : error;
  }
}

function parse(text: string, body: Buffer): unknown {
  try {
    return parseJson(text);
  } catch {
    throw new RowShapeError(`the answer is not JSON: ${JSON.stringify(excerpt(body))}`);
  }
}

function readTag(tag: unknown, page: number): Pick<PageAnswer, "totalPages" | "totalRows"> {
  if (!isObject(tag)) throw new RowShapeError(`data.pagetag must be an object, and is ${kindOf(tag)}`);
  const answered = count(tag, "page");
  // A source that does not read `page` would fill the file with its first page.
  if (answered !== undefined && answered !== page) throw new RowShapeError(`data.pagetag says it is page ${answered}`);
  const totalPages = count(tag, "total_page");
  if (totalPages === undefined) throw new RowShapeError("data.pagetag.total_page is missing");
  return { totalPages, totalRows: count(tag, "total") };
}

/** Some sources write numbers as texts. */
function count(tag: Record<string, unknown>, name: string): number | undefined {
  const value = tag[name];
  if (value === undefined || value === null) return undefined;
  const number = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) return number;
  throw new RowShapeError(
    `data.pagetag.${name} must be a whole number, and is ${excerpt(Buffer.from(JSON.stringify(value)))}`,
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
