import type { Socket } from "node:net";
import type { Field } from "./header-decoder.ts";
import { HeaderDecoder } from "./header-decoder.ts";
import { Outbox } from "./outbox.ts";
import {
  ConnectionError,
  DEFAULT_WINDOW,
  ErrorCode,
  FRAME_HEADER_BYTES,
  Flag,
  FrameType,
  MAX_FRAME_BYTES,
  MAX_STREAM_ID,
  MAX_WINDOW,
  PREFACE,
  Setting,
  protocolError,
} from "./protocol.ts";
import type { Request } from "./request.ts";
import { areTrailers, readRequest } from "./request.ts";
import type { StreamHost } from "./stream.ts";
import { RECEIVE_WINDOW, Stream } from "./stream.ts";

export interface ConnectionOptions {
  maxConcurrentStreams: number;
  /** Of all fields of a request, 32 bytes of each beyond its name and value. */
  maxHeaderListBytes: number;
}

/** Who serves the requests of a connection. */
export interface ConnectionHost {
  /**
   * A request has come; `undefined` in place of its head where that is larger than may be. Whoever serves it becomes the
   * stream's listener.
   */
  onRequest(stream: Stream, request: Request | undefined): void;
  onClose(): void;
  /** Something of ours has failed. */
  onFault(error: unknown): void;
}

/** What may be on its way to us on all streams of a connection; what has come in is with the streams, which have their own. */
const CONNECTION_WINDOW = 4 * 1024 * 1024;
/** Of a header block as it is sent: more than this cannot unfold to what may be. */
const MAX_BLOCK_BYTES = 64 * 1024;
/** Ticks. */
const GREETING_WITHIN = 2;
const PING_AFTER = 3;
const DEAD_AFTER = 5;
/** How long a peer that was told that the connection ends may take to read it. */
const LINGER_MS = 1_000;
/**
 * Requests that a peer may take back in a row, or have us break off, and how many more each millisecond (the attacks of
 * CVE-2023-44487 and CVE-2025-8671).
 */
const RESET_BURST = 10_000;
const RESETS_PER_MS = 1;

const KEEPALIVE = Buffer.from("longkeep");
const GOODBYE = Buffer.from("longbyes");
const EMPTY = Buffer.alloc(0);

/** A header block that has not come in whole. */
interface Block {
  stream: number;
  endStream: boolean;
  parts: Buffer[];
  bytes: number;
}

/** The server's side of one connection of HTTP/2 (RFC 9113), without push and priorities. */
export class Connection implements StreamHost {
  sendWindow = DEFAULT_WINDOW;
  readonly #socket: Socket;
  readonly #host: ConnectionHost;
  readonly #options: ConnectionOptions;
  readonly #outbox: Outbox;
  readonly #decoder: HeaderDecoder;
  readonly #streams = new Map<number, Stream>();
  /** Streams with data that has not gone out, in the order in which they get their turns. */
  readonly #sending = new Set<Stream>();
  #rest: Buffer = EMPTY;
  #greeted = false;
  #settled = false;
  #block: Block | undefined;
  #lastStream = 0;
  #lastFields: Field[] | undefined;
  #lastRequest: Request | undefined;
  #receiveWindow = CONNECTION_WINDOW;
  #streamSendWindow = DEFAULT_WINDOW;
  #headerTableBytes = 4_096;
  #headersPrefix: Buffer | undefined;
  /** The last stream that is served, once the peer knows that the connection ends. */
  #lastServed = MAX_STREAM_ID;
  #ending = false;
  #closed = false;
  #heard = false;
  #silentTicks = 0;
  #resets = RESET_BURST;
  #resetsAt = performance.now();

