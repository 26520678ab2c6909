/** Works on databases that end before they are done: by whoever wants them no more, by the database, by a bound. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, describe, expect, test } from "@jest/globals";
import type { DatabaseServerName } from "../databases.ts";
import { OPTIONS, running, Scratch, withMongo } from "../databases.ts";
import type { DataWork, WorkProgress } from "../../services/progress/work.ts";
import type { Workshop } from "../data-works.ts";
import { accessTo, exportOf, importOf, withWorkshop, XLSX } from "../data-works.ts";
import { describeWith } from "../servers.ts";
import { withTcpProxy } from "../tcp-proxy.ts";
import { waitFor } from "../wait-for.ts";

/** Less than the statements take. That it is a second is measured by `npm run bench -- sql cancelling`. */
const END_MS = 10_000;

/** Each document with each, and each of those with each, and so on. */
const MANY_TIMES_MANY = [1, 2, 3].flatMap(() => [
  { $lookup: { from: "many", pipeline: [{ $project: { n: 1 } }], as: "n" } },
  { $unwind: "$n" },
]);

interface Statements {
  /** Answers no row for long. */
  slow: string;
  endless: string;
  /** Is always being asked for rows: a cursor of MongoDB outlives a connection that is lost in between. */
  dripping?: string;
}

const STATEMENTS: Record<DatabaseServerName, Statements> = {
  mariadb: {
    slow: "SELECT SLEEP(50)",
    endless: "SELECT seq, REPEAT('x', 100) FROM seq_1_to_1000000000",
  },
  postgres: {
    slow: "SELECT pg_sleep(50)",
    endless: "SELECT generate_series(1, 1000000000), repeat('x', 100)",
  },
  mongodb: {
    slow: JSON.stringify({
      aggregate: "many",
      pipeline: [...MANY_TIMES_MANY, { $group: { _id: null, n: { $sum: 1 } } }],
    }),
    endless: JSON.stringify({ aggregate: "many", pipeline: [...MANY_TIMES_MANY, { $project: { n: 1 } }] }),
    dripping: JSON.stringify({
      aggregate: "many",
      pipeline: [
        ...MANY_TIMES_MANY,
        { $match: { $expr: { $function: { body: "function () { sleep(1); return true; }", args: [], lang: "js" } } } },
        { $project: { n: 1 } },
      ],
    }),
  },
};

/** The work's error; `end` is called when its first rows were read. */
function endingOf(workshop: Workshop, work: DataWork, end: () => void, signal?: AbortSignal): Promise<Error> {
  let ended = false;
  const onProgress = ({ rows }: WorkProgress) => {
    if (ended || rows === 0) return;
    ended = true;
    end();
  };
  return errorOf(workshop.run(work, { signal, onProgress }));
}

function errorOf(running: Promise<unknown>): Promise<Error> {
  return running.then(
    () => new Error("it did not fail"),
    (error: Error) => error,
  );
}

