import { ErrorCode, FrameType, MAX_FRAME_BYTES, MAX_WINDOW } from "./protocol.ts";

/** What the peer may send on a stream before it is asked for more. */
export const RECEIVE_WINDOW = 256 * 1024;
/** So much may wait to be sent before `write` asks to hold on. */
const HIGH_WATER_BYTES = 64 * 1024;

const DIGITS = /^\d+$/;

/** What happens on a stream, told to whoever serves it. */
export interface StreamListener {
  onData(bytes: Buffer): void;
  /** The peer has sent all that it had. */
  onEnd(): void;
  /** After `write` said to hold on: what waited has gone. */
  onDrain(): void;
  /** Nothing comes or goes any more. With NO_ERROR the answer went out whole. */
  onClose(code: ErrorCode): void;
}

/** What a stream needs of its connection. */
export interface StreamHost {
  /** May be sent now on the connection as a whole. */
  readonly sendWindow: number;
  /** Whether data must wait on its stream. */
  readonly congested: boolean;
  sendHeaders(stream: number, block: Buffer, endStream: boolean): void;
  /** Up to a frame of what flow control counts. */
  sendData(stream: number, bytes: Buffer): void;
  sendNumber(type: number, stream: number, number: number): void;
  /** Sends what waits on the stream as soon as that may be. */
  enqueue(stream: Stream): void;
  /** A stream was broken off. */
  countReset(): void;
  remove(stream: Stream): void;
}

const none: StreamListener = {
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

/** The server's side of one request and its answer. */
export class Stream {
  readonly id: number;
  listener: StreamListener = none;
  /** `write` has said to hold on, and `onDrain` is still to come. */
  needsDrain = false;
  readonly #host: StreamHost;
  #sendWindow: number;
  #receiveWindow = RECEIVE_WINDOW;
  /** What the request says that its body has; unset where it says nothing. */
  readonly #length: number | undefined;
  #received = 0;
  #remoteEnded = false;
  #localEnded = false;
  #closed = false;
  #paused = false;
  #queue: Buffer[] = [];
  #queued = 0;
  /** The end of the answer, which waits for what is queued. */
  #trailers: Buffer | undefined;

  constructor(id: number, host: StreamHost, sendWindow: number, length: string | undefined) {
    this.id = id;
    this.#host = host;
    this.#sendWindow = sendWindow;
    this.#length = length === undefined ? undefined : Number(DIGITS.test(length) ? length : NaN);
  }

  /** Whether the answer has ended, or cannot be sent any more. */
  get ended(): boolean {
    return this.#localEnded || this.#trailers !== undefined;
  }

  /** Sends the head of the answer. */
  respond(block: Buffer): void {
    if (!this.ended) this.#host.sendHeaders(this.id, block, false);
  }

  /** Sends a part of the answer; false where it waits, together with others: `onDrain` tells when it has gone. */
  write(bytes: Buffer): boolean {
    if (this.ended) return true;
    const fits = bytes.length <= this.#sendWindow && bytes.length <= this.#host.sendWindow;
    if (this.#queued === 0 && fits && !this.#host.congested) {
      this.#sendData(bytes);
      return true;
    }
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#host.enqueue(this);
    if (this.#queued < HIGH_WATER_BYTES) return true;
    this.needsDrain = true;
    return false;
  }

  /** Ends the answer after what has been written. */
  end(trailers: Buffer): void {
    if (this.ended) return;
    this.#trailers = trailers;
    if (this.#queued === 0) this.#finish();
  }

  /** As `end`, but what has not gone out yet is dropped. */
  cut(trailers: Buffer): void {
    if (this.#localEnded) return;
    this.#trailers = trailers;
    this.#drop();
    this.#finish();
  }

  /** Breaks the stream off. */
  reset(code: ErrorCode): void {
    if (this.#closed) return;
    this.#host.sendNumber(FrameType.RST_STREAM, this.id, code);
    this.#host.countReset();
    this.close(code);
  }

  /** What comes in is still taken, but no more is asked for. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#ask();
  }

  // What follows is for the connection.

  /** DATA has come, `size` bytes with their padding. */
  receive(bytes: Buffer, size: number, end: boolean): void {
    if (this.#remoteEnded) return this.reset(ErrorCode.STREAM_CLOSED);
    this.#receiveWindow -= size;
    if (this.#receiveWindow < 0) return this.reset(ErrorCode.FLOW_CONTROL_ERROR);
    this.#received += bytes.length;
    if (bytes.length > 0) this.listener.onData(bytes);
    if (end) this.endRemote();
    else this.#ask();
  }

  /** The peer ends its side. */
  endRemote(): void {
    if (this.#closed) return;
    if (this.#remoteEnded) return this.reset(ErrorCode.STREAM_CLOSED);
    if (this.#length !== undefined && this.#length !== this.#received) return this.reset(ErrorCode.PROTOCOL_ERROR);
    this.#remoteEnded = true;
    this.listener.onEnd();
  }

  /** The peer takes `bytes` more; false where that is more than there may be. */
  widen(bytes: number): boolean {
    this.#sendWindow += bytes;
    if (this.#sendWindow > MAX_WINDOW) return false;
    if (this.#queued > 0) this.#host.enqueue(this);
    return true;
  }

  /** Sends one frame of what waits; whether more could go. */
  sendNext(): boolean {
    const room = Math.min(this.#sendWindow, this.#host.sendWindow, MAX_FRAME_BYTES);
    if (this.#queued === 0 || room <= 0) return false;
    const first = this.#queue[0]!;
    const part = first.subarray(0, room);
    if (part.length === first.length) this.#queue.shift();
    else this.#queue[0] = first.subarray(room);
    this.#queued -= part.length;
    this.#sendData(part);
    if (this.#queued === 0 && this.#trailers) this.#finish();
    else if (this.#queued === 0 && this.needsDrain) {
      this.needsDrain = false;
      this.listener.onDrain();
    }
    return this.#queued > 0 && this.#sendWindow > 0;
  }

  /** It is over: both sides have ended, or one has broken it off. */
  close(code: ErrorCode): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#localEnded = true;
    this.#remoteEnded = true;
    this.#drop();
    this.#host.remove(this);
    this.listener.onClose(code);
  }

  #finish(): void {
    this.#host.sendHeaders(this.id, this.#trailers!, true);
    this.#localEnded = true;
    // The answer is complete, so what the peer may still have to say does not matter (RFC 9113, section 8.1).
    if (!this.#remoteEnded) this.#host.sendNumber(FrameType.RST_STREAM, this.id, ErrorCode.NO_ERROR);
    this.close(ErrorCode.NO_ERROR);
  }

  #sendData(bytes: Buffer): void {
    this.#sendWindow -= bytes.length;
    for (let at = 0; at < bytes.length; at += MAX_FRAME_BYTES) {
      const part = bytes.length <= MAX_FRAME_BYTES ? bytes : bytes.subarray(at, at + MAX_FRAME_BYTES);
      this.#host.sendData(this.id, part);
    }
  }

  /** Asks for more when half of the window is used. */
  #ask(): void {
    const used = RECEIVE_WINDOW - this.#receiveWindow;
    if (this.#paused || this.#remoteEnded || used < RECEIVE_WINDOW / 2) return;
    this.#receiveWindow = RECEIVE_WINDOW;
    this.#host.sendNumber(FrameType.WINDOW_UPDATE, this.id, used);
  }

  #drop(): void {
    this.#queue = [];
    this.#queued = 0;
  }
}