  constructor(socket: Socket, host: ConnectionHost, options: ConnectionOptions) {
    this.#socket = socket;
    this.#host = host;
    this.#options = options;
    this.#decoder = new HeaderDecoder(options.maxHeaderListBytes);
    this.#outbox = new Outbox(socket);
    this.#outbox.onRoom = () => this.#sendWaiting();
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#onSocketClose());
    const settings = {
      [Setting.MAX_CONCURRENT_STREAMS]: options.maxConcurrentStreams,
      [Setting.INITIAL_WINDOW_SIZE]: RECEIVE_WINDOW,
      [Setting.MAX_HEADER_LIST_SIZE]: options.maxHeaderListBytes,
    };
    this.#send(FrameType.SETTINGS, 0, 0, settingsPayload(settings));
    this.sendNumber(FrameType.WINDOW_UPDATE, 0, CONNECTION_WINDOW - DEFAULT_WINDOW);
  }

  /** Takes no more requests, lets those under way end, and closes then. What the peer sends meanwhile is served, too. */
  end(): void {
    if (this.#ending || this.#closed) return;
    this.#ending = true;
    this.#goAway(MAX_STREAM_ID, ErrorCode.NO_ERROR);
    // When this comes back, the peer knows, and sends no more.
    this.#ping(GOODBYE);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** To be called every few seconds: looks whether the peer is still there. */
  tick(): void {
    this.#silentTicks = this.#heard && this.#settled ? 0 : this.#silentTicks + 1;
    this.#heard = false;
    if (this.#silentTicks >= (this.#settled ? DEAD_AFTER : GREETING_WITHIN)) this.destroy();
    else if (this.#silentTicks === PING_AFTER) this.#ping(KEEPALIVE);
  }

  // What follows is for the streams.

  get congested(): boolean {
    return this.#outbox.full;
  }

  sendHeaders(stream: number, block: Buffer, endStream: boolean): void {
    let rest = block;
    if (this.#headersPrefix) {
      rest = Buffer.concat([this.#headersPrefix, block]);
      this.#headersPrefix = undefined;
    }
    let type: number = FrameType.HEADERS;
    let flags = endStream ? Flag.END_STREAM : 0;
    for (; rest.length > MAX_FRAME_BYTES; rest = rest.subarray(MAX_FRAME_BYTES)) {
      this.#send(type, flags, stream, rest.subarray(0, MAX_FRAME_BYTES));
      type = FrameType.CONTINUATION;
      flags = 0;
    }
    this.#send(type, flags | Flag.END_HEADERS, stream, rest);
  }

  sendData(stream: number, bytes: Buffer): void {
    this.sendWindow -= bytes.length;
    this.#send(FrameType.DATA, 0, stream, bytes);
  }

  sendNumber(type: number, stream: number, number: number): void {
    if (!this.#closed) this.#outbox.numberFrame(type, stream, number);
  }

  enqueue(stream: Stream): void {
    this.#sending.add(stream);
    if (!this.congested) this.#sendWaiting();
  }

  countReset(): void {
    const now = performance.now();
    this.#resets = Math.min(RESET_BURST, this.#resets + (now - this.#resetsAt) * RESETS_PER_MS) - 1;
    this.#resetsAt = now;
  }

  remove(stream: Stream): void {
    this.#streams.delete(stream.id);
    this.#sending.delete(stream);
    this.#closeIfDone();
  }

  #send(type: number, flags: number, stream: number, payload: Buffer, more?: Buffer): void {
    if (!this.#closed) this.#outbox.frame(type, flags, stream, payload, more);
  }

  /** A frame a stream in turn, for as long as the peer takes it. */
  #sendWaiting(): void {
    for (const stream of this.#sending) {
      if (this.congested || this.sendWindow <= 0) return;
      this.#sending.delete(stream);
      if (stream.sendNext()) this.#sending.add(stream);
    }
  }

  #read(chunk: Buffer): void {
    this.#heard = true;
    if (this.#closed) return;
    try {
      let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
      this.#rest = EMPTY;
      if (!this.#greeted) bytes = this.#greet(bytes);
      this.#rest = this.#readFrames(bytes);
      this.#outbox.relieve();
    } catch (error) {
      if (error instanceof ConnectionError) return this.#fail(error.code, error.message);
      this.#host.onFault(error);
      this.#fail(ErrorCode.INTERNAL_ERROR, "");
    }
  }

  /** Takes the preface off; what is left. */
  #greet(bytes: Buffer): Buffer {
    const known = Math.min(bytes.length, PREFACE.length);
    if (bytes.compare(PREFACE, 0, known, 0, known) !== 0) throw protocolError("this is HTTP/2 only");
    if (known < PREFACE.length) return bytes;
    this.#greeted = true;
    return bytes.subarray(PREFACE.length);
  }

  /** Takes all whole frames; what is left, on its own, so that it does not keep what came with it. */
  #readFrames(bytes: Buffer): Buffer {
    let at = 0;
    while (this.#greeted && bytes.length - at >= FRAME_HEADER_BYTES && !this.#closed) {
      const length = bytes.readUIntBE(at, 3);
      if (length > MAX_FRAME_BYTES) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, `a frame of ${length} bytes`);
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > bytes.length) break;
      const stream = bytes.readUInt32BE(at + 5) & MAX_STREAM_ID;
      this.#readFrame(bytes[at + 3]!, bytes[at + 4]!, stream, bytes.subarray(at + FRAME_HEADER_BYTES, end));
      if (this.#resets < 0) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "too many requests are taken back");
      at = end;
    }
    return at === bytes.length ? EMPTY : Buffer.from(bytes.subarray(at));
  }

  #readFrame(type: number, flags: number, id: number, payload: Buffer): void {
    if (!this.#settled && type !== FrameType.SETTINGS) throw protocolError("the first frame is not SETTINGS");
    if (this.#block && (type !== FrameType.CONTINUATION || id !== this.#block.stream)) {
      throw protocolError("a header block is interrupted");
    }
    switch (type) {
      case FrameType.DATA:
        return this.#onData(flags, id, payload);
      case FrameType.HEADERS:
        return this.#onHeaders(flags, id, payload);
      case FrameType.PRIORITY:
        demandStream(id);
        return demandSize(payload.length === 5);
      case FrameType.RST_STREAM:
        return this.#onReset(id, payload);
      case FrameType.SETTINGS:
        return this.#onSettings(flags, id, payload);
      case FrameType.PUSH_PROMISE:
        throw protocolError("a client pushes nothing");
      case FrameType.PING:
        return this.#onPing(flags, id, payload);
      case FrameType.GOAWAY:
        demandConnection(id);
        return demandSize(payload.length >= 8);
      case FrameType.WINDOW_UPDATE:
        return this.#onWindowUpdate(id, payload);
      case FrameType.CONTINUATION:
        return this.#onContinuation(flags, payload);
      default:
      // What is not known is passed over: an extension.
    }
  }

  #onData(flags: number, id: number, payload: Buffer): void {
    demandStream(id);
    const data = unpad(flags, payload);
    this.#receiveWindow -= payload.length;
    if (this.#receiveWindow < 0) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window");
    if (this.#receiveWindow < CONNECTION_WINDOW / 2) {
      this.sendNumber(FrameType.WINDOW_UPDATE, 0, CONNECTION_WINDOW - this.#receiveWindow);
      this.#receiveWindow = CONNECTION_WINDOW;
    }
    this.#openStream(id)?.receive(data, payload.length, (flags & Flag.END_STREAM) !== 0);
  }

  #onHeaders(flags: number, id: number, payload: Buffer): void {
    demandStream(id);
    if (id % 2 === 0) throw protocolError(`a client's stream has the number ${id}`);
    let part = unpad(flags, payload);
    if (flags & Flag.PRIORITY) {
      demandSize(part.length >= 5);
      part = part.subarray(5);
    }
    const endStream = (flags & Flag.END_STREAM) !== 0;
    if (flags & Flag.END_HEADERS) this.#onHeaderBlock(id, part, endStream);
    else this.#block = { stream: id, endStream, parts: [Buffer.from(part)], bytes: part.length };
  }

  #onContinuation(flags: number, payload: Buffer): void {
    const block = this.#block;
    if (!block) throw protocolError("a header block is continued that did not begin");
    block.parts.push(Buffer.from(payload));
    // An empty part counts, too: there may be endless many (CVE-2024-27316).
    block.bytes += payload.length + FRAME_HEADER_BYTES;
    if (block.bytes > MAX_BLOCK_BYTES)
      throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too long");
    if (!(flags & Flag.END_HEADERS)) return;
    this.#block = undefined;
    this.#onHeaderBlock(block.stream, Buffer.concat(block.parts), block.endStream);
  }

  #onHeaderBlock(id: number, block: Buffer, endStream: boolean): void {
    const fields = this.#decoder.decode(block);
    if (id <= this.#lastStream) {
      const stream = this.#streams.get(id);
      if (!stream) return;
      if (!endStream || !fields || !areTrailers(fields)) stream.reset(ErrorCode.PROTOCOL_ERROR);
      else stream.endRemote();
      return;
    }
    this.#lastStream = id;
    if (id > this.#lastServed) return;
    const request = fields && this.#requestOf(fields);
    if (fields && !request) return this.#refuse(id, ErrorCode.PROTOCOL_ERROR);
    if (this.#streams.size >= this.#options.maxConcurrentStreams) return this.#refuse(id, ErrorCode.REFUSED_STREAM);
    const stream = new Stream(id, this, this.#streamSendWindow, request?.headers["content-length"]);
    this.#streams.set(id, stream);
    this.#host.onRequest(stream, request);
    if (endStream) stream.endRemote();
  }

  /** The same object for the same fields: what follows from it need not be found out again. */
  #requestOf(fields: Field[]): Request | undefined {
    if (fields !== this.#lastFields) {
      this.#lastFields = fields;
      this.#lastRequest = readRequest(fields);
    }
    return this.#lastRequest;
  }

  #refuse(id: number, code: ErrorCode): void {
    this.sendNumber(FrameType.RST_STREAM, id, code);
  }

  #onReset(id: number, payload: Buffer): void {
    demandStream(id);
    demandSize(payload.length === 4);
    const stream = this.#openStream(id);
    if (!stream) return;
    this.countReset();
    stream.close(ErrorCode.CANCEL);
  }

  #onSettings(flags: number, id: number, payload: Buffer): void {
    demandConnection(id);
    this.#settled = true;
    if (flags & Flag.ACK) return demandSize(payload.length === 0);
    demandSize(payload.length % 6 === 0);
    // Before what the settings let go out: the peer reckons with them from here on.
    this.#send(FrameType.SETTINGS, Flag.ACK, 0, EMPTY);
    for (let at = 0; at < payload.length; at += 6) {
      this.#set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
    }
  }

  #set(setting: number, value: number): void {
    if (setting === Setting.HEADER_TABLE_SIZE) {
      // We put nothing into the table; where it shrinks that must be said, as "the table has no bytes" (RFC 7541, section 4.2).
      if (value < this.#headerTableBytes) this.#headersPrefix = Buffer.of(0x20);
      this.#headerTableBytes = value;
    } else if (setting === Setting.ENABLE_PUSH) {
      if (value > 1) throw protocolError(`ENABLE_PUSH is ${value}`);
    } else if (setting === Setting.INITIAL_WINDOW_SIZE) {
      if (value > MAX_WINDOW)
        throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, `INITIAL_WINDOW_SIZE is ${value}`);
      const more = value - this.#streamSendWindow;
      this.#streamSendWindow = value;
      for (const stream of this.#streams.values()) {
        if (!stream.widen(more)) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window");
      }
    } else if (setting === Setting.MAX_FRAME_SIZE) {
      if (value < MAX_FRAME_BYTES || value >= 2 ** 24) throw protocolError(`MAX_FRAME_SIZE is ${value}`);
    }
  }

