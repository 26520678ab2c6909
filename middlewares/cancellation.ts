/**
 * Stops what nobody waits for any more. A call ends at once for its caller when the caller's signal aborts or its time is
 * up, and then aborts `ctx.locals.signal` of the handler, on this node or on another, and of the calls that the handler
 * itself makes. It takes the place of Moleculer's Timeout, which leaves the handler running.
 */
import type { ActionHandler, ActionSchema, Context, Middleware, ServiceBroker } from "moleculer";
import { CallScope, scopeOf } from "../lib/call-scope.ts";
import { LongshoreError } from "../lib/errors.ts";

declare module "moleculer" {
  interface CallingOptions {
    /** Aborting it ends the call for the caller with CANCELLED, and aborts the handler's `ctx.locals.signal`. */
    signal?: AbortSignal;
    /** The same, for callers that have no signal yet: to make one costs more than a scope. */
    scope?: CallScope;
  }
  interface ActionSchema {
    /** How long a call may take in ms where its caller sets no limit; 0: as long as it likes. */
    timeout?: number;
  }
}

const CANCEL_ACTION = "$cancel.abort";

/** The signal that tells a handler to stop: its caller cancelled, went away or ran out of time. */
export function signalOf(ctx: Context<unknown, object>): AbortSignal {
  return (ctx.locals as { signal: AbortSignal }).signal;
}

/** What stands behind that signal, which is made when somebody asks for it: for handlers of which thousands wait. */
export function callScopeOf(ctx: Context<unknown, object>): CallScope {
  return ctx.locals as unknown as CallScope;
}

/** The middleware. It must stand where Moleculer's Timeout stands: inside Retry, outside Bulkhead and tracking. */
export function cancellation(broker: ServiceBroker): Middleware {
  /** Calls that other nodes wait for, by context id: what `$cancel` can reach. */
  const fromOthers = new Map<string, { scope: CallScope; caller: string }>();

  function wrap(next: ActionHandler, action: ActionSchema, remote: boolean): ActionHandler {
    return function cancellable(ctx: Context): Promise<unknown> {
      const parent = parentScope(ctx);
      const owner = ctx.options.scope ?? (ctx.options.signal && scopeOf(ctx.options.signal));
      const ended = parent?.reason ?? owner?.reason;
      if (ended) return Promise.reject(ended);
      const timeout = setLimit(ctx, action, broker);
      const scope = new CallScope();
      ctx.locals = scope as unknown as Record<string, unknown>;
      const caller = !remote && ctx.nodeID !== broker.nodeID ? ctx.nodeID : null;
      if (caller !== null) fromOthers.set(ctx.id, { scope, caller });

      return new Promise((resolve, reject) => {
        parent?.add(scope);
        owner?.add(scope);
        const timer = timeout > 0 ? setTimeout(expire, timeout, scope) : undefined;
        const settle = () => {
          clearTimeout(timer);
          parent?.delete(scope);
          owner?.delete(scope);
          if (caller !== null) fromOthers.delete(ctx.id);
        };
        scope.onAbort = (reason) => {
          settle();
          reject(reason);
          if (remote) giveUpRemote(ctx, reason);
        };
        (next as (ctx: Context) => Promise<unknown>)(ctx).then(
          (result) => {
            if (scope.reason) return;
            settle();
            resolve(result);
          },
          (error: unknown) => {
            if (scope.reason) return;
            settle();
            reject(error as Error);
          },
        );
      });
    };
  }

  /**
   * Gives up the answer, so that nothing on this node waits for it, and tells the other node. Nobody waits for that: the
   * handler ends now, or has ended already, or its node is gone.
   */
  function giveUpRemote(ctx: Context, reason: LongshoreError): void {
    const { id, nodeID } = ctx;
    const request = broker.transit?.pendingRequests.get(id);
    broker.transit?.removePendingRequest(id);
    request?.reject(reason);
    if (
      ctx.action?.name === CANCEL_ACTION ||
      !nodeID ||
      !broker.registry.getActionEndpointByNodeId(CANCEL_ACTION, nodeID)
    )
      return;
    const params = { id, type: reason.type, message: reason.message };
    broker.call(CANCEL_ACTION, params, { nodeID, timeout: 5_000, retries: 0 }).catch(() => undefined);
  }

  return {
    name: "Cancellation",
    localAction: (next, action) => wrap(next, action, false),
    remoteAction: (next, action) => wrap(next, action, true),

    created() {
      broker.createService({
        name: "$cancel",
        actions: {
          abort: {
            visibility: "public",
            handler(ctx: Context<{ id: string; type: LongshoreError["type"]; message: string }>) {
              const { id, type, message } = ctx.params;
              const call = fromOthers.get(id);
              if (call?.caller === ctx.nodeID) call.scope.abort(new LongshoreError(type, message));
            },
          },
        },
        events: {
          "$node.disconnected"(ctx: Context<{ node: { id: string } }>) {
            const gone = ctx.params.node.id;
            const reason = new LongshoreError("CANCELLED", `node ${gone}, which made the call, went away`);
            for (const call of fromOthers.values()) if (call.caller === gone) call.scope.abort(reason);
          },
        },
      });
    },
  };
}

/** Stands inside Bulkhead: a call that was given up while it waited for its turn does not begin. */
export const skipCancelled: Middleware = {
  name: "SkipCancelled",
  localAction: (next) => (ctx: Context) => {
    const { reason } = ctx.locals as unknown as CallScope;
    return reason ? Promise.reject(reason) : (next as (ctx: Context) => Promise<unknown>)(ctx);
  },
};

function parentScope(ctx: Context): CallScope | undefined {
  const locals: unknown = ctx.options.parentCtx?.locals;
  return locals instanceof CallScope ? locals : undefined;
}

/**
 * The call's limit in ms: its caller's, else its action's, else the broker's; 0 is none. Moleculer takes the limits of
 * child calls from the context, and the other node its own. The caller's options are left as they are: they may be used again.
 */
function setLimit(ctx: Context, action: ActionSchema, broker: ServiceBroker): number {
  const timeout = ctx.options.timeout ?? action.timeout ?? broker.options.requestTimeout ?? 0;
  if (ctx.options.timeout !== timeout) ctx.options = { ...ctx.options, timeout };
  if (timeout > 0) ctx.startHrTime ??= process.hrtime();
  return timeout;
}

function expire(scope: CallScope): void {
  scope.abort(new LongshoreError("DEADLINE_EXCEEDED", "the call took longer than its deadline"));
}
