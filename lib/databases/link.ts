import type { Socket } from "node:net";
import { failedPrecondition, LongshoreError, unavailable } from "../errors.ts";

/** How often within the timeout the link is looked at: a loss is seen at most so much later. */
const LOOKS = 4;

/** A host that is gone is asked for after so long, by TCP itself. */
export const KEEP_ALIVE_MS = 60_000;

/** What a link is over: a socket, or whatever a driver has instead and does not count what it receives. */
export interface Transport {
  readonly bytesRead: number;
  destroy(): unknown;
}

export interface LinkOptions {
  idleTimeoutMs: number;
  /** Cuts the link. */
  signal: AbortSignal;
}

/**
 * What is waited for from a server. Drivers wait forever for one that is gone without a word: here a wait ends
 * when nothing was received for `idleTimeoutMs`, when the signal aborts, or when the link is cut.
 */
export class Link {
  readonly #transport: Transport;
  readonly #idleTimeoutMs: number;
  /** As people know the server. */
  readonly #name: string;
  readonly #waits = new Set<(reason: unknown) => void>();
  readonly #unlisten: () => void;
  readonly #end = Promise.withResolvers<void>();
  /** Resolves when the link is cut, by whomever. */
  readonly end = this.#end.promise;
  #timer: NodeJS.Timeout | undefined;
  #ended: { reason: unknown } | undefined;

  constructor(transport: Transport, name: string, { idleTimeoutMs, signal }: LinkOptions) {
    this.#transport = transport;
    this.#name = name;
    this.#idleTimeoutMs = idleTimeoutMs;
    const onAbort = () => this.cut(signal.reason);
    signal.addEventListener("abort", onAbort);
    this.#unlisten = () => signal.removeEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
  }

  static over(socket: Socket, name: string, options: LinkOptions): Link {
    const link = new Link(socket, name, options);
    socket.on("error", (error) => link.cut(lost(name, error)));
    socket.on("close", () => link.cut(unavailable(`${name} has closed the connection`)));
    return link;
  }

  /** Whether something is waited for. */
  get busy(): boolean {
    return this.#waits.size > 0;
  }

  /** What `start` comes to, or why the link was cut. */
  wait<T>(start: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended.reason as Error);
      this.#waits.add(reject);
      this.#timer ??= this.#watch();
      start()
        // What a driver says of a socket that it lost tells less than why.
        .then(resolve, (error) => reject((this.#ended?.reason ?? error) as Error))
        .finally(() => {
          this.#waits.delete(reject);
          if (this.#waits.size === 0) this.#unwatch();
        });
    });
  }

  /** Does what makes the connection fit for its next use; cuts it where that fails. */
  async tidy(work: () => Promise<void>): Promise<void> {
    if (this.#ended) return;
    try {
      await work();
    } catch (error) {
      this.cut(error);
    }
  }

  /** Closes the socket and rejects what waits, now and later; the first reason counts. */
  cut(reason: unknown): void {
    this.#ended ??= { reason };
    this.#unlisten();
    this.#end.resolve();
    this.#unwatch();
    this.#transport.destroy();
    for (const reject of this.#waits) reject(this.#ended.reason);
    this.#waits.clear();
  }

  #watch(): NodeJS.Timeout {
    let received = this.#transport.bytesRead;
    let quietLooks = 0;
    const look = () => {
      quietLooks = this.#transport.bytesRead === received ? quietLooks + 1 : 0;
      received = this.#transport.bytesRead;
      if (quietLooks >= LOOKS)
        this.cut(
          unavailable(`${this.#name} has sent nothing for ${this.#idleTimeoutMs / 1_000} s: the connection is lost`),
        );
    };
    return setInterval(look, this.#idleTimeoutMs / LOOKS);
  }

  #unwatch(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** An error of a socket; a refusal of the outbound policy as it is. */
function lost(name: string, error: Error): Error {
  return error instanceof LongshoreError ? error : unavailable(`${name}: ${error.message}`);
}

/** Whether an error is one of the operating system's, of a socket. */
export function isSocketError(error: unknown): error is Error {
  return typeof error === "object" && error !== null && "syscall" in error;
}

/** What a database says of a statement or a login that it refuses. */
export function refusedByDatabase(message: string, reason?: string) {
  return failedPrecondition(`the database refuses: ${message}`, reason === undefined ? {} : { reason });
}
