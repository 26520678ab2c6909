import { EventEmitter } from "node:events";
import { promisify } from "node:util";
import { gunzip, inflate } from "node:zlib";
import { ErrorCode } from "../http2/protocol.ts";
import type { Stream, StreamListener } from "../http2/stream.ts";
import type { CallHead } from "./call-head.ts";
import { MessageReader, tooLarge } from "./message-reader.ts";
import type { Budget, RawMessage } from "./message-reader.ts";
import type { Metadata, Status } from "./status.ts";
import { Code, responseBlock, trailersBlock } from "./status.ts";

/** One RPC as a server serves it. */
export interface Method<Request = unknown, Answer = unknown> {
  path: string;
  requestStream: boolean;
  responseStream: boolean;
  deserialize(bytes: Buffer): Request;
  serialize(answer: Answer): Buffer;
  /** Begins to serve a call: with a single request when that is there, with a stream of them at once. */
  handle(call: ServerCall<Request, Answer>): void;
}

export interface CallLimits {
  maxReceiveBytes: number;
  maxSendBytes: number;
}

/** What calls have in common. */
export interface CallServer {
  limits: CallLimits;
  budget: Budget;
  /** Told of what is thrown by whoever serves a call, which ends the call and nothing else. */
  onFault: (error: unknown) => void;
}

const PREFIX_BYTES = 5;
const MAX_TIMER_MS = 2 ** 31 - 1;
type Decompress = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;
/** A Map, for the name is the client's, and objects have more than what is put into them. */
const DECOMPRESS = new Map<string, Decompress>(
  Object.entries({ gzip: promisify(gunzip), deflate: promisify(inflate) }),
);

/**
 * A call on the server. Emits "data" with each request of a stream and "end" after the last, "drain" when what `write` kept
 * waiting has gone, "cancelled" when it ends without our doing (the client, its deadline, the connection), and last of all
 * "close", with whether the answer went out whole.
 */
