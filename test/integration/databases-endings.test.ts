import { existsSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { parseDsn } from "../../lib/databases/dsn.ts";
import { openDatabase } from "../../lib/databases/open.ts";
import type { DatabaseServerName, SqlServerName } from "../databases.ts";
import { OPTIONS, readAll, running, Scratch, sql, withDatabase, withMongo } from "../databases.ts";
import { describeWith, serverUrl } from "../servers.ts";
import { withTempDir } from "../temp-dir.ts";
import { withSilentServer, withTcpProxy } from "../tcp-proxy.ts";
import { waitFor } from "../wait-for.ts";

/** Within so long of a cancellation the server does no more. */
const KILL_MS = 1_000;

interface Statements {
  /** Answers its first row after long. */
  slow: string;
  /** Answers rows for long. */
  endless: string;
  one: string;
}

/** Each document with each, and each of those with each, and so on. */
function manyTimesMany(): object[] {
  const stages = [{ $lookup: { from: "many", pipeline: [{ $project: { n: 1 } }], as: "n" } }, { $unwind: "$n" }];
  return [...stages, ...stages, ...stages];
}

const STATEMENTS: Record<DatabaseServerName, Statements> = {
  mariadb: {
    slow: "SELECT SLEEP(50)",
    endless: "SELECT seq, REPEAT('x', 100) FROM seq_1_to_1000000000",
    one: "SELECT 1",
  },
  postgres: {
    slow: "SELECT pg_sleep(50)",
    endless: "SELECT generate_series(1, 1000000000), repeat('x', 100)",
    one: "SELECT 1",
  },
  mongodb: {
    slow: JSON.stringify({
      aggregate: "many",
      pipeline: [...manyTimesMany(), { $group: { _id: null, n: { $sum: 1 } } }],
    }),
    endless: JSON.stringify({ aggregate: "many", pipeline: [...manyTimesMany(), { $project: { n: 1 } }] }),
    one: JSON.stringify({ aggregate: "few", pipeline: [{ $project: { _id: 0, n: 1 } }] }),
  },
};

/** Whether what runs in a database waits for the one that reads it. */
async function waitsForReader(server: SqlServerName, name: string): Promise<boolean> {
  const waiting = {
    mariadb: `SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '${name}' AND STATE = 'Writing to net'`,
    postgres: `SELECT count(*) FROM pg_stat_activity WHERE datname = '${name}' AND wait_event LIKE 'Client%'`,
  };
  return Number(await sql(server, serverUrl(server), waiting[server])) > 0;
}

describe.each(["mariadb", "postgres", "mongodb"] as const)("the end of a statement: %s", (server) => {
  describeWith(server, "by whatever it comes", () => {
    const scratch = new Scratch(server);
    const { slow, endless, one } = STATEMENTS[server];

    beforeAll(async () => {
      if (server !== "mongodb") return;
      await withMongo(scratch.dsn, async (client) => {
        await client.db(scratch.name).collection("few").insertOne({ n: 1 });
        await client
          .db(scratch.name)
          .collection("many")
          .insertMany(Array.from({ length: 1_000 }, (_, n) => ({ n, x: "x".repeat(100) })));
      });
    });

    const isRunning = () => running(server, scratch.name);
    const viaPort = (port: number) => {
      const url = new URL(scratch.dsn);
      url.port = String(port);
      if (server === "mongodb") url.search = "?directConnection=true";
      return url.href;
    };

    test("the signal kills on the server what has no row yet, and its reason is told", async () => {
      const cancelling = new AbortController();
      const database = await openDatabase(parseDsn(scratch.dsn), { ...OPTIONS, signal: cancelling.signal });
      const reading = database.rows({ statement: slow });
      await waitFor(isRunning);
      cancelling.abort(new Error("not wanted any more"));
      await expect(reading).rejects.toThrow("not wanted any more");
      await waitFor(async () => (await isRunning()) === 0, KILL_MS);
      await database.close();
      await expect(database.tables()).rejects.toThrow("not wanted any more");
    });

    test("the signal ends a session in the middle of its rows", async () => {
      const cancelling = new AbortController();
      const database = await openDatabase(parseDsn(scratch.dsn), { ...OPTIONS, signal: cancelling.signal });
      const source = await database.rows({ statement: endless });
      const batches = source.batches[Symbol.asyncIterator]();
      expect((await batches.next()).value).toHaveLength(1_000);
      cancelling.abort(new Error("not wanted any more"));
      const read = async () => {
        while (!(await batches.next()).done);
      };
      await expect(read()).rejects.toThrow("not wanted any more");
      const still = () => running(server, scratch.name, { sessions: server !== "mongodb" });
      await waitFor(async () => (await still()) === 0, KILL_MS);
      await database.close();
    });

    test("a source that is closed in the middle leaves a connection that can be used", async () => {
      await withDatabase(scratch.dsn, async (database) => {
        const source = await database.rows({ statement: endless });
        for await (const batch of source.batches) {
          expect(batch).toHaveLength(1_000);
          break;
        }
        await source.close();
        await waitFor(async () => (await isRunning()) === 0, KILL_MS);
        expect((await readAll(database, { statement: one })).rows).toEqual([[1]]);
        expect(source.position().pages).toBe(0);
      });
    });

    if (server !== "mongodb") {
      test("the server waits for a reader that is slow, and little is held of what it has sent", async () => {
        await withDatabase(scratch.dsn, async (database) => {
          const source = await database.rows({ statement: endless });
          for await (const _batch of source.batches) {
            const held = process.memoryUsage().rss;
            // Between the rows that it sends a server waits, too, but not whenever it is looked at.
            let looks = 0;
            const look = async () => (looks = (await waitsForReader(server, scratch.name)) ? looks + 1 : 0) === 20;
            // Each look starts a client.
            await waitFor(look);
            expect(process.memoryUsage().rss - held).toBeLessThan(100 * 1_048_576);
            break;
          }
        });
      });
    }

    test("closing the database ends what it runs", async () => {
      const database = await openDatabase(parseDsn(scratch.dsn), { ...OPTIONS, signal: new AbortController().signal });
      const reading = database.rows({ statement: slow });
      const refused = expect(reading).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
      await waitFor(isRunning);
      await database.close();
      await refused;
      await waitFor(async () => (await isRunning()) === 0, KILL_MS);
    });

    test("a statement that takes too long ends as DEADLINE_EXCEEDED", async () => {
      await withDatabase(
        scratch.dsn,
        async (database) => {
          const reading = readAll(database, { statement: slow });
          await expect(reading).rejects.toMatchObject({ type: "DEADLINE_EXCEEDED" });
          await waitFor(async () => (await isRunning()) === 0, KILL_MS);
        },
        { statementTimeoutMs: 300 },
      );
    });

    test("a server that is gone without a word is UNAVAILABLE after the idle time", async () => {
      await withTcpProxy(Number(new URL(scratch.dsn).port), async (proxy) => {
        let hung = 0;
        const lost = withDatabase(
          viaPort(proxy.port),
          async (database) => {
            const source = await database.rows({ statement: endless });
            for await (const _batch of source.batches) {
              hung ||= performance.now();
              proxy.hang();
            }
          },
          { idleTimeoutMs: 400, connectTimeoutMs: 1_500 },
        );
        await expect(lost).rejects.toMatchObject({ type: "UNAVAILABLE", message: expect.stringContaining("0.4 s") });
        // To end the statement connections are tried that nobody answers either.
        expect(performance.now() - hung).toBeLessThan(15_000);
      });
    });

    test("a server that resets the connection is UNAVAILABLE at once", async () => {
      await withTcpProxy(Number(new URL(scratch.dsn).port), async (proxy) => {
        const lost = withDatabase(viaPort(proxy.port), async (database) => {
          const source = await database.rows({ statement: endless });
          for await (const _batch of source.batches) proxy.reset();
        });
        await expect(lost).rejects.toMatchObject({ type: "UNAVAILABLE" });
      });
    });

    test("a host that takes the connection and says nothing is UNAVAILABLE within the time to connect", async () => {
      await withSilentServer(async (port) => {
        const began = performance.now();
        const opened = withDatabase(viaPort(port), async () => undefined, { connectTimeoutMs: 300 });
        await expect(opened).rejects.toMatchObject({ type: "UNAVAILABLE" });
        expect(performance.now() - began).toBeLessThan(2_000);
      });
    });

    test("the signal ends a connection under way", async () => {
      await withSilentServer(async (port, connections) => {
        const cancelling = new AbortController();
        const opened = openDatabase(parseDsn(viaPort(port)), { ...OPTIONS, signal: cancelling.signal });
        const ended = expect(opened).rejects.toThrow("not wanted any more");
        await waitFor(connections);
        cancelling.abort(new Error("not wanted any more"));
        await ended;
      });
    });

    test("a login that is refused tells why, without the password", async () => {
      const url = new URL(scratch.dsn);
      url.username = "longshore";
      url.password = "S3CR3T-wrong";
      const failure = await withDatabase(url.href, async () => undefined).catch((error: unknown) => error);
      expect(failure).toMatchObject({
        type: "FAILED_PRECONDITION",
        message: expect.stringMatching(/denied|authentication failed/i),
      });
      const { message, stack, cause } = failure as Error;
      expect(JSON.stringify([message, stack, cause, failure])).not.toContain("S3CR3T");
    });

    test.each(["127.0.0.1", "localhost"])(
      "the outbound policy is asked of %s before anything is connected to",
      async (host) => {
        await withSilentServer(async (port, connections) => {
          const url = new URL(viaPort(port));
          url.hostname = host;
          const opened = withDatabase(url.href, async () => undefined, {
            outbound: { allowPrivate: false },
            connectTimeoutMs: 2_000,
          });
          await expect(opened).rejects.toMatchObject({
            type: "PERMISSION_DENIED",
            data: { reason: "OUTBOUND_DENIED" },
          });
          expect(connections()).toBe(0);
        });
      },
    );
  });
});

describeWith([], "the end of a statement: SQLite", () => {
  const endless = "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT n FROM s";
  const withFile = <T>(body: (dsn: string) => Promise<T>) =>
    withTempDir(async (directory) => {
      const path = join(directory, "empty.db");
      new DatabaseSync(path).close();
      return body(`sqlite:${path}`);
    });

  test("the signal ends it between batches, with its reason", async () => {
    await withFile(async (dsn) => {
      const cancelling = new AbortController();
      const database = await openDatabase(parseDsn(dsn), { ...OPTIONS, signal: cancelling.signal });
      const read = async () => {
        const source = await database.rows({ statement: endless });
        setImmediate(() => cancelling.abort(new Error("not wanted any more")));
        for await (const _batch of source.batches);
      };
      await expect(read()).rejects.toThrow("not wanted any more");
    });
  });

  test("the time for a statement ends it", async () => {
    await withFile(async (dsn) => {
      const read = withDatabase(dsn, (database) => readAll(database, { statement: endless }), {
        statementTimeoutMs: 50,
      });
      await expect(read).rejects.toMatchObject({ type: "DEADLINE_EXCEEDED" });
    });
  });

  test("a file that is not there is not made", async () => {
    await withTempDir(async (directory) => {
      const path = join(directory, "none.db");
      const opened = withDatabase(`sqlite:${path}`, async () => undefined, { readOnly: false });
      await expect(opened).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
      expect(existsSync(path)).toBe(false);
    });
  });
});
