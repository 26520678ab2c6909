/**
 * Lets errors that were thrown on purpose pass, and turns every other into INTERNAL with the request's id: its stack is
 * logged once, here, where it happened, and nothing of it goes to the caller.
 */
import type { ActionHandler, Context, Middleware } from "moleculer";
import { LongshoreError, viewError } from "../lib/errors.ts";
import { signalOf } from "./cancellation.ts";

export const errors: Middleware = {
  name: "Errors",
  localAction(next: ActionHandler): ActionHandler {
    return (ctx: Context) => (next as (ctx: Context) => Promise<unknown>)(ctx).catch((error) => refuse(ctx, error));
  },
};

function refuse(ctx: Context, error: unknown): never {
  if (error instanceof LongshoreError || viewError(error).type !== "INTERNAL") throw error;
  const signal = signalOf(ctx);
  // how a handler falls over once it is stopped is nobody's business: its caller has had the reason
  if (signal.aborted) throw signal.reason;
  ctx.service?.logger.error("the action failed:", error);
  const metadata = { request_id: ctx.requestID ?? ctx.id };
  throw new LongshoreError(
    "INTERNAL",
    `internal error in request ${metadata.request_id}`,
    { metadata },
    { cause: error },
  );
}
