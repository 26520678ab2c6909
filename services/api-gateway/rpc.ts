/** One RPC while it runs: who asks, until when, and the way from it to actions. */
import { randomUUID } from "node:crypto";
import type { CallingOptions, ServiceBroker } from "moleculer";
import { CallScope } from "../../lib/call-scope.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { ServerCall } from "../../lib/grpc/server-call.ts";
import type { Message } from "./grpc-contract.ts";
import type { RequestIdentity } from "./request-identity.ts";
import { identify } from "./request-identity.ts";

/** What the handlers of RPCs share. */
export interface GatewayScope {
  broker: ServiceBroker;
  /** Aborted when the node begins to stop: streams end then. */
  draining: AbortSignal;
  /** How to write on the streams that take messages which they did not ask for, by their ids. */
  streams: Map<string, (message: object) => void>;
}

/** How a stream ended, for the service that offers it. */
export interface StreamEnd {
  /** `completed` by the client, `broken` with it, or `failed` on our side while the client is there. */
  reason: "completed" | "broken" | "failed";
  /** The numbers of the calls that were under way: what they brought has not reached the client. */
  underWay?: number[];
}

/** Serves the calls of a method. */
export type Handler<Request> = (call: ServerCall<Request, Message>) => void;

interface CallMeta {
  grpc: Readonly<Record<string, string>>;
  traceparent: string;
  /** How long the client waits still, in milliseconds. */
  timeLeft?: number;
  stream?: Record<string, unknown>;
  $grpcHeaders?: Record<string, string>;
  $grpcTrailers?: Record<string, string>;
}

/** Turns an RPC into calls of actions that carry its metadata, deadline, identity and cancellation. */
export class Rpc {
  readonly #broker: ServiceBroker;
  readonly #call: ServerCall;
  /** Not an AbortController of its own, to whose signal each call would have to listen. */
  readonly #scope = new CallScope();
  #identity: RequestIdentity | undefined;
  #streamId: string | undefined;
  #trailers: Record<string, string> | undefined;

  constructor(call: ServerCall, broker: ServiceBroker) {
    this.#call = call;
    this.#broker = broker;
    call.onCancel = () => this.abort(new LongshoreError("CANCELLED", "the client is gone"));
  }

  get requestId(): string {
    return this.#identified.requestId;
  }

  /** Aborted when the RPC ends without an answer. */
  get signal(): AbortSignal {
    return this.#scope.signal;
  }

  /** Names this RPC's stream among those of all gateways. */
  get streamId(): string {
    return (this.#streamId ??= randomUUID());
  }

  get trailers(): Record<string, string> | undefined {
    return this.#trailers;
  }

  /** Ends the calls that are under way. */
  abort(reason: LongshoreError): void {
    this.#scope.abort(reason);
  }

  /** Calls an action on the RPC's behalf; for a message of a stream, `stream` says what the action must know of it. */
  async invoke(action: string, params: object, stream?: Record<string, unknown>): Promise<unknown> {
    const meta = this.#meta();
    if (stream) meta.stream = { id: this.streamId, ...stream };
    const options: CallingOptions = { meta, requestID: this.requestId, scope: this.#scope };
    const { deadline } = this.#call;
    // Moleculer takes 0 for no timeout.
    if (deadline !== Infinity) meta.timeLeft = options.timeout = Math.max(1, deadline - Date.now());
    try {
      return await this.#broker.call(action, params, options);
    } finally {
      if (meta.$grpcHeaders) this.#call.sendMetadata(meta.$grpcHeaders);
      if (meta.$grpcTrailers) this.#trailers = { ...this.#trailers, ...meta.$grpcTrailers };
    }
  }

  /** As `invoke`, for other RPCs too: it does not end with this one. */
  async invokeForMany(action: string, params: object): Promise<unknown> {
    const meta = this.#meta();
    return this.#broker.call(action, params, { meta, requestID: this.requestId });
  }

  /** RPCs with the same text have the same metadata. */
  get metadataText(): string {
    return this.#call.head.metadataText;
  }

  /** Tells the service that the stream is over; may outlive the RPC, so it takes no deadline. */
  async close(action: string, end: StreamEnd, signal?: AbortSignal): Promise<void> {
    const meta: CallMeta = { ...this.#meta(), stream: { id: this.streamId } };
    try {
      await this.#broker.call(action, { id: this.streamId, ...end }, { meta, requestID: this.requestId, signal });
    } catch (error) {
      if (signal?.aborted) return;
      this.#broker.logger.warn(`${action} did not learn that stream ${this.streamId} ended (${end.reason})`, error);
    }
  }

  /** Found out when somebody asks: of calls that go together, only the first's is. */
  get #identified(): RequestIdentity {
    return (this.#identity ??= identify((name) => this.#call.head.metadata[name]));
  }

  #meta(): CallMeta {
    return { grpc: this.#call.head.metadata, traceparent: this.#identified.traceparent };
  }
}
