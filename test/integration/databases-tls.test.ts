/** Connections to databases over TLS: whom they trust, and that none goes on in the clear. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { createServer as createTlsServer, getCACertificates, setDefaultCACertificates } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { DatabaseOptions } from "../../lib/databases/database.ts";
import type { DatabaseServerName, SqlServerName } from "../databases.ts";
import { readAll, running, Scratch, withDatabase, withMongo } from "../databases.ts";
import { describeWith } from "../servers.ts";
import { withTcpProxy } from "../tcp-proxy.ts";
import { waitFor } from "../wait-for.ts";

const fixture = (name: string) => readFileSync(join(import.meta.dirname, "..", "fixtures", "tls", name));

/** What certificates are trusted is asked at each connection; NODE_EXTRA_CA_CERTS adds to the same ones. */
const trusted = getCACertificates("default");
const trust = () => setDefaultCACertificates([...trusted, fixture("ca.crt").toString()]);
const distrust = () => setDefaultCACertificates(trusted);

/** Its certificate is for `localhost` and `127.0.0.1` alone. */
const ANOTHER_ADDRESS = "127.0.0.2";

type Mode = "require" | "verify-ca" | "verify-full";

interface Case {
  /** The parameters of an address. */
  parameters: (mode: Mode) => string;
  /** Answers one row, with a text that only a connection over TLS has. */
  encrypted: string;
  endless: string;
}

const CASES: Record<DatabaseServerName, Case> = {
  mariadb: {
    parameters: (mode) => `ssl-mode=${mode}`,
    encrypted: "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'SSL_VERSION'",
    endless: "SELECT seq FROM seq_1_to_1000000000",
  },
  postgres: {
    parameters: (mode) => `sslmode=${mode}`,
    encrypted: "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    endless: "SELECT generate_series(1, 1000000000)",
  },
  mongodb: {
    parameters: (mode) => `directConnection=true&tls=true${mode === "require" ? "&tlsInsecure=true" : ""}`,
    // What is before the tests' mongod takes TLS alone.
    encrypted: JSON.stringify({ aggregate: "few", pipeline: [{ $project: { _id: 0, x: 1 } }] }),
    endless: "",
  },
};

