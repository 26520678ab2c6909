/** One RPC while it runs: who asks, until when, and the way from it to actions. */
import { randomUUID } from "node:crypto";
import { Metadata } from "@grpc/grpc-js";
import type { ServerSurfaceCall } from "@grpc/grpc-js/build/src/server-call.js";
import type { CallingOptions, ServiceBroker } from "moleculer";
import { CallScope } from "../../lib/call-scope.ts";
import { LongshoreError } from "../../lib/errors.ts";
import { identify } from "./request-identity.ts";

/** What the handlers of RPCs share. */
export interface GatewayScope {
  broker: ServiceBroker;
  /** Aborted when the node begins to stop: streams end then. */
  draining: AbortSignal;
  /** How to write on the streams that take messages which they did not ask for, by their ids. */
  streams: Map<string, (message: object) => void>;
}

interface CallMeta {
  grpc: Record<string, string>;
  traceparent: string;
  stream?: Record<string, unknown>;
  $grpcHeaders?: Record<string, string>;
  $grpcTrailers?: Record<string, string>;
}

/** Turns an RPC into calls of actions that carry its metadata, deadline, identity and cancellation. */
export class Rpc {
  readonly requestId: string;
  readonly signal: AbortSignal;
  /** Set once the RPC has its answer: grpc-js says "cancelled" after a good end too. */
  finished = false;
  readonly #broker: ServiceBroker;
  readonly #call: ServerSurfaceCall;
  /** Not an AbortController of its own, to whose signal each call would have to listen. */
  readonly #scope = new CallScope();
  readonly #grpc: Record<string, string>;
  readonly #traceparent: string;
  #streamId: string | undefined;
  #headersSent = false;
  #trailers: Metadata | undefined;

  constructor(call: ServerSurfaceCall, broker: ServiceBroker) {
    this.#call = call;
    this.#broker = broker;
    this.signal = this.#scope.signal;
    this.#grpc = readMetadata(call.metadata);
    const { requestId, traceparent } = identify((name) => this.#grpc[name]);
    this.requestId = requestId;
    this.#traceparent = traceparent;
    call.on("cancelled", () => {
      if (!this.finished) this.abort(new LongshoreError("CANCELLED", "the client is gone"));
    });
  }

  /** Names this RPC's stream among those of all gateways. */
  get streamId(): string {
    return (this.#streamId ??= randomUUID());
  }

  get trailers(): Metadata | undefined {
    return this.#trailers;
  }

  /** Ends the calls that are under way. */
  abort(reason: LongshoreError): void {
    this.#scope.abort(reason);
  }

  /** Calls an action on the RPC's behalf; for a message of a stream, `stream` says what the action must know of it. */
  async invoke(action: string, params: object, stream?: Record<string, unknown>): Promise<unknown> {
    const meta: CallMeta = { grpc: this.#grpc, traceparent: this.#traceparent };
    if (stream) meta.stream = { id: this.streamId, ...stream };
    const options: CallingOptions & { signal: AbortSignal } = { meta, requestID: this.requestId, signal: this.signal };
    const deadline = this.#call.getDeadline();
    // Moleculer takes 0 for no timeout.
    if (deadline !== Infinity) options.timeout = Math.max(1, Number(deadline) - Date.now());
    try {
      return await this.#broker.call(action, params, options);
    } finally {
      if (meta.$grpcHeaders) this.#sendHeaders(meta.$grpcHeaders);
      if (meta.$grpcTrailers) this.#trailers = toMetadata(meta.$grpcTrailers, this.#trailers);
    }
  }

  /** As `invoke`, for other RPCs too: it does not end with this one. */
  async invokeForMany(action: string, params: object): Promise<unknown> {
    const meta: CallMeta = { grpc: this.#grpc, traceparent: this.#traceparent };
    return this.#broker.call(action, params, { meta, requestID: this.requestId });
  }

  /** RPCs with the same text have the same metadata. */
  get metadataText(): string {
    return JSON.stringify(this.#grpc);
  }

  /** Tells the service that the stream is over; may outlive the RPC, so it takes no deadline. */
  async close(action: string, reason: "completed" | "broken", signal?: AbortSignal): Promise<void> {
    const meta = { grpc: this.#grpc, traceparent: this.#traceparent, stream: { id: this.streamId } };
    try {
      await this.#broker.call(action, { id: this.streamId, reason }, { meta, requestID: this.requestId, signal });
    } catch (error) {
      if (signal?.aborted) return;
      this.#broker.logger.warn(`${action} did not learn that stream ${this.streamId} ended (${reason})`, error);
    }
  }

  #sendHeaders(headers: Record<string, string>): void {
    if (this.#headersSent) return;
    this.#headersSent = true;
    this.#call.sendMetadata(toMetadata(headers));
  }
}

/** Text entries only; `grpc-` names belong to the transport. */
function readMetadata(metadata: Metadata): Record<string, string> {
  const entries: Record<string, string> = {};
  for (const [name, value] of Object.entries(metadata.getMap())) {
    if (typeof value === "string" && !name.startsWith("grpc-")) entries[name] = value;
  }
  return entries;
}

function toMetadata(entries: Record<string, string>, metadata = new Metadata()): Metadata {
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value);
  return metadata;
}
