import type { Connection, FieldPacket, QueryError } from "mysql2";
import { createConnection } from "mysql2";
import { LongshoreError, unavailable } from "../../errors.ts";
import { OutboundSocket } from "../../sources/outbound.ts";
import type { SqlServer } from "../dsn.ts";
import { hostText } from "../dsn.ts";
import { KEEP_ALIVE_MS, Link, refusedByDatabase } from "../link.ts";
import type { DatabaseOptions } from "../database.ts";
import { quoter } from "../selection.ts";

export const quote = quoter("`");

export type MysqlSource = SqlServer & { database: string };

/** One connection to MySQL or MariaDB, logged in. */
export interface Session {
  connection: Connection;
  link: Link;
}

/** Killed by KILL, the statement timeouts of MySQL and of MariaDB, and locks that were waited for too long. */
const TIMEOUTS = new Set([3024, 1969, 1205]);

/** Connects and logs in, within the time for it. */
export async function connect(
  source: MysqlSource,
  options: Pick<DatabaseOptions, "outbound" | "connectTimeoutMs" | "idleTimeoutMs" | "signal">,
): Promise<Session> {
  const { host, port, user, password, database, tls } = source;
  const name = hostText(source);
  const socket = new OutboundSocket(options.outbound);
  const link = Link.over(socket, name, options);
  const timer = setTimeout(() => {
    link.cut(unavailable(`${name} could not be connected to within ${options.connectTimeoutMs / 1_000} s`));
  }, options.connectTimeoutMs);
  try {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const connection = createConnection({
      host,
      port,
      user,
      password,
      database,
      stream: () => socket.connect(port, host).setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS),
      // The time is kept here, for the driver's ends before TLS and login.
      connectTimeout: 0,
      charset: "utf8mb4",
      rowsAsArray: true,
      // Dates and numbers in the server's own digits.
      dateStrings: true,
      supportBigNumbers: true,
      bigNumberStrings: true,
      jsonStrings: true,
      // A server must not ask for files of ours; what an UPDATE leaves as it was is not counted.
      flags: ["-LOCAL_FILES", "-FOUND_ROWS"],
      ssl:
        tls === "disable"
          ? undefined
          : { rejectUnauthorized: tls !== "require", verifyIdentity: tls === "verify-full" },
    });
    connection.once("connect", () => resolve());
    // It must have a listener always; what goes wrong later comes to whoever waits.
    connection.on("error", reject);
    await link.wait(() => promise);
    return { connection, link };
  } catch (error) {
    link.cut(error);
    throw explained(error);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a statement and answers its rows, in arrays. */
export function ask(session: Session, sql: string, values: readonly unknown[] = []): Promise<readonly unknown[][]> {
  return run(session, sql, values).then(({ rows }) => rows as unknown[][]);
}

/** Runs a statement and answers what the driver does: rows, or what was done. */
export async function run(
  { connection, link }: Session,
  sql: string,
  values: readonly unknown[] = [],
): Promise<{ rows: unknown; fields: FieldPacket[] }> {
  try {
    return await link.wait(
      () =>
        new Promise((resolve, reject) => {
          connection.query(
            { sql, values: [...values] },
            (error: QueryError | null, rows: unknown, fields: FieldPacket[]) => {
              if (error) reject(error);
              else resolve({ rows, fields });
            },
          );
        }),
    );
  } catch (error) {
    throw explained(error);
  }
}

/** An error of the driver in our terms; others as they are. */
export function explained(error: unknown): unknown {
  if (error instanceof LongshoreError) return error;
  const { errno, sqlMessage, code, message } = error as Partial<QueryError> & { sqlMessage?: string };
  // Without a word of the server it is the connection: lost, of a TLS that failed, …
  if (sqlMessage === undefined) return code === undefined || message === undefined ? error : unavailable(message);
  if (TIMEOUTS.has(errno ?? 0))
    return new LongshoreError("DEADLINE_EXCEEDED", `the database took too long: ${sqlMessage}`);
  return refusedByDatabase(sqlMessage);
}
