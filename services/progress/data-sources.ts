/** The data sources that an operator configured: callers name them and hold no password. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { parseDsn } from "../../lib/databases/dsn.ts";
import type { LongshoreError } from "../../lib/errors.ts";
import { failedPrecondition, invalidArgument } from "../../lib/errors.ts";
import { SEALED, unsealWith } from "../../lib/sealed.ts";
import type { MaskRule } from "./work.ts";

/** What is configured of a data source. */
export interface ConfiguredSource {
  dsn: string;
  approval?: "none" | "any" | "all";
  approvers?: readonly string[];
  /** Fewer estimated rows need no approval. */
  approvalRows?: number;
  /** More estimated rows are refused. */
  maxRows?: number;
  masks: readonly MaskRule[];
  /** Whether statements are taken although columns are masked, which a statement may rename. */
  statements: boolean;
  /** Whether files say who had them made, and when. */
  watermark: boolean;
}

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "must be 1 to 64 of [A-Za-z0-9._-]");
const rows = z.int("must be a whole number").min(0, "must be 0 or more");
const person = z.string().min(1, "must not be empty").max(255);
const source = z.strictObject({
  dsn: z.string("must be the DSN").min(1, "must not be empty"),
  approval: z.enum(["none", "any", "all"], "must be none, any or all").optional(),
  approvers: z.array(person).max(1_000).optional(),
  approvalRows: rows.optional(),
  maxRows: rows.optional(),
  masks: z
    .array(
      z.strictObject({
        column: z.string().min(1, "must not be empty").max(255),
        action: z.enum(["mask", "hash", "refuse"], "must be mask, hash or refuse"),
      }),
    )
    .max(1_000)
    .default([]),
  statements: z.boolean("must be true or false").default(false),
  watermark: z.boolean("must be true or false").default(false),
});
const schema = z.record(name, source);

const MAX_BYTES = 1024 * 1024;

/** Reads a file `{"NAME": {"dsn": …, …}}`; none where `path` is undefined. What is wrong is named, and no DSN is told. */
export async function readDataSources(
  path: string | undefined,
  keys: readonly Buffer[],
): Promise<ReadonlyMap<string, ConfiguredSource>> {
  if (path === undefined) return new Map();
  const result = schema.safeParse(await readJson(path));
  if (!result.success) {
    const [issue] = result.error.issues;
    throw wrong(path, issue!.path.map(String).join("."), issue!.message);
  }
  const sources = Object.entries(result.data).map(([key, configured]): [string, ConfiguredSource] => {
    const dsn = opened(configured.dsn, keys, (problem) => wrong(path, `${key}.dsn`, problem));
    try {
      parseDsn(dsn);
    } catch (error) {
      throw wrong(path, `${key}.dsn`, (error as Error).message);
    }
    return [key, { ...configured, dsn } as ConfiguredSource];
  });
  return new Map(sources);
}

const REFERENCE = "datasource:";

/** The name in `datasource:NAME`; undefined for a DSN. */
export function nameOfSource(dsn: string): string | undefined {
  return dsn.startsWith(REFERENCE) ? dsn.slice(REFERENCE.length) : undefined;
}

export function findSource(sources: ReadonlyMap<string, ConfiguredSource>, dsn: string): ConfiguredSource | undefined {
  const wanted = nameOfSource(dsn);
  if (wanted === undefined) return undefined;
  const found = sources.get(wanted);
  if (!found) throw invalidArgument("dsn", `there is no data source ${JSON.stringify(wanted.slice(0, 64))}`);
  return found;
}

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw failedPrecondition(`DATASOURCES_FILE cannot be read: ${(error as Error).message}`);
  }
  if (text.length > MAX_BYTES) throw failedPrecondition(`DATASOURCES_FILE ${path} is larger than ${MAX_BYTES} bytes`);
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own words would show what stands there.
    throw failedPrecondition(`DATASOURCES_FILE ${path} is not JSON`);
  }
}

function opened(dsn: string, keys: readonly Buffer[], refuse: (problem: string) => LongshoreError): string {
  if (!dsn.startsWith(SEALED)) return dsn;
  const text = unsealWith(dsn.slice(SEALED.length), keys);
  if (text === undefined) throw refuse("was sealed with a key that is not in ENCRYPTION_KEYS");
  return text;
}

function wrong(path: string, where: string, problem: string): LongshoreError {
  return failedPrecondition(`DATASOURCES_FILE ${path}: ${where === "" ? "" : `${where} `}${problem}`);
}
