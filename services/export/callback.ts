/** Tells the author of an export that it has ended. */
import { createHmac } from "node:crypto";
import { failedPrecondition, unavailable } from "../../lib/errors.ts";
import type { OutboundPolicy } from "../../lib/sources/outbound.ts";
import { askHttp } from "../../lib/sources/http-answer.ts";
import { outboundAgent } from "../../lib/sources/outbound.ts";
import type { RunTask } from "./run.ts";
import { readResult, readRun, summarize } from "./run.ts";

const TIMEOUT_MS = 10_000;

export interface CallbackOptions {
  outbound: OutboundPolicy;
  /** Signs the body, so that the receiver can tell whom it is from. */
  secret: string | undefined;
  signal: AbortSignal;
}

/** The document's log and file of a run that has ended. */
export function callbackBody(task: RunTask, downUrl: string): object {
  const run = readRun(task);
  const { source_type, status, fail_reason } = summarize(task);
  const result = readResult(task);
  const param = run.source.kind === "http" ? JSON.stringify(run.source.param) : "";
  const log = {
    id: task.id,
    hash_key: run.hashKey,
    title: run.title,
    ext_type: run.extType,
    source_type,
    param,
    user_id: run.userId,
    callback: run.callback,
    status,
    fail_reason,
    created_at: task.createTime,
    updated_at: task.updateTime,
  };
  const file = result && {
    id: task.id,
    hash_key: run.hashKey,
    path: result.file,
    type: run.extType,
    create_at: task.endTime ?? task.updateTime,
    update_at: task.endTime ?? task.updateTime,
  };
  return { log, file: file ?? null, down_url: downUrl };
}

/** POSTs the body once; throws where the answer is not 2xx. */
export async function postCallback(url: string, body: object, options: CallbackOptions): Promise<void> {
  const text = JSON.stringify(body);
  const agent = outboundAgent(options.outbound, 1);
  try {
    const { origin, pathname, search } = new URL(url);
    const headers = { "content-type": "application/json", ...signature(text, options.secret) };
    const request = { origin, path: pathname + search, method: "POST" as const, headers, body: text };
    const signal = AbortSignal.any([options.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const { status } = await askHttp(agent, request, { maxBytes: () => 0, signal });
    if (status >= 200 && status < 300) return;
    throw failedPrecondition(`the callback was answered with HTTP ${status}`);
  } catch (error) {
    if (error instanceof Error && "type" in error) throw error;
    throw unavailable(`the callback could not be delivered: ${(error as Error).message}`, error);
  } finally {
    await agent.destroy();
  }
}

/** `sha256=` and the HMAC of `<Unix seconds>.<body>` in hex, with the seconds beside it against replays. */
function signature(text: string, secret: string | undefined): Record<string, string> {
  if (!secret) return {};
  const timestamp = String(Math.floor(Date.now() / 1_000));
  const digest = createHmac("sha256", secret).update(`${timestamp}.${text}`).digest("hex");
  return { "x-longshore-timestamp": timestamp, "x-longshore-signature": `sha256=${digest}` };
}
