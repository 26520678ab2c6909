/** The gateway's HTTP server: what it does for every request, whatever its route. */
import type { IncomingMessage, RequestListener, Server } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Config } from "../../lib/config.ts";
import { LongshoreError, failedPrecondition } from "../../lib/errors.ts";

/** Makes the server; nothing of a client can hold a connection without sending or reading. */
export function createHttpServer(listener: RequestListener): Server {
  return createServer(
    {
      headersTimeout: 15_000,
      // A file may take long to come: bodies have their own limits, by kind.
      requestTimeout: 0,
      // Longer than the minute after which proxies commonly drop idle connections, so that they do it first.
      keepAliveTimeout: 65_000,
    },
    (req, res) => {
      res.setHeader("X-Content-Type-Options", "nosniff");
      listener(req, res);
    },
  );
}

/** Listens; the port it got. */
export function listen(server: Server, { host, httpPort }: Config): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const problem = error.code === "EADDRINUSE" ? "is in use" : `on ${host}: ${error.message}`;
      reject(failedPrecondition(`HTTP_PORT ${httpPort} ${problem}`));
    });
    server.listen(httpPort, host, () => resolve((server.address() as AddressInfo).port));
  });
}

/** Takes no more connections, lets the requests under way end, and cuts off what has not ended after `timeout` ms. */
export async function close(server: Server, timeout: number): Promise<void> {
  if (!server.listening) return;
  const force = setTimeout(() => server.closeAllConnections(), timeout);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  clearTimeout(force);
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
