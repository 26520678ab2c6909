import { isAbsolute } from "node:path";
import { invalidArgument } from "../errors.ts";

export interface Host {
  /** A name or an address, IPv6 without brackets. */
  host: string;
  port: number;
}

/** `require`: encrypted, whoever the server is; `verify-ca`: a certificate that is trusted; `verify-full`: and for this host. */
export type Tls = "disable" | "require" | "verify-ca" | "verify-full";

export interface SqlServer extends Host {
  dialect: "mysql" | "mariadb" | "postgresql";
  user: string;
  password: string;
  /** MySQL: the schema whose tables are meant. */
  database?: string;
  tls: Tls;
}

export interface MongoServers {
  dialect: "mongodb";
  hosts: readonly Host[];
  user?: string;
  password?: string;
  database?: string;
  tls: Tls;
  replicaSet?: string;
  /** The database that knows the user. */
  authSource?: string;
  authMechanism?: "SCRAM-SHA-1" | "SCRAM-SHA-256";
  directConnection?: boolean;
}

export interface SqliteFile {
  dialect: "sqlite";
  /** Absolute. */
  path: string;
}

/** A database and who reads or writes it. */
export type DataSource = SqlServer | MongoServers | SqliteFile;

const SQL_SCHEMES = {
  mysql: { dialect: "mysql", port: 3306 },
  mariadb: { dialect: "mariadb", port: 3306 },
  postgres: { dialect: "postgresql", port: 5432 },
  postgresql: { dialect: "postgresql", port: 5432 },
} as const;

const MONGODB_PORT = 27_017;

/** What the values of `sslmode` (libpq) and `ssl-mode` (MySQL) mean, without those that would do with no encryption. */
const TLS_MODES: Readonly<Record<string, Tls>> = {
  disable: "disable",
  disabled: "disable",
  require: "require",
  required: "require",
  "verify-ca": "verify-ca",
  verify_ca: "verify-ca",
  "verify-full": "verify-full",
  verify_identity: "verify-full",
};

/** userinfo, hosts, path, query; the last of several `@` ends the userinfo, so that one in a password is forgiven. */
const AUTHORITY = /^(?:(?<userinfo>[^/?]*)@)?(?<hosts>[^/?@]+)(?:\/(?<path>[^?]*))?(?:\?(?<query>.*))?$/s;

/**
 * Reads the address of a database: `mysql://user:password@host:3306/database?ssl-mode=VERIFY_IDENTITY`, so too `mariadb:`,
 * `postgres:`, `postgresql:` and `mongodb:` (with several hosts), and `sqlite:/absolute/path`. No error holds a part of it that
 * may be a secret.
 */
export function parseDsn(text: string): DataSource {
  const [, scheme = "", rest = ""] = /^([a-z0-9+]+):(.*)$/s.exec(text) ?? [];
  if (scheme === "sqlite") return sqliteFile(rest);
  if (scheme === "mongodb+srv") throw wrong("mongodb+srv: is not supported; name the hosts with mongodb:");
  const isSql = Object.hasOwn(SQL_SCHEMES, scheme);
  if (!isSql && scheme !== "mongodb")
    throw wrong("must begin with mysql:, mariadb:, postgres:, postgresql:, mongodb: or sqlite:");
  const parts = rest.startsWith("//") ? AUTHORITY.exec(rest.slice(2))?.groups : undefined;
  if (!parts) throw wrong(`must be like ${scheme}://user:password@host/database`);
  const { userinfo, hosts = "", path = "", query = "" } = parts;
  const common = { ...readUser(userinfo), ...(path === "" ? {} : { database: decode(path, "database") }) };
  const parameters = readQuery(query);
  return isSql
    ? sqlServer(scheme as keyof typeof SQL_SCHEMES, common, hosts, parameters)
    : mongo(common, hosts, parameters);
}

interface Common {
  user?: string;
  password?: string;
  database?: string;
}

function sqlServer(
  scheme: keyof typeof SQL_SCHEMES,
  { user, password = "", database }: Common,
  hosts: string,
  parameters: Map<string, string>,
): SqlServer {
  const { dialect, port } = SQL_SCHEMES[scheme];
  if (user === undefined) throw wrong("names no user");
  const [host, ...others] = readHosts(hosts, port);
  if (others.length > 0) throw wrong("must name one host");
  const tls = takeTls(parameters, dialect === "postgresql" ? "sslmode" : "ssl-mode");
  refuseOthers(parameters);
  return { dialect, ...host!, user, password, ...(database === undefined ? {} : { database }), tls };
}

