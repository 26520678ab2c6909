import type { Socket } from "node:net";
import { FRAME_HEADER_BYTES } from "./protocol.ts";

/** So much may wait for the end of the turn, or for the socket, before what can wait elsewhere does. */
const FULL_BYTES = 256 * 1024;
/** So much of what cannot wait elsewhere, answers to the peer's settings and pings, before nothing more is read from it. */
const FLOODED_BYTES = 1024 * 1024;
/** What the turns of a busy connection take, and a connection at rest does not keep. */
const FIRST_BYTES = 16 * 1024;

const EMPTY = Buffer.alloc(0);

/** What goes out on a socket: all frames of a turn of the loop in one write. */
export class Outbox {
  /** Called when there is room again after it was full. */
  onRoom: () => void = () => undefined;
  readonly #socket: Socket;
  #buffer: Buffer = EMPTY;
  #bytes = 0;
  #scheduled = false;
  /** The socket has not taken what it was given yet. */
  #blocked = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("drain", () => {
      this.#blocked = false;
      socket.resume();
      this.flush();
    });
  }

  get full(): boolean {
    return this.#blocked || this.#bytes >= FULL_BYTES;
  }

  /** Adds a frame, of one or two parts. */
  frame(type: number, flags: number, stream: number, payload: Buffer, more: Buffer = EMPTY): void {
    const length = payload.length + more.length;
    const buffer = this.#reserve(FRAME_HEADER_BYTES + length);
    const at = this.#bytes;
    buffer.writeUIntBE(length, at, 3);
    buffer[at + 3] = type;
    buffer[at + 4] = flags;
    buffer.writeUInt32BE(stream, at + 5);
    buffer.set(payload, at + FRAME_HEADER_BYTES);
    buffer.set(more, at + FRAME_HEADER_BYTES + payload.length);
    this.#bytes += FRAME_HEADER_BYTES + length;
    this.#schedule();
  }

  /** Adds a frame that holds a number of 32 bits. */
  numberFrame(type: number, stream: number, number: number): void {
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32BE(number, 0);
    this.frame(type, 0, stream, payload);
  }

  /** Hands over what waits. */
  flush(): void {
    if (this.#bytes > 0 && !this.#socket.destroyed) {
      const bytes = this.#buffer.subarray(0, this.#bytes);
      // The socket may still hold it when the next frame comes.
      this.#buffer = EMPTY;
      this.#bytes = 0;
      this.#blocked = !this.#socket.write(bytes);
    }
    if (!this.#blocked) this.onRoom();
  }

  /** Hands over what waits where it is much: the turn may bring more, before its end. */
  relieve(): void {
    if (this.#bytes > FLOODED_BYTES && !this.#blocked) this.flush();
  }

  #reserve(bytes: number): Buffer {
    const needed = this.#bytes + bytes;
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, 2 * needed));
      this.#buffer.copy(grown, 0, 0, this.#bytes);
      this.#buffer = grown;
    }
    return this.#buffer;
  }

  #schedule(): void {
    if (this.#blocked) {
      if (this.#bytes > FLOODED_BYTES) this.#socket.pause();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        if (!this.#blocked) this.flush();
      });
    }
  }
}
