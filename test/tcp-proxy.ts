import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { connect, createServer } from "node:net";

/** A way to a server that can be cut, with and without a word. */
export interface TcpProxy {
  port: number;
  /** Forwards nothing any more, also of new connections, and says so to nobody. */
  hang(): void;
  /** The same of the connections that there are: new ones are served, as where a host was replaced. */
  goDeaf(): void;
  /** Resets the connections. */
  reset(): void;
  /** Resets the connections and takes no new ones, as where the server is gone. */
  goDown(): Promise<void>;
  /** Undoes `hang` and `goDown`; what was not forwarded is lost with its connections. */
  comeBack(): Promise<void>;
}

/** Runs `body` with a proxy before a port of the loopback interface, at an address of it. */
export async function withTcpProxy<T>(
  target: number,
  body: (proxy: TcpProxy) => Promise<T>,
  address = "127.0.0.1",
): Promise<T> {
  const sockets = new Set<Socket>();
  let hung = false;
  let generation = 0;
  const forward = (inward: Socket) => {
    const born = generation;
    const isHung = () => hung || born < generation;
    const outward = connect(target, "127.0.0.1");
    for (const [socket, other] of [
      [inward, outward],
      [outward, inward],
    ] as const) {
      sockets.add(socket);
      socket.on("data", (chunk) => {
        if (!isHung() && !other.write(chunk)) socket.pause();
      });
      socket.on("drain", () => other.resume());
      socket.on("error", () => undefined);
      socket.on("close", () => {
        sockets.delete(socket);
        if (!isHung()) other.destroy();
      });
    }
  };
  const listen = async (port: number) => {
    const server = createServer(forward).listen(port, address);
    await once(server, "listening");
    return server;
  };
  const reset = () => sockets.forEach((socket) => socket.resetAndDestroy());
  let server = await listen(0);
  const { port } = server.address() as AddressInfo;
  const goDown = async () => {
    server.close();
    reset();
    await once(server, "close");
  };
  try {
    return await body({
      port,
      hang: () => (hung = true),
      goDeaf: () => (generation += 1),
      reset,
      goDown,
      comeBack: async () => {
        hung = false;
        if (server.listening) return reset();
        server = await listen(port);
      },
    });
  } finally {
    server.close();
    sockets.forEach((socket) => socket.destroy());
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
