/** An export request: what the document's body may hold, and the key under which the same request is the same export. */
import { createHash, createHmac } from "node:crypto";
import { z } from "zod";
import { invalidArgument } from "../../lib/errors.ts";
import { checkUrl } from "../../lib/sources/outbound.ts";
import type { ExtType } from "../../lib/tabular/ext-type.ts";
import { EXT_TYPES, isExtType } from "../../lib/tabular/ext-type.ts";

/** The limits that the node's configuration sets. */
export interface RequestLimits {
  maxConn: number;
  /** How far `timestamp` may be from now, in milliseconds; 0: any. */
  timestampWindow: number;
}

export interface HttpSource {
  url: string;
  method: "GET" | "POST";
  header: Record<string, string>;
  param: Record<string, unknown>;
}

/** What both kinds of export have; it travels in the task's input. */
export interface ExportRequest {
  title: string;
  extType: ExtType;
  /** False: the file itself, not in a zip. */
  zip: boolean;
  /** Begins a further file after so many rows; only within a zip. */
  rowsPerFile?: number;
  /** Encrypts the zip. */
  password?: string;
  /** Whether an XLSX has a last sheet that tells of the export. */
  summary: boolean;
  userId: string;
  callback: string;
}

export interface HttpExport extends ExportRequest {
  source: HttpSource;
  /** Connections to the source at once. */
  conn: number;
}

const DEFAULT_CONN = 8;
const MAX_TITLE = 255;
const MAX_DEPTH = 64;

/** Programs differ in how they read another character of a password; 99 is what they all take. */
const PASSWORD = /^[\u0020-\u007e]{8,99}$/;

const string = z.string("must be a string");
const oneLine = string.regex(/^[^\p{Cc}]*$/u, "must hold no control character");
const httpUrl = string.superRefine((text, ctx) => {
  try {
    checkUrl(text, "");
  } catch (error) {
    ctx.addIssue({ code: "custom", message: (error as Error).message.replace(/^: /, "") });
  }
});
const userId = z.union([string, z.number().transform(String)], "must be a string");
const callback = z.union([z.literal(""), httpUrl]);
const headerValue = z.union([z.string(), z.number().transform(String)], "must be a string");

const base = z.object(
  {
    timestamp: z.coerce.number("must be Unix seconds").int("must be Unix seconds").optional(),
    ext_type: string.refine(isExtType, `must be one of ${Object.keys(EXT_TYPES).join(", ")}`),
    title: oneLine
      .min(1, "must not be empty")
      .refine((title) => [...title].length <= MAX_TITLE, `must be at most ${MAX_TITLE} characters`),
    user_id: userId.optional(),
    uid: userId.optional(),
    callback: callback.optional(),
    call_back: callback.optional(),
    zip: z.boolean("must be true or false").default(true),
    rows_per_file: z.int("must be a whole number").min(1, "must be 1 or more").optional(),
    password: string.regex(PASSWORD, "must be 8 to 99 characters of ASCII").optional(),
    summary: z.boolean("must be true or false").default(false),
  },
  "must be a JSON object",
);

const http = base.extend({
  conn: z.int("must be a whole number").optional(),
  source_http: z.object(
    {
      url: httpUrl,
      method: z.enum(["GET", "POST"], "must be GET or POST").default("GET"),
      header: z.record(z.string(), headerValue, "must be an object of strings").default({}),
      param: z.record(z.string(), z.unknown(), "must be an object").default({}),
    },
    "must be an object with url",
  ),
});

const raw = base.extend({ source_raw: string.min(1, "must be a JSON array as text") });

/** Throws where a field of the body is wrong, naming it. */
export function parseHttpExport(body: unknown, limits: RequestLimits, now: number = Date.now()): HttpExport {
  const read = parse(http, body);
  const { url, method, header, param } = read.source_http;
  const conn = read.conn ?? Math.min(DEFAULT_CONN, limits.maxConn);
  if (conn < 1 || conn > limits.maxConn) throw invalidArgument("conn", `must be 1 to ${limits.maxConn}`);
  for (const name of Object.keys(header)) checkHeader(name, header[name] ?? "");
  return { ...common(read, limits, now), source: { url, method, header, param }, conn };
}

/** The same for rows in the request; their own form is looked at when they are exported. */
export function parseRawExport(
  body: unknown,
  limits: RequestLimits,
  now: number = Date.now(),
): ExportRequest & { rows: string } {
  const read = parse(raw, body);
  return { ...common(read, limits, now), rows: read.source_raw };
}

/**
 * MD5 of the request, key order and white space aside, in hex. Who knows the rest of the request must not learn its password
 * from the key by trying: that goes in as an HMAC with `secret`.
 */
export function hashKey(body: Record<string, unknown>, secret: Uint8Array): string {
  const { password, ...rest } = body;
  const hidden =
    password === undefined ? {} : { password: createHmac("sha256", secret).update(String(password)).digest("hex") };
  return createHash("md5")
    .update(canonical({ ...rest, ...hidden }, 0))
    .digest("hex");
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw invalidArgument(issue?.path.join(".") || "body", issue?.message ?? "is not valid");
}

function common(read: z.infer<typeof base>, limits: RequestLimits, now: number): ExportRequest {
  checkTimestamp(read.timestamp, limits.timestampWindow, now);
  const user = read.user_id ?? read.uid ?? "";
  if (user === "") throw invalidArgument("user_id", "must be given");
  if (user.length > 128) throw invalidArgument("user_id", "must be at most 128 characters");
  if (read.rows_per_file !== undefined && !read.zip) throw invalidArgument("rows_per_file", "needs a zip");
  if (read.password !== undefined && !read.zip) throw invalidArgument("password", "needs a zip");
  if (read.summary && read.ext_type !== "XLSX") throw invalidArgument("summary", "needs the ext_type XLSX");
  return {
    title: read.title,
    extType: read.ext_type as ExtType,
    zip: read.zip,
    rowsPerFile: read.rows_per_file,
    password: read.password,
    summary: read.summary,
    userId: user,
    callback: read.callback || read.call_back || "",
  };
}

function checkTimestamp(timestamp: number | undefined, windowMs: number, now: number): void {
  if (windowMs === 0) return;
  if (timestamp === undefined) throw invalidArgument("timestamp", "must be given, in Unix seconds");
  if (Math.abs(now - timestamp * 1_000) > windowMs) {
    throw invalidArgument("timestamp", `must be within ${windowMs / 1_000} seconds of now`);
  }
}

function checkHeader(name: string, value: string): void {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || /[^\t\u0020-\u007e\u0080-\u00ff]/.test(value)) {
    throw invalidArgument(`source_http.header.${name.slice(0, 50)}`, "is not a header that HTTP can carry");
  }
}

function canonical(value: unknown, depth: number): string {
  if (depth > MAX_DEPTH) throw invalidArgument("body", `must not be nested deeper than ${MAX_DEPTH}`);
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const fields = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return `{${fields.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item, depth + 1)}`).join(",")}}`;
}
