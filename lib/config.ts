/** A node's configuration: read once from the environment, checked as a whole, and given to who needs it. */
import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import type { BrokerOptions } from "moleculer";
import type { z } from "zod";
import { failedPrecondition } from "./errors.ts";
import { MASK, maskUrls } from "./secrets.ts";
import { foreignNames } from "./setting-names.ts";
import { SETTINGS, type Setting } from "./settings.ts";

type Value<S extends Setting> = z.output<S["schema"]> | (S["default"] extends string ? never : undefined);

/** Every setting by its name in the program. Durations are milliseconds, but days where the name says so. */
export type Config = Readonly<{ [K in keyof typeof SETTINGS]: Value<(typeof SETTINGS)[K]> }>;

declare module "moleculer" {
  interface BrokerOptions {
    /** Not in `metadata`: that travels to the other nodes, and this holds secrets. */
    longshore?: Config;
  }
}

export type Environment = Record<string, string | undefined>;

/**
 * Reads the configuration; without an argument from the process's environment, and from `.env` in the working directory
 * where the environment is silent. Throws FAILED_PRECONDITION naming the variable that is wrong.
 */
export function loadConfig(env: Environment = { ...readEnvFile(), ...process.env }): Config {
  const stranger = foreignNames(env)[0];
  if (stranger) throw failedPrecondition(stranger);
  const values: Record<string, unknown> = {};
  for (const [key, setting] of Object.entries<Setting>(SETTINGS)) values[key] = read(setting, env);
  const config = Object.freeze(values) as Config;
  checkTogether(config);
  return config;
}

/** The configuration that a broker was made with; the environment's where a broker was made without one. */
export function configOf(broker: { options: BrokerOptions }): Config {
  return broker.options.longshore ?? loadConfig();
}

export interface SettingRow {
  variable: string;
  /** As text; secrets masked. */
  value: string;
  source: "default" | "environment" | ".env";
  meaning: string;
}

/** Every setting with its value and where that comes from, for people; wrong values are shown as they are. */
export function describeConfig(env: Environment = process.env, file: Environment = readEnvFile()): SettingRow[] {
  return Object.values<Setting>(SETTINGS).map(({ variable, meaning, secret, shown, default: fallback }) => {
    const given = env[variable] || file[variable];
    const source = env[variable] ? "environment" : given ? ".env" : "default";
    const value = secret === "value" && given ? MASK : maskUrls(given ?? "");
    return { variable, value: given ? value : (shown ?? fallback ?? "unset"), source, meaning };
  });
}

/** What will work, but not as one might think. */
export function configWarnings(config: Config): string[] {
  if (!config.natsUrl) return [];
  const warnings: string[] = [];
  if (!config.signingKey)
    warnings.push(
      "SIGNING_KEY is unset: nodes that do not share DATA_DIR refuse each other's download links and sealed exports",
    );
  if (!config.s3Endpoint)
    warnings.push("S3_ENDPOINT is unset: nodes that do not share DATA_DIR do not see each other's files");
  if (!config.publicUrl)
    warnings.push("PUBLIC_URL is unset: download links lead to the node that made them, which may have no gateway");
  return warnings;
}

/** The variables of `.env` in the working directory; none where there is no such file. */
export function readEnvFile(): Environment {
  try {
    return parseEnv(readFileSync(".env", "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw failedPrecondition(`.env cannot be read: ${(error as Error).message}`);
  }
}

/** What an empty variable means is what an unset one means: compose files pass variables on that way. */
function read(setting: Setting, env: Environment): unknown {
  const given = env[setting.variable] || setting.default;
  if (given === undefined) return undefined;
  const result = setting.schema.safeParse(given);
  if (result.success) return result.data;
  const shown = setting.secret ? "" : `, not ${JSON.stringify(given)}`;
  throw failedPrecondition(`${setting.variable} ${result.error.issues[0]?.message}${shown}`);
}

function checkTogether(config: Config): void {
  if (!isLoopback(config.host) && !config.allowUnauthenticated) {
    throw failedPrecondition(
      `HOST ${config.host} is reachable from other machines and nobody has to authenticate: ` +
        "set ALLOW_UNAUTHENTICATED=true if what is in front of it decides who may call",
    );
  }
  if (config.natsUrl && !config.mongodbUri) {
    throw failedPrecondition("MONGODB_URI must be set where NATS_URL is: the embedded store serves one process");
  }
  demandTogether("S3_ENDPOINT", config.s3Endpoint, {
    S3_BUCKET: config.s3Bucket,
    S3_ACCESS_KEY_ID: config.s3AccessKeyId,
    S3_SECRET_ACCESS_KEY: config.s3SecretAccessKey,
  });
  if (config.s3PublicEndpoint && !config.s3Endpoint) throw failedPrecondition("S3_PUBLIC_ENDPOINT needs S3_ENDPOINT");
  demandTogether("GRPC_TLS_CERT", config.grpcTlsCert, { GRPC_TLS_KEY: config.grpcTlsKey });
  if (config.grpcTlsCa && !config.grpcTlsCert)
    throw failedPrecondition("GRPC_TLS_CA needs GRPC_TLS_CERT and GRPC_TLS_KEY");
}

function demandTogether(
  leader: string,
  value: string | undefined,
  followers: Record<string, string | undefined>,
): void {
  for (const [name, follower] of Object.entries(followers)) {
    if (value && !follower) throw failedPrecondition(`${name} must be set where ${leader} is`);
    if (!value && follower) throw failedPrecondition(`${name} is set, but ${leader} is not`);
  }
}

/** Whether an address is this machine's own and nobody else's. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
