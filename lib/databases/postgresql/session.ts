import type { ConnectionOptions } from "node:tls";
import pg from "pg";
import Cursor from "pg-cursor";
import { LongshoreError, unavailable } from "../../errors.ts";
import { OutboundSocket } from "../../sources/outbound.ts";
import type { SqlServer } from "../dsn.ts";
import { hostText } from "../dsn.ts";
import { isSocketError, Link, refusedByDatabase } from "../link.ts";
import type { DatabaseOptions } from "../open.ts";
import { quoter } from "../selection.ts";

export const quote = quoter('"');

export type PostgresSource = SqlServer & { database: string };

/** One connection to PostgreSQL, logged in. */
export interface Session {
  client: pg.Client;
  link: Link;
}

/** Of the few that EXPLAIN has. */
const ALL_ROWS = 1_000_000;
const QUERY_CANCELED = "57014";
const LOCK_NOT_AVAILABLE = "55P03";

/** Texts as the server sends them: the driver's own parsers are slow, and shift dates into the zone of this process. */
export const RAW_TYPES: pg.CustomTypesConfig = { getTypeParser: () => (text: string) => text };

/** Connects and logs in, within the time for it. */
export async function connect(source: PostgresSource, options: DatabaseOptions): Promise<Session> {
  const { host, port, user, password, database, tls } = source;
  const name = hostText(source);
  const socket = new OutboundSocket(options.outbound);
  const link = Link.over(socket, name, options);
  const timer = setTimeout(() => {
    link.cut(unavailable(`${name} could not be connected to within ${options.connectTimeoutMs / 1_000} s`));
  }, options.connectTimeoutMs);
  try {
    const client = new pg.Client({
      host,
      port,
      user,
      database,
      // Not a text: for an empty one the driver would look in this process's environment and in its user's home.
      password: () => password,
      stream: () => socket,
      ssl: tlsOptions(tls),
      keepAlive: true,
      application_name: "longshore",
    });
    // It must have a listener always; what goes wrong comes to whoever waits.
    client.on("error", (error) => link.cut(explained(error)));
    await link.wait(() => client.connect());
    return { client, link };
  } catch (error) {
    link.cut(error);
    const known = explained(error);
    // All else that the driver tells of here is a connection that fails: no TLS, a certificate that is not trusted, …
    throw known instanceof LongshoreError || options.signal.aborted
      ? known
      : unavailable(`${name}: ${(known as Error).message}`);
  } finally {
    clearTimeout(timer);
  }
}

function tlsOptions(tls: SqlServer["tls"]): false | ConnectionOptions {
  switch (tls) {
    case "disable":
      return false;
    case "require":
      return { rejectUnauthorized: false };
    case "verify-ca":
      return { checkServerIdentity: () => undefined };
    case "verify-full":
      return {};
  }
}

/** What of the driver's connection a request to cancel needs; its types leave it out. */
interface CancelConnection extends NodeJS.EventEmitter {
  connect(port: number, host: string): void;
  requestSsl(): void;
  cancel(processId: number, secretKey: number): void;
}

/** Has the server cancel what a session runs; needs no login, and does nothing where nothing runs. */
export async function cancel(session: Session, source: PostgresSource, options: DatabaseOptions): Promise<void> {
  const { host, port, tls } = source;
  const { processID, secretKey } = session.client as unknown as { processID: number; secretKey: number };
  const socket = new OutboundSocket(options.outbound);
  const link = Link.over(socket, hostText(source), {
    idleTimeoutMs: options.connectTimeoutMs,
    signal: new AbortController().signal,
  });
  const connection = new pg.Connection({
    stream: socket,
    ssl: tlsOptions(tls),
  } as never) as unknown as CancelConnection;
  // The server answers nothing and closes the connection: the link ends.
  connection.on("error", (error) => link.cut(error));
  const request = () => connection.cancel(processID, secretKey);
  connection.once("connect", () => (tls === "disable" ? request() : connection.requestSsl()));
  connection.once("sslconnect", request);
  connection.connect(port, host);
  await link.wait(() => link.end).catch(() => undefined);
}

/** Runs one of our own statements and answers its rows, in arrays of texts. */
export async function ask({ client, link }: Session, text: string, values?: unknown[]): Promise<(string | null)[][]> {
  try {
    const query = { text, values, rowMode: "array" as const, types: RAW_TYPES };
    return (await link.wait(() => client.query<(string | null)[]>(query))).rows;
  } catch (error) {
    throw explained(error);
  }
}

/** Runs a statement of a user, which cannot become two: the protocol of cursors takes one alone. */
export async function askAsOne({ client, link }: Session, text: string): Promise<(string | null)[][]> {
  const cursor = client.query(new Cursor<(string | null)[]>(text, [], { rowMode: "array", types: RAW_TYPES }));
  try {
    return await link.wait(() => cursor.read(ALL_ROWS));
  } catch (error) {
    throw explained(error);
  }
}

/** An error of the driver in our terms; others as they are. */
export function explained(error: unknown): unknown {
  if (isSocketError(error)) return unavailable(error.message);
  if (!(error instanceof pg.DatabaseError)) return error;
  const { code, message, detail } = error;
  if (code === QUERY_CANCELED || code === LOCK_NOT_AVAILABLE)
    return new LongshoreError("DEADLINE_EXCEEDED", `the database took too long: ${message}`);
  // The server is shutting down, or has no connection left.
  if (code?.startsWith("57P") || code === "53300") return unavailable(message);
  return refusedByDatabase(detail === undefined ? message : `${message} (${detail})`);
}
