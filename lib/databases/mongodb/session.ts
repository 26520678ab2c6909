import type { LookupFunction } from "node:net";
import { isIP } from "node:net";
import type { ClientSession, Db, MongoClientOptions } from "mongodb";
import { MongoClient, MongoError, MongoServerError, MongoServerSelectionError } from "mongodb";
import { LongshoreError, unavailable } from "../../errors.ts";
import { OutboundGuard } from "../../sources/outbound.ts";
import type { MongoServers } from "../dsn.ts";
import { hostText } from "../dsn.ts";
import { isSocketError, Link, refusedByDatabase } from "../link.ts";
import type { DatabaseOptions } from "../database.ts";

export type MongoSource = MongoServers & { database: string };

/** The driver's connections, and one session on the servers, by which all that it runs can be killed. */
export interface Session {
  client: MongoClient;
  database: Db;
  session: ClientSession;
  link: Link;
}

const AUTHENTICATION_FAILED = 18;
const MAX_TIME_EXPIRED = 50;

/** Connects and logs in, within the time for it. */
export async function connect(source: MongoSource, options: DatabaseOptions): Promise<Session> {
  const guard = new OutboundGuard(options.outbound);
  let refusal: LongshoreError | undefined;
  const refuse = (host: string, address: string) => (refusal ??= guard.refusal(host, address)) !== undefined;
  for (const { host } of source.hosts) if (isIP(host) && refuse(host, host)) throw refusal!;

  const lookup: LookupFunction = (host, lookupOptions, callback) =>
    guard.lookup(host, lookupOptions, (error, ...found) => {
      if (error instanceof LongshoreError) link.cut((refusal ??= error));
      callback(error, ...(found as [string, number]));
    });
  const client = new MongoClient(`mongodb://${source.hosts.map(hostText).join(",")}/`, {
    ...clientOptions(source, options),
    lookup,
  });
  // The driver keeps no count of what it receives: whatever is waited for has that time.
  const link = new Link({ bytesRead: 0, destroy: () => undefined }, source.hosts.map(hostText).join(","), options);
  // Servers name others; an address among them goes past `lookup`.
  client.on("serverOpening", ({ address }) => {
    const host = address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
    if (isIP(host) && refuse(host, host)) link.cut(refusal);
  });
  // The driver tries again whatever it was, also a certificate that is not trusted.
  let failure = "";
  client.on("serverHeartbeatFailed", (event) => (failure = `: ${event.failure.message}`));
  const timer = setTimeout(() => {
    const name = hostText(source.hosts[0]!);
    link.cut(unavailable(`${name} could not be connected to within ${options.connectTimeoutMs / 1_000} s${failure}`));
  }, options.connectTimeoutMs);
  try {
    await link.wait(() => client.connect());
    return { client, database: client.db(source.database), session: client.startSession(), link };
  } catch (error) {
    link.cut(error);
    await client.close().catch(() => undefined);
    throw refusal ?? explained(error);
  } finally {
    clearTimeout(timer);
  }
}

function clientOptions(source: MongoSource, { connectTimeoutMs }: DatabaseOptions): MongoClientOptions {
  const { user, password, authSource, authMechanism, replicaSet, directConnection, tls } = source;
  return {
    ...(user === undefined
      ? {}
      : { auth: { username: user, password: password ?? "" }, authSource: authSource ?? source.database }),
    ...(authMechanism === undefined ? {} : { authMechanism }),
    ...(replicaSet === undefined ? {} : { replicaSet }),
    ...(directConnection === undefined ? {} : { directConnection }),
    tls: tls !== "disable",
    ...(tls === "require" ? { tlsAllowInvalidCertificates: true } : {}),
    ...(tls === "require" || tls === "verify-ca" ? { tlsAllowInvalidHostnames: true } : {}),
    serverSelectionTimeoutMS: connectTimeoutMs,
    connectTimeoutMS: connectTimeoutMs,
    maxPoolSize: 4,
    retryReads: false,
    appName: "longshore",
    // Digits that a double would round.
    useBigInt64: true,
  };
}

/** Runs a command or another work of the driver, and tells its errors in our terms. */
export async function ask<T>({ link }: Session, start: () => Promise<T>): Promise<T> {
  try {
    return await link.wait(start);
  } catch (error) {
    throw explained(error);
  }
}

/** An error of the driver in our terms; others as they are. */
export function explained(error: unknown): unknown {
  // The driver lets some errors of its sockets pass as they are.
  if (isSocketError(error)) return unavailable(error.message);
  if (!(error instanceof MongoError)) return error;
  if (error instanceof MongoServerSelectionError) return unavailable(error.message);
  if (!(error instanceof MongoServerError)) return unavailable(error.message);
  if (error.code === MAX_TIME_EXPIRED)
    return new LongshoreError("DEADLINE_EXCEEDED", `the database took too long: ${error.message}`);
  if (error.code === AUTHENTICATION_FAILED) return refusedByDatabase("authentication failed");
  return refusedByDatabase(error.message);
}