function mongo(common: Common, hosts: string, parameters: Map<string, string>): MongoServers {
  const tls = takeTls(parameters, "ssl");
  const insecure = takeBoolean(parameters, "tlsInsecure") === true;
  const replicaSet = take(parameters, "replicaSet");
  const authSource = take(parameters, "authSource");
  const authMechanism = take(parameters, "authMechanism");
  const directConnection = takeBoolean(parameters, "directConnection");
  refuseOthers(parameters);
  if (authMechanism !== undefined && authMechanism !== "SCRAM-SHA-1" && authMechanism !== "SCRAM-SHA-256")
    throw wrong("authMechanism must be SCRAM-SHA-1 or SCRAM-SHA-256");
  return {
    dialect: "mongodb",
    hosts: readHosts(hosts, MONGODB_PORT),
    ...common,
    tls: insecure && tls !== "disable" ? "require" : tls,
    ...(replicaSet === undefined ? {} : { replicaSet }),
    ...(authSource === undefined ? {} : { authSource }),
    ...(authMechanism === undefined ? {} : { authMechanism }),
    ...(directConnection === undefined ? {} : { directConnection }),
  };
}

function sqliteFile(rest: string): SqliteFile {
  const path = decode(rest.replace(/^\/\/(?=\/)/, ""), "path");
  if (!isAbsolute(path) || path.includes("\0")) throw wrong("must be like sqlite:/absolute/path");
  if (path.includes("?")) throw wrong("a sqlite: address has no parameters");
  return { dialect: "sqlite", path };
}

/** What people and logs may see of it: no password, nor what names it. */
export function describeDsn(source: DataSource): string {
  if (source.dialect === "sqlite") return `sqlite:${source.path}`;
  const hosts = source.dialect === "mongodb" ? source.hosts : [source];
  const user = source.user === undefined ? "" : `${encodeURIComponent(source.user)}@`;
  const database = source.database === undefined ? "" : `/${encodeURIComponent(source.database)}`;
  return `${source.dialect}://${user}${hosts.map(hostText).join(",")}${database}`;
}

export function hostText({ host, port }: Host): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function readUser(userinfo: string | undefined): Pick<Common, "user" | "password"> {
  if (userinfo === undefined) return {};
  const colon = userinfo.indexOf(":");
  const user = decode(colon < 0 ? userinfo : userinfo.slice(0, colon), "user");
  if (user === "") throw wrong("names no user");
  return colon < 0 ? { user } : { user, password: decode(userinfo.slice(colon + 1), "password") };
}

function readHosts(text: string, defaultPort: number): Host[] {
  return text.split(",").map((entry) => {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(entry);
    const host = match?.[1] ?? match?.[2];
    const port = Number(match?.[3] ?? defaultPort);
    // The entry is not shown: where an `@` was left out it is a password.
    if (host === undefined || port < 1 || port > 65_535)
      throw wrong("the host is not like name, name:port or [IPv6]:port");
    return { host, port };
  });
}

function readQuery(query: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (parameters.has(name)) throw wrong(`${parameterName(name)} is given twice`);
    parameters.set(name, value);
  }
  return parameters;
}

function take(parameters: Map<string, string>, name: string): string | undefined {
  const value = parameters.get(name);
  parameters.delete(name);
  if (value === "") throw wrong(`${name} is empty`);
  return value;
}

function takeBoolean(parameters: Map<string, string>, name: string): boolean | undefined {
  const value = take(parameters, name);
  if (value !== undefined && value !== "true" && value !== "false") throw wrong(`${name} must be true or false`);
  return value === undefined ? undefined : value === "true";
}

/** `tls=true` of any, else the parameter that the dialect's own programs have. */
function takeTls(parameters: Map<string, string>, own: "sslmode" | "ssl-mode" | "ssl"): Tls {
  const tls = takeBoolean(parameters, "tls");
  if (own === "ssl") return (tls ?? takeBoolean(parameters, own)) ? "verify-full" : "disable";
  const value = take(parameters, own);
  if (value === undefined) return tls ? "verify-full" : "disable";
  const mode = TLS_MODES[value.toLowerCase()];
  if (mode === undefined || (tls !== undefined && tls !== (mode !== "disable")))
    throw wrong(`${own} must be one of disable, require, verify-ca and verify-full, or their names of MySQL`);
  return mode;
}

function refuseOthers(parameters: Map<string, string>): void {
  const [name] = parameters.keys();
  if (name !== undefined) throw wrong(`${parameterName(name)} is not supported`);
}

/** Only what looks like the name of a parameter is shown. */
function parameterName(name: string): string {
  return /^[A-Za-z][A-Za-z0-9_.-]{0,39}$/.test(name) ? `the parameter ${name}` : "a parameter";
}

function decode(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw wrong(`the ${what} is not percent-encoded UTF-8: write % as %25`);
  }
}

function wrong(problem: string) {
  return invalidArgument("dsn", problem);
}