/** Runs `body` with a port that speaks TLS and forwards to one that does not. */
async function withTlsBefore<T>(target: number, address: string, body: (port: number) => Promise<T>): Promise<T> {
  const sockets = new Set<Socket | TLSSocket>();
  const server = createTlsServer({ cert: fixture("server.crt"), key: fixture("server.key") }, (inward) => {
    const outward = connect(target, "127.0.0.1");
    for (const socket of [inward, outward]) sockets.add(socket.on("error", () => undefined));
    inward.pipe(outward).pipe(inward);
  });
  server.listen(0, address);
  await once(server, "listening");
  try {
    return await body((server.address() as AddressInfo).port);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

afterAll(distrust);

describe.each(["mariadb", "postgres", "mongodb"] as const)("a database over TLS: %s", (server) => {
  describeWith(server, "the connection", () => {
    const scratch = new Scratch(server);
    const { parameters, encrypted, endless } = CASES[server];

    beforeAll(async () => {
      if (server !== "mongodb") return;
      await withMongo(scratch.dsn, (client) =>
        client.db(scratch.name).collection("few").insertOne({ x: "TLSv1 by the one before" }),
      );
    });

    const portOf = () => Number(new URL(scratch.dsn).port);
    const dsnOf = (mode: Mode, host: string, port: number) => {
      const url = new URL(scratch.dsn);
      url.hostname = host;
      url.port = String(port);
      url.search = parameters(mode);
      return url.href;
    };

    /** The driver of MongoDB tries again for as long as it may, whatever it was. */
    const impatient = server === "mongodb" ? { connectTimeoutMs: 3_000 } : {};

    /** Connects to the server at an address of this machine, and answers what it says of the connection's TLS. */
    async function version(mode: Mode, host = "127.0.0.1", options: Partial<DatabaseOptions> = {}): Promise<unknown> {
      const read = (port: number) =>
        withDatabase(
          dsnOf(mode, host, port),
          async (database) => {
            const { rows } = await readAll(database, { statement: encrypted });
            return rows[0]?.[0];
          },
          options,
        );
      const address = host === "localhost" ? "127.0.0.1" : host;
      if (server === "mongodb") return withTlsBefore(portOf(), address, read);
      return withTcpProxy(portOf(), ({ port }) => read(port), address);
    }

    test.each(["localhost", "127.0.0.1"])("is made where the certificate is for the host: %s", async (host) => {
      trust();
      for (const mode of ["require", "verify-ca", "verify-full"] as const)
        expect(await version(mode, host)).toMatch(/^TLSv1/);
    });

    test("is not made where the certificate is for another host, but where its host is not asked for", async () => {
      trust();
      await expect(version("verify-full", ANOTHER_ADDRESS, impatient)).rejects.toMatchObject({
        type: "UNAVAILABLE",
        message: expect.stringContaining("altnames"),
      });
      if (server !== "mongodb") expect(await version("verify-ca", ANOTHER_ADDRESS)).toMatch(/^TLSv1/);
      expect(await version("require", ANOTHER_ADDRESS)).toMatch(/^TLSv1/);
    });

    test("is not made where nobody trusted has signed the certificate, but with require", async () => {
      distrust();
      for (const mode of ["verify-ca", "verify-full"] as const) {
        await expect(version(mode, "127.0.0.1", impatient)).rejects.toMatchObject({
          type: "UNAVAILABLE",
          message: expect.stringContaining("certificate"),
        });
      }
      expect(await version("require")).toMatch(/^TLSv1/);
    });

    if (server === "mongodb") return;

    test("is not made where the server, or who is between, offers no TLS; nothing is sent", async () => {
      await withNoTls(server, async (port, received) => {
        await expect(withDatabase(dsnOf("require", "127.0.0.1", port), async () => undefined)).rejects.toMatchObject({
          type: "UNAVAILABLE",
          message: expect.stringMatching(/SSL|secure/),
        });
        expect(received()).not.toContain("longshore");
      });
    });

    test("of a cancellation is over TLS too", async () => {
      trust();
      const cancelling = new AbortController();
      const dsn = dsnOf("verify-full", "localhost", portOf());
      const reading = withDatabase(
        dsn,
        async (database) => {
          const { batches } = await database.rows({ statement: endless });
          for await (const _batch of batches) cancelling.abort(new Error("not wanted any more"));
        },
        { signal: cancelling.signal },
      );
      await expect(reading).rejects.toThrow("not wanted any more");
      await waitFor(async () => (await running(server, scratch.name)) === 0);
    });
  });
});

/** The first packet of a MariaDB without TLS: its version, a salt, and what it can do, of which CLIENT_SSL is no part. */
const GREETING = Buffer.concat([
  Buffer.from("\x0a10.11.0-MariaDB\0"),
  Buffer.from([1, 0, 0, 0]),
  Buffer.from("12345678\0"),
  Buffer.from([0xff, 0xf7, 33, 2, 0, 0xff, 0x81, 21]),
  Buffer.alloc(10),
  Buffer.from("123456789012\0mysql_native_password\0"),
]);

/** Runs `body` with the port of a server that offers no TLS, and what was sent to it. */
async function withNoTls(
  server: SqlServerName,
  body: (port: number, received: () => string) => Promise<void>,
): Promise<void> {
  let received = "";
  const listening = createServer((socket) => {
    socket.on("error", () => undefined);
    if (server === "mariadb") socket.write(Buffer.concat([Buffer.from([GREETING.length, 0, 0, 0]), GREETING]));
    socket.on("data", (chunk) => {
      // Of PostgreSQL: the answer to a request for TLS.
      if (server === "postgres" && received === "") socket.write("N");
      received += chunk.toString("latin1");
    });
  });
  listening.listen(0, "127.0.0.1");
  await once(listening, "listening");
  try {
    await body((listening.address() as AddressInfo).port, () => received);
  } finally {
    listening.close();
  }
}
