/** A server of our HTTP/2 on a real socket, which remembers what it has seen. */
import { once } from "node:events";
import type { AddressInfo, Server, Socket } from "node:net";
import { createServer } from "node:net";
import type { ConnectionOptions } from "../lib/http2/connection.ts";
import { Connection } from "../lib/http2/connection.ts";
import { headerBlock } from "../lib/http2/header-block.ts";
import type { ErrorCode } from "../lib/http2/protocol.ts";
import type { Request } from "../lib/http2/request.ts";
import type { Stream, StreamListener } from "../lib/http2/stream.ts";

/** What is done on a stream; the head of the request is unset where it was too large. */
export type Serve = (stream: Stream, request: Request | undefined) => Partial<StreamListener>;

export const OK = headerBlock([[":status", "200"]]);
export const TRAILERS = headerBlock([["x-done", "yes"]]);

/** Answers once the request has ended. */
export const answer: Serve = (stream, request) => ({
  onEnd() {
    stream.respond(request ? OK : headerBlock([[":status", "431"]]));
    stream.end(TRAILERS);
  },
});

/** Sends back what comes in, as fast as the client reads it. */
export const echo: Serve = (stream) => {
  stream.respond(OK);
  return {
    onData: (bytes) => {
      if (!stream.write(bytes)) stream.pause();
    },
    onDrain: () => stream.resume(),
    onEnd: () => stream.end(TRAILERS),
  };
};

/** A request, and what has happened on its stream. */
export class Exchange implements StreamListener {
  readonly stream: Stream;
  readonly request: Request | undefined;
  ended = false;
  /** How the stream was closed. */
  code: ErrorCode | undefined;
  readonly #served: Partial<StreamListener>;
  readonly #parts: Buffer[] = [];

  constructor(stream: Stream, request: Request | undefined, served: Partial<StreamListener>) {
    this.stream = stream;
    this.request = request;
    this.#served = served;
  }

  get body(): Buffer {
    return Buffer.concat(this.#parts);
  }

  onData(bytes: Buffer): void {
    this.#parts.push(Buffer.from(bytes));
    this.#served.onData?.(bytes);
  }

  onEnd(): void {
    this.ended = true;
    this.#served.onEnd?.();
  }

  onDrain(): void {
    this.#served.onDrain?.();
  }

  onClose(code: ErrorCode): void {
    this.code = code;
    this.#served.onClose?.(code);
  }
}

export class Http2Server {
  readonly exchanges: Exchange[] = [];
  readonly connections: Connection[] = [];
  readonly sockets: Socket[] = [];
  readonly faults: unknown[] = [];
  /** Of connections. */
  closed = 0;
  readonly #serve: Serve;
  readonly #options: ConnectionOptions;
  readonly #server: Server;

  private constructor(serve: Serve, options: Partial<ConnectionOptions>) {
    this.#serve = serve;
    this.#options = { maxConcurrentStreams: 1_000, maxHeaderListBytes: 16_384, ...options };
    this.#server = createServer((socket) => this.accept(socket));
  }

  static async start(serve: Serve, options: Partial<ConnectionOptions> = {}): Promise<Http2Server> {
    const server = new Http2Server(serve, options);
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  accept(socket: Socket): void {
    this.sockets.push(socket);
    const host = {
      onRequest: (stream: Stream, request: Request | undefined) => {
        const exchange = new Exchange(stream, request, this.#serve(stream, request));
        this.exchanges.push(exchange);
        stream.listener = exchange;
      },
      onClose: () => (this.closed += 1),
      onFault: (error: unknown) => this.faults.push(error),
    };
    this.connections.push(new Connection(socket, host, this.#options));
  }

  async close(): Promise<void> {
    for (const connection of this.connections) connection.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
