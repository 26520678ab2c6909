/**
 * A gRPC server (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) on a socket of Node, with or without TLS.
 */
import type { AddressInfo, Server as NetServer, Socket } from "node:net";
import { createServer } from "node:net";
import type { TLSSocket } from "node:tls";
import { createServer as createTlsServer } from "node:tls";
import type { ConnectionHost } from "../http2/connection.ts";
import { Connection } from "../http2/connection.ts";
import type { Request } from "../http2/request.ts";
import type { Stream } from "../http2/stream.ts";
import { CallHead } from "./call-head.ts";
import type { CallLimits, CallServer, Method } from "./server-call.ts";
import { ServerCall } from "./server-call.ts";
import { Code, httpBlock, trailersBlock } from "./status.ts";

export interface ServerOptions extends CallLimits {
  maxConnections: number;
  /** Of a connection. */
  maxConcurrentStreams: number;
  /** Of requests that have come in a part or wait for their turn, those of all calls together. */
  maxWaitingBytes: number;
  /** Of a request's metadata, 32 bytes of each entry beyond its name and value. */
  maxMetadataBytes: number;
}

/** PEM. With `ca` only clients are let in that have a certificate of it. */
export interface TlsOptions {
  cert: Buffer;
  key: Buffer;
  ca?: Buffer;
}

export interface ListenOptions {
  host: string;
  /** 0 takes a free one. */
  port: number;
  tls?: TlsOptions;
}

/** A connection whose peer is gone is noticed after five ticks, within half a minute. */
const TICK_MS = 5_000;
const CONTENT_TYPE = /^application\/grpc(?:$|[+;])/;

export class Server {
  readonly #options: ServerOptions;
  readonly #onFault: (error: unknown) => void;
  readonly #calls: CallServer;
  readonly #methods = new Map<string, Method>();
  readonly #connections = new Set<Connection>();
  #listener: NetServer | undefined;
  #ticks: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;
  /** Told when the last connection has closed, once the server stops. */
  #onEmpty: (() => void) | undefined;

  /** `onFault` is told of what fails in the server or in a handler, where no client is to blame. */
  constructor(options: ServerOptions, onFault: (error: unknown) => void) {
    this.#options = options;
    this.#onFault = onFault;
    this.#calls = { limits: options, budget: { left: options.maxWaitingBytes }, onFault };
  }

  /** Serves a method from now on, in place of the one that had its path. */
  register<Request, Answer>(method: Method<Request, Answer>): void {
    this.#methods.set(method.path, method as Method);
  }

  /** Calls under way go on. */
  unregister(path: string): void {
    this.#methods.delete(path);
  }

  /** Listens; the port it got. */
  async listen({ host, port, tls }: ListenOptions): Promise<number> {
    const listener = tls ? this.#createTls(tls) : createServer((socket) => this.#onSocket(socket));
    listener.maxConnections = this.#options.maxConnections;
    await new Promise<void>((resolve, reject) => {
      listener.once("error", reject);
      listener.listen({ host, port }, () => {
        listener.off("error", reject);
        resolve();
      });
    });
    listener.on("error", this.#onFault);
    this.#listener = listener;
    this.#ticks = setInterval(() => {
      for (const connection of this.#connections) connection.tick();
    }, TICK_MS).unref();
    return (listener.address() as AddressInfo).port;
  }

  /** Takes no more connections and calls; resolves when those under way have ended. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  async #stop(): Promise<void> {
    this.#listener?.close();
    const empty = new Promise<void>((resolve) => (this.#onEmpty = resolve));
    for (const connection of this.#connections) connection.end();
    if (this.#connections.size > 0) await empty;
    clearInterval(this.#ticks);
  }

  /** Ends what is under way. */
  cut(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  #createTls({ cert, key, ca }: TlsOptions): NetServer {
    const options = {
      cert,
      key,
      ca,
      requestCert: ca !== undefined,
      rejectUnauthorized: ca !== undefined,
      ALPNProtocols: ["h2"],
      handshakeTimeout: 2 * TICK_MS,
    };
    const server = createTlsServer(options, (socket: TLSSocket) => {
      if (socket.alpnProtocol === "h2") this.#onSocket(socket);
      else socket.destroy();
    });
    // A handshake that fails is the client's affair; the socket is destroyed.
    return server.on("tlsClientError", () => undefined);
  }

  #onSocket(socket: Socket): void {
    const { maxConcurrentStreams, maxMetadataBytes } = this.#options;
    // Calls of a client mostly have the same head.
    let last: { request: Request; head: CallHead } | undefined;
    const headOf = (request: Request): CallHead => {
      if (request !== last?.request) last = { request, head: new CallHead(request) };
      return last.head;
    };
    const host: ConnectionHost = {
      onRequest: (stream, request) => this.#onRequest(stream, request, headOf),
      onClose: () => {
        this.#connections.delete(connection);
        if (this.#connections.size === 0) this.#onEmpty?.();
      },
      onFault: this.#onFault,
    };
    const connection = new Connection(socket, host, { maxConcurrentStreams, maxHeaderListBytes: maxMetadataBytes });
    this.#connections.add(connection);
    if (this.#onEmpty) connection.end();
  }

  #onRequest(stream: Stream, request: Request | undefined, headOf: (request: Request) => CallHead): void {
    if (!request) {
      const details = `metadata: more than ${this.#options.maxMetadataBytes} bytes`;
      return stream.end(trailersBlock({ code: Code.RESOURCE_EXHAUSTED, details }, true));
    }
    const { method, path, headers } = request;
    if (method !== "POST") return stream.end(httpBlock(405));
    if (!CONTENT_TYPE.test(headers["content-type"] ?? "")) return stream.end(httpBlock(415));
    const served = this.#methods.get(path);
    if (!served) return stream.end(trailersBlock({ code: Code.UNIMPLEMENTED, details: `${path} is not served` }, true));
    new ServerCall(stream, served, headOf(request), this.#calls).start();
  }
}
