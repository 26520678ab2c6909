/** The gateway's HTTP server: what it does for every request, whatever its route. */
import type { IncomingMessage, RequestListener, Server, ServerOptions, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Config } from "../../lib/config.ts";
import { LongshoreError, failedPrecondition } from "../../lib/errors.ts";
import { refuseMalformed } from "./malformed-request.ts";

/** Nothing of a client can hold a connection without sending or reading. */
const SERVER_OPTIONS: ServerOptions = {
  headersTimeout: 15_000,
  // A file may take long to come: bodies have their own limits, by kind.
  requestTimeout: 0,
  // Longer than the minute after which proxies commonly drop idle connections, so that they do it first.
  keepAliveTimeout: 65_000,
};

export class HttpServer {
  readonly #server: Server;
  /** Answers that are due by connection. Node's own count knows no connection that has not sent a request yet. */
  readonly #connections = new Map<Socket, Set<ServerResponse>>();
  #closing = false;

  constructor(listener: RequestListener) {
    this.#server = createServer(SERVER_OPTIONS, (req, res) => {
      res.setHeader("X-Content-Type-Options", "nosniff");
      this.#connections.get(req.socket)?.add(res);
      res.once("close", () => this.#answered(req.socket, res));
      listener(req, res);
    });
    this.#server.on("connection", (socket: Socket) => {
      this.#connections.set(socket, new Set());
      socket.once("close", () => this.#connections.delete(socket));
    });
    this.#server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
      const answers = [...(this.#connections.get(socket) ?? [])];
      refuseMalformed(
        error,
        socket,
        answers.some((res) => res.headersSent),
      );
    });
  }

  /** Listens; the port it got. */
  listen({ host, httpPort }: Config): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.on("error", (error: NodeJS.ErrnoException) => {
        const problem = error.code === "EADDRINUSE" ? "is in use" : `on ${host}: ${error.message}`;
        reject(failedPrecondition(`HTTP_PORT ${httpPort} ${problem}`));
      });
      this.#server.listen(httpPort, host, () => resolve((this.#server.address() as AddressInfo).port));
    });
  }

  /** Takes no more connections, lets the requests under way end, and cuts off what has not ended after `timeout` ms. */
  async close(timeout: number): Promise<void> {
    if (!this.#server.listening) return;
    this.#closing = true;
    const force = setTimeout(() => this.#server.closeAllConnections(), timeout);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const [socket, answers] of this.#connections) if (answers.size === 0) socket.destroy();
    await closed;
    clearTimeout(force);
  }

  #answered(socket: Socket, res: ServerResponse): void {
    const answers = this.#connections.get(socket);
    answers?.delete(res);
    if (this.#closing && answers?.size === 0) socket.destroySoon();
  }
}

/**
 * Refuses what another site's page makes a browser send: a node on loopback without authentication is open to every page
 * that the operator visits. As https://words.filippo.io/csrf/ explains, these two headers tell.
 */
export function refuseCrossOrigin({ method, headers }: IncomingMessage): void {
  if (method === "GET" || method === "HEAD") return;
  const site = headers["sec-fetch-site"];
  if (site === "same-origin" || site === "none") return;
  const { origin } = headers;
  if (site === undefined && (origin === undefined || hostOf(origin) === headers.host)) return;
  throw new LongshoreError("PERMISSION_DENIED", `a page of another origin may not ${method}`);
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
