import type { EventEmitter } from "node:events";
import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import { LongshoreError, unavailable } from "../../lib/errors.ts";
import type { ServerCall } from "../../lib/grpc/server-call.ts";
import type { ServedMethod } from "./grpc-contract.ts";
import { statusOf } from "./grpc-errors.ts";
import type { GatewayScope, StreamEnd } from "./rpc.ts";
import { Rpc } from "./rpc.ts";

/**
 * Resolves when a reset that came with the end of the client's stream has been seen: a client of Node that cancels sends
 * both, the end first, and would be taken for one that is done.
 */
export async function afterReset(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await nextTurn();
}

/** Follows one stream of answers to its end, whatever ends it, and tells the service that wants to know. */
export class StreamLife {
  readonly rpc: Rpc;
  readonly #call: ServerCall;
  readonly #method: ServedMethod;
  /** Aborted when the RPC is over. */
  readonly #over = new AbortController();
  #draining = false;
  #told = false;
  #failure: StreamEnd | undefined;
  #ended = false;

  /** `drain` is called when the node begins to stop: the handler brings its stream to an end. */
  constructor(call: ServerCall, method: ServedMethod, scope: GatewayScope, drain: () => void) {
    this.#call = call;
    this.#method = method;
    this.rpc = new Rpc(call, scope.broker);
    const onDrain = (): void => {
      this.#draining = true;
      drain();
    };
    if (scope.draining.aborted) queueMicrotask(onDrain);
    else scope.draining.addEventListener("abort", onDrain, { once: true });
    call.once("close", (whole: boolean) => {
      this.#ended = true;
      this.#over.abort();
      scope.draining.removeEventListener("abort", onDrain);
      void this.#tell(this.#failure ?? { reason: whole ? "completed" : "broken" });
    });
  }

  /**
   * Ends the stream after what has been written: with OK, or where the node stops with UNAVAILABLE. A service that wants to
   * know of it is told before and may keep the stream for what is still out; when the client goes, it learns that.
   */
  async end(): Promise<void> {
    await afterReset();
    if (this.#ended) return;
    if (!this.#draining) await this.#tell({ reason: "completed" });
    if (this.#ended) return;
    this.#ended = true;
    if (this.#draining) this.#endWith(unavailable("this node is stopping; open the stream again"));
    else this.#call.end(this.rpc.trailers);
  }

  /** Ends the stream with an error after what has been written, and aborts the calls under way; `end` is what the service learns. */
  fail(error: unknown, end: StreamEnd = { reason: "broken" }): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = end;
    this.#endWith(error);
    this.rpc.abort(new LongshoreError("CANCELLED", "the stream has failed"));
  }

  /** Writes an answer, if the stream goes on; false where the client does not keep up: `drained` tells when it does. */
  write(answer: object): boolean {
    return this.#ended || this.#call.write(answer);
  }

  /** Resolves when the client keeps up again; rejects when the stream is over. */
  async drained(): Promise<void> {
    await once(this.#call as unknown as EventEmitter, "drain", { signal: this.rpc.signal });
  }

  async #tell(end: StreamEnd): Promise<void> {
    const { close } = this.#method;
    if (!close || this.#told) return;
    this.#told = true;
    // Once the RPC is over there is nobody to wait for, but the service must still hear of it.
    const signal = this.#over.signal.aborted ? undefined : this.#over.signal;
    await this.rpc.close(close, end, signal);
  }

  #endWith(error: unknown): void {
    this.#call.fail(statusOf(error, this.rpc.requestId));
  }
}
