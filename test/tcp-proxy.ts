import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { connect, createServer } from "node:net";

/** A way to a server that can be cut, with and without a word. */
export interface TcpProxy {
  port: number;
  /** Forwards nothing any more, and says so to nobody. */
  hang(): void;
  /** Resets the connections. */
  reset(): void;
}

/** Runs `body` with a proxy before a port of the loopback interface, at an address of it. */
export async function withTcpProxy<T>(
  target: number,
  body: (proxy: TcpProxy) => Promise<T>,
  address = "127.0.0.1",
): Promise<T> {
  const sockets = new Set<Socket>();
  let hung = false;
  const server = createServer((inward) => {
    const outward = connect(target, "127.0.0.1");
    for (const [socket, other] of [
      [inward, outward],
      [outward, inward],
    ] as const) {
      sockets.add(socket);
      socket.on("data", (chunk) => {
        if (!hung && !other.write(chunk)) socket.pause();
      });
      socket.on("drain", () => other.resume());
      socket.on("error", () => undefined);
      socket.on("close", () => hung || other.destroy());
    }
  });
  server.listen(0, address);
  await once(server, "listening");
  try {
    return await body({
      port: (server.address() as AddressInfo).port,
      hang: () => (hung = true),
      reset: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

/** Runs `body` with the port of a server that takes connections and says nothing. */
export async function withSilentServer<T>(body: (port: number, connections: () => number) => Promise<T>): Promise<T> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on("error", () => undefined)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await body((server.address() as AddressInfo).port, () => sockets.length);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}
