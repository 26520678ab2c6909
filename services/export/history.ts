/** What a history is asked for: whose, since when, which of them, and the page. */
import { z } from "zod";
import { invalidArgument } from "../../lib/errors.ts";
import { readPageToken, writePageToken } from "../../lib/page-token.ts";
import { parseTime } from "../../lib/rfc3339.ts";
import { isExtType } from "../../lib/tabular/ext-type.ts";
import type { RunTask, Summary } from "./run.ts";

/** Where a page ends. */
export type Place = Pick<RunTask, "id" | "createTime">;

export interface HistoryQuery {
  userId: string;
  /** RFC 3339. */
  since: string;
  size: number;
  /** Pages were asked for: the answer says where the next one begins. */
  paged: boolean;
  after?: Place;
  matches(run: Summary): boolean;
  /** All that must be the same for the next page. */
  key: unknown;
}

const HISTORY_MS = 7 * 86_400_000;
const MAX_SIZE = 1_000;

const once = z.string("must be given once");
const time = once.transform((text, ctx) => {
  const parsed = parseTime(text);
  if (parsed) return parsed.getTime();
  ctx.addIssue({ code: "custom", message: "must be an RFC 3339 time, such as 2030-01-31T12:00:00Z" });
  return z.NEVER;
});

const schema = z.object({
  user_id: once.optional(),
  uid: once.optional(),
  status: once
    .regex(/^[1-4]$/, "must be 1 to 4")
    .transform(Number)
    .optional(),
  source_type: z.enum(["http", "raw"], "must be http or raw").optional(),
  ext_type: once.refine(isExtType, "is not one that there is").optional(),
  from: time.optional(),
  to: time.optional(),
  page_size: once
    .regex(/^\d{1,6}$/, "must be a whole number, 0 or more")
    .transform(Number)
    .optional(),
  page_token: once.default(""),
});

/** Throws where a parameter is wrong, naming it. */
export function readHistoryQuery(params: Record<string, unknown>, now: number): HistoryQuery {
  const result = schema.safeParse(params);
  const [issue] = result.error?.issues ?? [];
  if (!result.success) throw invalidArgument(String(issue?.path[0] ?? "query"), issue?.message ?? "is not valid");
  const { user_id, uid, page_size, page_token, from, to, ...wanted } = result.data;
  const userId = user_id ?? uid ?? "";
  const key = [userId, from, to, wanted];
  const after = readPageToken("page_token", page_token, key) as [number, string] | undefined;
  return {
    userId,
    since: new Date(from ?? now - HISTORY_MS).toISOString(),
    size: Math.min(page_size || MAX_SIZE, MAX_SIZE),
    paged: page_size !== undefined || page_token !== "",
    ...(after && { after: { id: after[0], createTime: after[1] } }),
    matches: (run) =>
      (to === undefined || Date.parse(run.created_at) < to) &&
      (wanted.status ?? run.status) === run.status &&
      (wanted.source_type ?? run.source_type) === run.source_type &&
      (wanted.ext_type ?? run.ext_type) === run.ext_type,
    key,
  };
}

export function writeNextToken({ key }: HistoryQuery, { id, createTime }: Place): string {
  return writePageToken(key, [id, createTime]);
}
