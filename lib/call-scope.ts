/** What a call hangs on: cheap to make, as every call has one; its AbortSignal is made only for handlers that look at it. */
import { LongshoreError } from "./errors.ts";

const scopes = new WeakMap<AbortSignal, CallScope>();

/** Stands as `ctx.locals` of a call, so that handlers find `ctx.locals.signal`. */
export class CallScope {
  /** Why the call was aborted; unset while it may go on. */
  reason: LongshoreError | undefined;
  /** Told once, when the call is aborted. */
  onAbort: ((reason: LongshoreError) => void) | undefined;
  #controller: AbortController | undefined;
  #children: Set<CallScope> | undefined;

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      scopes.set(this.#controller.signal, this);
      if (this.reason) this.#controller.abort(this.reason);
    }
    return this.#controller.signal;
  }

  /** Aborts this call and all that it has begun; only the first reason counts. */
  abort(reason: LongshoreError): void {
    if (this.reason) return;
    this.reason = reason;
    this.onAbort?.(reason);
    this.#controller?.abort(reason);
    const children = this.#children;
    this.#children = undefined;
    if (children) for (const child of children) child.abort(reason);
  }

  /** From now on `child` is aborted together with this; `delete` it when it has ended. */
  add(child: CallScope): void {
    (this.#children ??= new Set()).add(child);
  }

  delete(child: CallScope): void {
    this.#children?.delete(child);
  }
}

/**
 * The scope behind a signal: one listener a signal, however many calls share it. A reason that is not ours is CANCELLED.
 */
export function scopeOf(signal: AbortSignal): CallScope {
  const known = scopes.get(signal);
  if (known) return known;
  const scope = new CallScope();
  scopes.set(signal, scope);
  if (signal.aborted) scope.abort(reasonOf(signal));
  else signal.addEventListener("abort", () => scope.abort(reasonOf(signal)), { once: true });
  return scope;
}

function reasonOf(signal: AbortSignal): LongshoreError {
  if (signal.reason instanceof LongshoreError) return signal.reason;
  return new LongshoreError("CANCELLED", "the call was cancelled", {}, { cause: signal.reason });
}
