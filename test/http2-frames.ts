/** Frames of HTTP/2 written and read by hand, for what no client would send, and a client made of them. */
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect } from "node:net";
import { headerBlock } from "../lib/http2/header-block.ts";
import { HeaderDecoder } from "../lib/http2/header-decoder.ts";
import { Flag, FrameType, PREFACE } from "../lib/http2/protocol.ts";
import { PATIENCE_MS } from "./wait-for.ts";

export interface Frame {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

const HEADER_BYTES = 9;
const EMPTY = Buffer.alloc(0);

export function frame(type: number, flags: number, stream: number, payload: Buffer = EMPTY): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
}

/** SETTINGS by their numbers. */
export function settings(values: Record<number, number>): Buffer {
  const entries = Object.entries(values).map(([setting, value]) => {
    const id = Buffer.alloc(2);
    id.writeUInt16BE(Number(setting));
    return Buffer.concat([id, uint32(value)]);
  });
  return frame(FrameType.SETTINGS, 0, 0, Buffer.concat(entries));
}

/** How a client begins. */
export const GREETING = Buffer.concat([PREFACE, settings({})]);

export type Fields = [name: string, value: string][];

/** The head of a request; `more` comes after what every request has. */
export function requestFields(more: Fields = [], path = "/"): Fields {
  return [[":method", "POST"], [":scheme", "http"], [":path", path], ...more];
}

/** A request in one frame. */
export function headers(stream: number, fields: Fields = requestFields(), flags = 0): Buffer {
  return frame(FrameType.HEADERS, Flag.END_HEADERS | flags, stream, headerBlock(fields));
}

export function data(stream: number, bytes: Buffer | string = EMPTY, flags = 0): Buffer {
  return frame(FrameType.DATA, flags, stream, Buffer.from(bytes));
}

export function ping(text: string, flags = 0): Buffer {
  return frame(FrameType.PING, flags, 0, Buffer.from(text.padEnd(8).slice(0, 8)));
}

export function windowUpdate(stream: number, bytes: number): Buffer {
  return frame(FrameType.WINDOW_UPDATE, 0, stream, uint32(bytes));
}

export function reset(stream: number, code: number): Buffer {
  return frame(FrameType.RST_STREAM, 0, stream, uint32(code));
}

/** Finds the frames in what comes in. */
export class FrameReader {
  /** All that have come, in their order. */
  readonly frames: Frame[] = [];
  /** Those that nobody has waited for yet. */
  readonly #left: Frame[] = [];
  #preface: boolean;
  #rest: Buffer = EMPTY;
  #ended = false;
  #onFrame: () => void = () => undefined;

  constructor({ preface = false } = {}) {
    this.#preface = preface;
  }

  push(chunk: Buffer): void {
    let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    if (this.#preface && bytes.length >= PREFACE.length) {
      bytes = bytes.subarray(PREFACE.length);
      this.#preface = false;
    }
    while (!this.#preface && bytes.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + bytes.readUIntBE(0, 3);
      if (bytes.length < end) break;
      const payload = Buffer.from(bytes.subarray(HEADER_BYTES, end));
      const next = { type: bytes[3]!, flags: bytes[4]!, stream: bytes.readUInt32BE(5), payload };
      this.frames.push(next);
      this.#left.push(next);
      bytes = bytes.subarray(end);
    }
    this.#rest = bytes;
    this.#onFrame();
  }

  /** Nothing comes any more. */
  end(): void {
    this.#ended = true;
    this.#onFrame();
  }

  /** The first frame of that kind that nobody has waited for yet. */
  async next(isIt: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const at = this.#left.findIndex(isIt);
      if (at >= 0) return this.#left.splice(at, 1)[0]!;
      if (this.#ended) throw new Error("the connection has ended before that frame came");
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`not within ${PATIENCE_MS} ms: ${isIt}`)), PATIENCE_MS);
        this.#onFrame = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** A client that sends what it is told to, byte for byte, and answers nothing by itself. */
export class RawClient {
  readonly socket: Socket;
  readonly #reader = new FrameReader();
  readonly #closed: Promise<unknown>;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#reader.push(chunk));
    socket.on("end", () => this.#reader.end());
    socket.on("error", () => undefined);
    this.#closed = once(socket, "close").then(() => this.#reader.end());
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new RawClient(socket);
  }

  /** Connects and says who it is. */
  static async greet(port: number): Promise<RawClient> {
    const client = await RawClient.connect(port);
    client.send(GREETING);
    return client;
  }

  get frames(): readonly Frame[] {
    return this.#reader.frames;
  }

  send(...parts: Buffer[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** The next frame of a type, on a stream if one is named. */
  next(type: number, stream?: number): Promise<Frame> {
    return this.#reader.next((frame) => frame.type === type && (stream === undefined || frame.stream === stream));
  }

  /** The code of the next RST_STREAM. */
  async resetCode(stream: number): Promise<number> {
    return (await this.next(FrameType.RST_STREAM, stream)).payload.readUInt32BE(0);
  }

  /** What the next GOAWAY says. */
  async goAway(): Promise<{ lastStream: number; code: number; text: string }> {
    const { payload } = await this.next(FrameType.GOAWAY);
    return {
      lastStream: payload.readUInt32BE(0),
      code: payload.readUInt32BE(4),
      text: payload.toString("latin1", 8),
    };
  }

  /** The next header block of a stream. Servers of ours put nothing into the table, so it needs no other block. */
  async fields(stream: number): Promise<{ fields: Record<string, string>; end: boolean }> {
    const { flags, payload } = await this.next(FrameType.HEADERS, stream);
    const parts = [payload];
    for (let ended = flags & Flag.END_HEADERS; !ended;) {
      const more = await this.next(FrameType.CONTINUATION, stream);
      parts.push(more.payload);
      ended = more.flags & Flag.END_HEADERS;
    }
    const fields = new HeaderDecoder(Infinity).decode(Buffer.concat(parts))!;
    return {
      fields: Object.fromEntries(fields.map(({ name, value }) => [name, value])),
      end: (flags & Flag.END_STREAM) !== 0,
    };
  }

  /** Resolves when the server has seen all that was sent before, and its answers to that have come. */
  async pong(): Promise<void> {
    this.send(ping("seen it?"));
    await this.#reader.next(({ payload }) => payload.toString() === "seen it?");
  }

  /** Resolves when the server has closed. */
  async closed(): Promise<void> {
    await this.#closed;
  }

  close(): void {
    this.socket.destroy();
  }
}
