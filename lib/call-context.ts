/** Which call the running code belongs to, so that a log line can say so without being told. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Context } from "moleculer";

export const callContext = new AsyncLocalStorage<Context>();

/** What a log line says of its call. */
export interface CallIdentity {
  requestId?: string;
  traceId?: string;
  action?: string;
}

/** The identity of the call that the running code belongs to; empty outside of calls. */
export function callIdentity(): CallIdentity {
  const ctx = callContext.getStore();
  if (!ctx) return {};
  const { traceparent } = ctx.meta as { traceparent?: string };
  return {
    requestId: ctx.requestID ?? undefined,
    // W3C: version, trace id, parent id, flags
    traceId: traceparent?.split("-")[1],
    action: ctx.action?.name,
  };
}