export class ServerCall<Request = unknown, Answer = unknown> implements StreamListener {
  readonly head: CallHead;
  /** When the client stops waiting, in milliseconds since 1970; Infinity where it does not. */
  readonly deadline: number = Infinity;
  /** The request, where there is one. */
  request!: Request;
  /** Whether it has ended without our doing. */
  cancelled = false;
  /** Told before "cancelled". */
  onCancel: (() => void) | undefined;
  /** Made for the first listener: most calls have none. */
  #events: EventEmitter | undefined;
  readonly #stream: Stream;
  readonly #method: Method;
  readonly #limits: CallLimits;
  readonly #reader: MessageReader;
  readonly #onFault: (error: unknown) => void;
  /** A message that was unfolded while the call was paused. */
  #unfolded: Buffer | undefined;
  #requests = 0;
  #inputEnded = false;
  #ended = false;
  #paused = false;
  #busy = false;
  #headersSent = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: Stream, method: Method, head: CallHead, server: CallServer) {
    const { limits, budget, onFault } = server;
    this.#stream = stream;
    this.#method = method;
    this.#limits = limits;
    this.#onFault = onFault;
    this.#reader = new MessageReader(limits.maxReceiveBytes, budget);
    this.head = head;
    if (head.timeout !== Infinity) this.deadline = this.#startDeadline(head.timeout);
  }

  /** Begins to serve it. */
  start(): void {
    this.#stream.listener = this;
    if (this.#method.requestStream && !this.#ended) this.#handle();
  }

  on(event: string, listener: (...args: never[]) => void): this {
    (this.#events ??= new EventEmitter()).on(event, listener as (...args: unknown[]) => void);
    return this;
  }

  once(event: string, listener: (...args: never[]) => void): this {
    (this.#events ??= new EventEmitter()).once(event, listener as (...args: unknown[]) => void);
    return this;
  }

  removeListener(event: string, listener: (...args: never[]) => void): this {
    this.#events?.off(event, listener as (...args: unknown[]) => void);
    return this;
  }

  /** No more requests are delivered, and of a stream not more are asked for than were. */
  pause(): void {
    this.#paused = true;
    this.#stream.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
  }

  isPaused(): boolean {
    return this.#paused;
  }

  /** Sends the head of the answer, which goes out with the first message otherwise. */
  sendMetadata(metadata?: Metadata): void {
    if (this.#headersSent || this.#ended) return;
    this.#headersSent = true;
    this.#stream.respond(responseBlock(metadata));
  }

  /** Whether "drain" is still to come. */
  get needsDrain(): boolean {
    return this.#stream.needsDrain;
  }

  /** Sends an answer; false where the client does not keep up: "drain" tells when it does. */
  write(answer: Answer): boolean {
    if (this.#ended) return true;
    const bytes = this.#method.serialize(answer);
    if (bytes.length > this.#limits.maxSendBytes) {
      this.fail(tooLarge(bytes.length, this.#limits.maxSendBytes));
      return true;
    }
    this.sendMetadata();
    const framed = Buffer.allocUnsafe(PREFIX_BYTES + bytes.length);
    framed[0] = 0;
    framed.writeUInt32BE(bytes.length, 1);
    framed.set(bytes, PREFIX_BYTES);
    return this.#stream.write(framed);
  }

  /** Ends the call well, after what has been written. */
  end(trailers?: Metadata): void {
    if (this.#ended) return;
    this.sendMetadata();
    this.#ended = true;
    this.#stream.end(trailersBlock({ code: Code.OK, details: "", ...(trailers && { metadata: trailers }) }));
  }

  /** Ends a call that has a single answer. */
  answer(answer: Answer, trailers?: Metadata): void {
    this.write(answer);
    this.end(trailers);
  }

  /** Ends the call with an error, after what has been written. */
  fail(status: Status): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream.end(trailersBlock(status, !this.#headersSent));
  }

  // What follows is for the stream.

  onData(bytes: Buffer): void {
    if (this.#ended) return;
    this.#reader.add(bytes);
    this.#deliver();
    this.#reader.keep();
    if (this.#reader.refusal) this.#deliver();
  }

  onEnd(): void {
    this.#inputEnded = true;
    this.#deliver();
  }

  onDrain(): void {
    this.#emit("drain");
  }

  onClose(code: ErrorCode): void {
    clearTimeout(this.#timer);
    this.#reader.release();
    const completed = code === ErrorCode.NO_ERROR;
    if (!completed) this.#cancel();
    this.#emit("close", completed && !this.cancelled);
  }

  #startDeadline(timeout: number): number {
    if (Number.isNaN(timeout)) {
      this.#refuse({
        code: Code.INTERNAL,
        details: "grpc-timeout: must be up to 8 digits and one of H, M, S, m, u, n",
      });
      return Infinity;
    }
    if (timeout <= MAX_TIMER_MS) this.#timer = setTimeout(() => this.#expire(), timeout).unref();
    return Date.now() + timeout;
  }

  #expire(): void {
    this.#cancel();
    // What waits for a client that does not read would hold up the end.
    const status = { code: Code.DEADLINE_EXCEEDED, details: "the deadline has passed" };
    this.#stream.cut(trailersBlock(status, !this.#headersSent));
  }

  /** Ends the call over what the client did. */
  #refuse(status: Status): void {
    if (this.#ended) return;
    this.#cancel();
    this.#stream.end(trailersBlock(status, !this.#headersSent));
  }

  #cancel(): void {
    if (this.cancelled) return;
    this.#ended = true;
    this.cancelled = true;
    this.#guarded(() => this.onCancel?.());
    this.#emit("cancelled");
  }

  #emit(event: string, ...details: unknown[]): void {
    if (this.#events) this.#guarded(() => this.#events?.emit(event, ...details));
  }

  #handle(): void {
    this.#guarded(() => this.#method.handle(this));
  }

  /** What others throw ends the call. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fault(error);
    }
  }

  #fault(error: unknown): void {
    this.#onFault(error);
    this.fail({ code: Code.INTERNAL, details: "the call has failed" });
  }

  #deliver(): void {
    while (!this.#paused && !this.#busy && !this.#ended) {
      const message = this.#nextMessage();
      if (!message) break;
      if (message.compressed) void this.#decompress(message.bytes);
      else this.#take(message.bytes);
    }
    if (this.#paused || this.#busy || this.#ended) return;
    if (this.#reader.refusal) return this.#refuse(this.#reader.refusal);
    this.#stream.resume();
    if (this.#inputEnded) this.#endInput();
  }

  async #decompress(bytes: Buffer): Promise<void> {
    const { encoding } = this.head;
    const decompress = DECOMPRESS.get(encoding);
    if (!decompress) {
      const code = encoding === "identity" ? Code.INTERNAL : Code.UNIMPLEMENTED;
      return this.#refuse({ code, details: `grpc-encoding: a message is compressed, and ${encoding} is not known` });
    }
    this.#busy = true;
    this.#stream.pause();
    const maxOutputLength = this.#limits.maxReceiveBytes;
    const message = await decompress(bytes, { maxOutputLength }).catch((error: NodeJS.ErrnoException): Status => {
      if (error.code !== "ERR_BUFFER_TOO_LARGE")
        return { code: Code.INTERNAL, details: `a message is not ${encoding}` };
      return { code: Code.RESOURCE_EXHAUSTED, details: `a message unfolds to more than ${maxOutputLength} bytes` };
    });
    this.#busy = false;
    if (!Buffer.isBuffer(message)) return this.#refuse(message);
    // It may have been paused meanwhile.
    this.#unfolded = message;
    this.#deliver();
  }

  #nextMessage(): RawMessage | undefined {
    const unfolded = this.#unfolded;
    this.#unfolded = undefined;
    return unfolded ? { bytes: unfolded, compressed: false } : this.#reader.next();
  }

  #take(bytes: Buffer): void {
    let request: unknown;
    try {
      request = this.#method.deserialize(bytes);
    } catch (error) {
      return this.#refuse({ code: Code.INTERNAL, details: `a message is malformed: ${(error as Error).message}` });
    }
    this.#requests++;
    if (this.#method.requestStream) this.#emit("data", request);
    else if (this.#requests === 1) this.request = request as Request;
    else this.#refuse({ code: Code.UNIMPLEMENTED, details: "there is more than one request" });
  }

  #endInput(): void {
    // Told once.
    this.#inputEnded = false;
    if (!this.#reader.isEmpty) return this.#refuse({ code: Code.INTERNAL, details: "the last message is cut off" });
    if (this.#method.requestStream) this.#emit("end");
    else if (this.#requests === 1) this.#handle();
    else this.#refuse({ code: Code.UNIMPLEMENTED, details: "there is no request" });
  }
}