  #onPing(flags: number, id: number, payload: Buffer): void {
    demandConnection(id);
    demandSize(payload.length === 8);
    if (!(flags & Flag.ACK)) return this.#ping(payload, Flag.ACK);
    if (!this.#ending || !payload.equals(GOODBYE)) return;
    this.#lastServed = this.#lastStream;
    this.#goAway(this.#lastStream, ErrorCode.NO_ERROR);
    this.#closeIfDone();
  }

  #ping(payload: Buffer, flags = 0): void {
    this.#send(FrameType.PING, flags, 0, payload);
  }

  #onWindowUpdate(id: number, payload: Buffer): void {
    demandSize(payload.length === 4);
    const more = payload.readUInt32BE(0) & MAX_WINDOW;
    const stream = id === 0 ? undefined : this.#openStream(id);
    if (more === 0) {
      if (id === 0) throw protocolError("a window grows by nothing");
      return stream?.reset(ErrorCode.PROTOCOL_ERROR);
    }
    if (stream && !stream.widen(more)) stream.reset(ErrorCode.FLOW_CONTROL_ERROR);
    if (id !== 0) return;
    this.sendWindow += more;
    if (this.sendWindow > MAX_WINDOW)
      throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window");
    this.#sendWaiting();
  }

  /** The stream; `undefined` where it has ended, of which the peer may not have known. */
  #openStream(id: number): Stream | undefined {
    if (id > this.#lastStream) throw protocolError(`stream ${id} has not begun`);
    return this.#streams.get(id);
  }

  #fail(code: ErrorCode, message: string): void {
    if (this.#closed) return;
    this.#goAway(this.#lastStream, code, message);
    this.#closeSocket();
    this.#linger();
  }

  #goAway(lastStream: number, code: ErrorCode, message = ""): void {
    const text = Buffer.from(message, "latin1");
    const numbers = Buffer.alloc(8);
    numbers.writeUInt32BE(lastStream, 0);
    numbers.writeUInt32BE(code, 4);
    this.#send(FrameType.GOAWAY, 0, 0, numbers, text);
  }

  #closeIfDone(): void {
    if (this.#lastServed < MAX_STREAM_ID && this.#streams.size === 0) this.#closeSocket();
  }

  /** Sends what there is, and closes. */
  #closeSocket(): void {
    if (this.#closed) return;
    this.#outbox.flush();
    this.#closed = true;
    // Not before the last answer is out, which a slow peer may take long to read.
    this.#socket.end(() => this.#linger());
    this.#cutStreams();
  }

  #linger(): void {
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }

  #onSocketClose(): void {
    this.#closed = true;
    this.#cutStreams();
    this.#host.onClose();
  }

  #cutStreams(): void {
    for (const stream of [...this.#streams.values()]) stream.close(ErrorCode.CANCEL);
  }
}

function settingsPayload(settings: Record<number, number>): Buffer {
  const entries = Object.entries(settings);
  const payload = Buffer.alloc(6 * entries.length);
  for (const [index, [setting, value]] of entries.entries()) {
    payload.writeUInt16BE(Number(setting), 6 * index);
    payload.writeUInt32BE(value, 6 * index + 2);
  }
  return payload;
}

/** What a frame holds without its padding. */
function unpad(flags: number, payload: Buffer): Buffer {
  if (!(flags & Flag.PADDED)) return payload;
  demandSize(payload.length > 0);
  const end = payload.length - payload[0]!;
  if (end < 1) throw protocolError("there is more padding than frame");
  return payload.subarray(1, end);
}

function demandStream(id: number): void {
  if (id === 0) throw protocolError("a frame that belongs to a stream names none");
}

function demandConnection(id: number): void {
  if (id !== 0) throw protocolError("a frame that belongs to the connection names a stream");
}

function demandSize(right: boolean): void {
  if (!right) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a frame has the wrong size");
}