describe.each(["mariadb", "postgres", "mongodb"] as const)("a work on %s", (server) => {
  describeWith(server, "ends", () => {
    const scratch = new Scratch(server);
    const { slow, endless, dripping = endless } = STATEMENTS[server];

    beforeAll(async () => {
      if (server !== "mongodb") return;
      await withMongo(scratch.dsn, async (client) => {
        const documents = Array.from({ length: 1_000 }, (_, n) => ({ n, x: "x".repeat(100) }));
        await client.db(scratch.name).collection("many").insertMany(documents);
      });
    });

    const isRunning = async () => (await running(server, scratch.name)) > 0;
    const viaPort = (port: number) => {
      const url = new URL(scratch.dsn);
      url.port = String(port);
      if (server === "mongodb") url.search = "?directConnection=true";
      return url.href;
    };

    test.each(["slow", "endless"] as const)("on the server too, with its signal, and leaves no file (%s)", (kind) =>
      withWorkshop(async (workshop) => {
        const cancelling = new AbortController();
        const { signal } = cancelling;
        let ended = 0;
        const cancel = () => {
          ended = performance.now();
          cancelling.abort(new Error("not wanted any more"));
        };
        const ending =
          kind === "slow"
            ? errorOf(workshop.run(exportOf(scratch.dsn, { statement: slow }), { signal }))
            : endingOf(workshop, exportOf(scratch.dsn, { statement: endless }, XLSX), cancel, signal);
        if (kind === "slow") await waitFor(isRunning).then(cancel);
        expect((await ending).message).toBe("not wanted any more");
        expect(performance.now() - ended).toBeLessThan(END_MS);
        expect(await workshop.left()).toEqual([]);
        await waitFor(async () => !(await isRunning()), 1_000);
      }),
    );

    test("with its reason when the connection is reset in the middle, and leaves nothing", () =>
      withWorkshop((workshop) =>
        withTcpProxy(Number(new URL(scratch.dsn).port), async ({ port, reset }) => {
          const error = await endingOf(workshop, exportOf(viaPort(port), { statement: dripping }), reset);
          expect(error).toMatchObject({ type: "UNAVAILABLE", message: expect.stringMatching(/connection|ECONNRESET/) });
          expect(await workshop.left()).toEqual([]);
          await waitFor(async () => !(await isRunning()));
        }),
      ));

    test("when the server says nothing any more", () =>
      withWorkshop((workshop) =>
        withTcpProxy(Number(new URL(scratch.dsn).port), async ({ port, hang }) => {
          const limits = { ...OPTIONS, connectTimeoutMs: 4_000, idleTimeoutMs: 2_000 };
          const access = accessTo(viaPort(port), { limits });
          const error = await endingOf(workshop, exportOf(access, { statement: endless }), hang);
          expect(error).toMatchObject({
            type: "UNAVAILABLE",
            message: expect.stringContaining("sent nothing for 2 s"),
          });
          expect(await workshop.left()).toEqual([]);
        }),
      ));

    test("before it begins where the password is wrong, which nothing tells", () =>
      withWorkshop(async (workshop) => {
        const url = new URL(scratch.dsn);
        url.username ||= "longshore";
        url.password = "s3cr3t-p%40ss";
        if (server === "mongodb") url.search = "?directConnection=true&authSource=admin";
        await workshop.upload("a\n1\n");
        for (const work of [exportOf(url.href, { statement: slow }), importOf(url.href, "many")]) {
          for (const attempt of [workshop.check(work), workshop.run(work)]) {
            const error = await errorOf(attempt);
            expect(error).toMatchObject({ type: "FAILED_PRECONDITION" });
            expect(JSON.stringify(error) + error.message + error.stack).not.toContain("s3cr3t");
          }
        }
        expect(await workshop.left()).toEqual([]);
      }));
  });
});

test("a work on SQLite ends with its signal, also while SQLite itself cannot be stopped", () =>
  withWorkshop(async (workshop, directory) => {
    const path = join(directory, "a.db");
    new DatabaseSync(path).close();
    const statement =
      "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 15000000) SELECT count(*) FROM n";
    const cancelling = new AbortController();
    const reading = workshop.run(exportOf(`sqlite:${path}`, { statement }), { signal: cancelling.signal });
    reading.catch(() => {});
    // Its thread has begun when it takes time of the processor; nothing else tells of it.
    const before = process.cpuUsage().user;
    await waitFor(() => process.cpuUsage().user - before > 1_500_000);
    const ended = performance.now();
    cancelling.abort(new Error("not wanted any more"));
    await expect(reading).rejects.toThrow("not wanted any more");
    expect(performance.now() - ended).toBeLessThan(END_MS);
    expect(await workshop.left()).toEqual([]);
  }));

describeWith("postgres", "a work", () => {
  const scratch = new Scratch("postgres");

  test("fails where its file would be larger than it may be", () =>
    withWorkshop(async (workshop) => {
      const work = exportOf(scratch.dsn, { statement: STATEMENTS.postgres.endless });
      const place = { ...workshop.place(), maxFileBytes: 10 * 1024 ** 2 };
      await expect(workshop.run(work, { place })).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
      expect(await workshop.left()).toEqual([]);
    }));

  test("fits a heap that holds a small part of its rows", () =>
    withWorkshop(async (workshop) => {
      const statement = "SELECT n, repeat(n::text, 100) AS text FROM generate_series(1, 300000) AS n";
      const place = { ...workshop.place(), heapMb: 40 };
      const told: number[] = [];
      const result = await workshop.run(exportOf(scratch.dsn, { statement }), {
        place,
        onProgress: ({ rows }) => told.push(rows),
      });
      expect(result.bytes).toBeGreaterThan(150_000_000);
      expect(told.at(-1)).toBe(300_000);
      expect(told).toEqual(told.toSorted((one, other) => one - other));
    }));

  test("is refused by the policy for hosts that may not be reached", () =>
    withWorkshop(async (workshop) => {
      const access = accessTo(scratch.dsn, { outbound: { allowPrivate: false } });
      await expect(workshop.check(exportOf(access, { statement: "SELECT 1" }))).rejects.toMatchObject({
        type: "PERMISSION_DENIED",
      });
    }));
});
