/** Makes log lines that are written in an action carry its request, trace and name. */
import type { ActionHandler, ActionSchema, Context, Middleware, ServiceBroker } from "moleculer";
import { callContext } from "../lib/call-context.ts";
import { configOf } from "../lib/config.ts";
import { viewError } from "../lib/errors.ts";

type Handler = (ctx: Context) => Promise<unknown>;

/** With LOG_LEVEL `debug` also logs how every action ended and how long it took. */
export function requestContext(broker: ServiceBroker): Middleware {
  const { logLevel } = configOf(broker);
  const timed = logLevel === "debug" || logLevel === "trace";
  return {
    name: "RequestContext",
    localAction(next: ActionHandler, action: ActionSchema): ActionHandler {
      const handler = timed ? withTime(next as Handler, action) : (next as Handler);
      return (ctx: Context) => callContext.run(ctx, handler, ctx);
    },
  };
}

function withTime(next: Handler, action: ActionSchema): Handler {
  return async (ctx) => {
    const begin = performance.now();
    let outcome = "OK";
    try {
      return await next(ctx);
    } catch (error) {
      outcome = viewError(error).type;
      throw error;
    } finally {
      action.service?.logger.debug("action ended", {
        outcome,
        ms: Math.round((performance.now() - begin) * 100) / 100,
      });
    }
  };
}
