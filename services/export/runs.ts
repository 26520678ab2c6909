/** The runs of exports, as queues tells of their tasks. */
import type { Context } from "moleculer";
import { invalidArgument, LongshoreError, viewError } from "../../lib/errors.ts";
import type { HistoryQuery } from "./history.ts";
import { writeNextToken } from "./history.ts";
import type { ExportRun, RunTask, Summary } from "./run.ts";
import { summarize } from "./run.ts";

export const RUN_CHANNELS = ["export.http", "export.raw"];
/** Runs that one page of a history looks at. */
const MAX_LOOKED_AT = 5_000;
const DAY_MS = 86_400_000;

/** Groups the runs of a user. */
export function userLabel(user: string): string {
  return `export.user/${user}`;
}

/** The last run under the key that clients know. */
export async function findRun(ctx: Context, key: unknown): Promise<RunTask> {
  if (typeof key !== "string") throw invalidArgument("key", "must be a string");
  if (!/^[0-9a-f]{32}$/.test(key)) throw invalidArgument("key", `there is no export ${key.slice(0, 100)}`);
  try {
    return await ctx.call<RunTask, object>("queues.lastRun", { key, channels: RUN_CHANNELS });
  } catch (error) {
    if (viewError(error).type === "NOT_FOUND") throw invalidArgument("key", `there is no export ${key}`);
    throw error;
  }
}

/** A page of a user's runs, newest first, in as many calls as their inputs need; `next` where pages were asked for, or more may be. */
export async function listRuns(ctx: Context, query: HistoryQuery): Promise<{ runs: Summary[]; next?: string }> {
  const { userId, since, size, paged, matches } = query;
  const runs: Summary[] = [];
  let { after } = query;
  for (let looked = 0; looked < MAX_LOOKED_AT;) {
    const tasks: RunTask[] = await ctx.call("queues.list", { label: userLabel(userId), since, after });
    if (tasks.length === 0) return paged ? { runs, next: "" } : { runs };
    for (const task of tasks) {
      if (runs.length === size) return paged ? { runs, next: writeNextToken(query, after!) } : { runs };
      const run = summarize(task);
      if (matches(run)) runs.push(run);
      after = { id: task.id, createTime: task.createTime };
    }
    looked += tasks.length;
  }
  // Not all was looked at, and whoever asked for no pages must hear of that, too.
  return { runs, next: writeNextToken(query, after!) };
}

/** Throws where the user has as many exports under way as one may have, and this would be another. */
export async function demandRoom(ctx: Context, { userId, hashKey: key }: ExportRun, limit: number): Promise<void> {
  if (limit === 0) return;
  const since = new Date(Date.now() - DAY_MS).toISOString();
  const open: number = await ctx.call("queues.countOpen", { label: userLabel(userId), since, limit });
  if (open < limit || (await isAskedFor(ctx, key))) return;
  throw new LongshoreError(
    "RESOURCE_EXHAUSTED",
    `user_id: ${limit} exports of this user wait or run (EXPORT_USER_LIMIT): try again when one has ended`,
    { field: "user_id" },
  );
}

/** Whether the same request is already, so that nothing new begins. */
async function isAskedFor(ctx: Context, key: string): Promise<boolean> {
  try {
    const { state } = await ctx.call<RunTask, object>("queues.lastRun", { key, channels: RUN_CHANNELS });
    return state !== "FAILURE" && state !== "CANCEL";
  } catch (error) {
    if (viewError(error).type === "NOT_FOUND") return false;
    throw error;
  }
}
