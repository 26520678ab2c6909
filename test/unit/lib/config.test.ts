import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { configOf, configWarnings, describeConfig, loadConfig, type Environment } from "../../../lib/config.ts";
import { envExample } from "../../../lib/env-example.ts";
import { LongshoreError } from "../../../lib/errors.ts";
import { SETTINGS } from "../../../lib/settings.ts";
import { readFileSync } from "node:fs";

function problem(env: Environment): string {
  try {
    loadConfig(env);
  } catch (error) {
    expect(error).toBeInstanceOf(LongshoreError);
    expect((error as LongshoreError).type).toBe("FAILED_PRECONDITION");
    return (error as LongshoreError).message;
  }
  return "";
}

test("an empty environment gives the defaults", () => {
  expect(loadConfig({})).toMatchObject({
    host: "127.0.0.1",
    httpPort: 3000,
    grpcPort: 50051,
    services: undefined,
    natsUrl: undefined,
    namespace: "longshore",
    dataDir: "./data",
    requestTimeout: 10_000,
    stopTimeout: 30_000,
    maxLost: 5,
    downloadTtl: 7 * 86_400_000,
  });
});

test("an empty variable is an unset one", () => {
  expect(loadConfig({ HTTP_PORT: "", MONGODB_URI: "" })).toMatchObject({ httpPort: 3000, mongodbUri: undefined });
});

test("values are read as what they mean", () => {
  const config = loadConfig({
    SERVICES: "queues, export",
    STOP_TIMEOUT: "5",
    HTTP_PORT: "0",
    ALLOW_UNAUTHENTICATED: "true",
  });
  expect(config).toMatchObject({
    services: ["queues", "export"],
    stopTimeout: 5000,
    httpPort: 0,
    allowUnauthenticated: true,
  });
});

test.each([
  ["HTTP_PORT", "http"],
  ["HTTP_PORT", "65536"],
  ["GRPC_PORT", "-1"],
  ["ALLOW_UNAUTHENTICATED", "yes"],
  ["SERVICES", "queues,,export"],
  ["NATS_URL", "127.0.0.1:4222"],
  ["NAMESPACE", "a.b"],
  ["NODE_ID", "node *"],
  ["MONGODB_URI", "localhost:27017"],
  ["S3_ENDPOINT", "minio:9000"],
  ["PUBLIC_URL", "files.example.com"],
  ["SIGNING_KEY", "short"],
  ["DOWNLOAD_TTL", "7d"],
  ["FILE_RETENTION_DAYS", "0"],
  ["TASK_RETENTION_DAYS", "1.5"],
  ["MAX_LOST", "0"],
  ["EXPORT_CONCURRENCY", "1e3"],
  ["EXPORT_MAX_CONN", "many"],
  ["EXPORT_TIMESTAMP_WINDOW", "-5"],
  ["EXPORT_USER_LIMIT", "-1"],
  ["EXPORT_MIN_FREE_MB", "1.5"],
  ["EXPORT_ALLOW_HOSTS", "http://a.example"],
  ["EXPORT_ALLOW_HOSTS", "a.example, ,b"],
  ["EXPORT_DENY_HOSTS", "10.0.0.0/33"],
  ["EXPORT_DENY_HOSTS", "a.*.example"],
  ["UPLOAD_TTL", "0"],
  ["UPLOAD_MAX_MB", "5GB"],
  ["UPLOAD_RETENTION_DAYS", "0"],
  ["S3_PUBLIC_ENDPOINT", "localhost:9000"],
  ["REQUEST_TIMEOUT", "0"],
  ["STOP_TIMEOUT", "forever"],
  ["LOG_LEVEL", "verbose"],
  ["LOG_FORMAT", "xml"],
])("a bad %s (%s) is refused by its name", (variable, value) => {
  expect(problem({ [variable]: value })).toMatch(new RegExp(`^${variable} m`));
});

test("a refused secret is not shown", () => {
  expect(problem({ SIGNING_KEY: "hunter2" })).not.toContain("hunter2");
  expect(problem({ MONGODB_URI: "mongo://u:hunter2@h" })).not.toContain("hunter2");
});

test.each([
  ["LOG_LEVLE", "LOG_LEVEL"],
  ["HTTP_PROT", "HTTP_PORT"],
  ["EXPORT_CONCURENCY", "EXPORT_CONCURRENCY"],
  ["GRPC_PORTS", "GRPC_PORT"],
  ["MONGODB_URL", "MONGODB_URI"],
  ["STOP_TIMOUT", "STOP_TIMEOUT"],
])("%s stops the start and %s is offered", (wrong, right) => {
  expect(problem({ [wrong]: "x" })).toBe(`${wrong} is not a setting: did you mean ${right}?`);
});

test("an unknown name of ours that resembles nothing stops the start", () => {
  expect(problem({ EXPORT_BANANA_SPLIT: "1" })).toContain("EXPORT_BANANA_SPLIT is not a setting");
});

test("what others put into the environment is left alone", () => {
  const env = {
    HTTP_PROXY: "http://proxy:3128",
    HTTPS_PORT: "443",
    GRPC_VERBOSITY: "DEBUG",
    NATS_PORT: "tcp://10.0.0.1:4222",
    NATS_SERVICE_HOST: "10.0.0.1",
    MONGODB_PORT_27017_TCP_ADDR: "10.0.0.2",
    NODE_IP: "10.0.0.3",
    LOG_DIR: "/var/log",
    HOME: "/root",
    HOSTNAME: "box",
  };
  expect(problem(env)).toBe("");
});

test("a host beyond loopback is refused unless it is allowed", () => {
  expect(problem({ HOST: "0.0.0.0" })).toMatch(/^HOST 0\.0\.0\.0 .*ALLOW_UNAUTHENTICATED/);
  expect(problem({ HOST: "127.0.0.1.example.com" })).toMatch(/^HOST/);
  expect(problem({ HOST: "0.0.0.0", ALLOW_UNAUTHENTICATED: "true" })).toBe("");
  for (const HOST of ["127.0.0.1", "127.1.2.3", "::1", "localhost"]) expect(problem({ HOST })).toBe("");
});

test("settings that need each other are demanded together", () => {
  expect(problem({ NATS_URL: "nats://a" })).toMatch(/^MONGODB_URI/);
  expect(problem({ S3_ENDPOINT: "http://s3" })).toMatch(/^S3_BUCKET must be set/);
  expect(problem({ S3_BUCKET: "b" })).toMatch(/^S3_BUCKET is set, but S3_ENDPOINT is not/);
  expect(problem({ S3_PUBLIC_ENDPOINT: "http://s3" })).toBe("S3_PUBLIC_ENDPOINT needs S3_ENDPOINT");
  expect(problem({ GRPC_TLS_CERT: "a.pem" })).toMatch(/^GRPC_TLS_KEY/);
  expect(problem({ GRPC_TLS_CA: "a.pem" })).toMatch(/^GRPC_TLS_CA/);
});

test("any port is read as itself", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 65535 }),
      (port) => loadConfig({ HTTP_PORT: String(port) }).httpPort === port,
    ),
  );
});

test("npm run config tells values and where they come from, without secrets", () => {
  const env = { MONGODB_URI: "mongodb://me:hunter2@db/x", S3_SECRET_ACCESS_KEY: "hunter2", HTTP_PORT: "81" };
  const rows = describeConfig(env, { HTTP_PORT: "82", MAX_LOST: "9" });
  const byName = Object.fromEntries(rows.map((row) => [row.variable, [row.value, row.source]]));
  expect(byName).toMatchObject({
    HTTP_PORT: ["81", "environment"],
    MAX_LOST: ["9", ".env"],
    GRPC_PORT: ["50051", "default"],
    SERVICES: ["all", "default"],
    S3_SECRET_ACCESS_KEY: ["***", "environment"],
    MONGODB_URI: ["mongodb://***@db/x", "environment"],
  });
  expect(rows).toHaveLength(Object.keys(SETTINGS).length);
  expect(JSON.stringify(rows)).not.toContain("hunter2");
});

test(".env.example tells every setting as the program does", () => {
  expect(readFileSync(new URL("../../../.env.example", import.meta.url), "utf8")).toBe(envExample());
});

test("a cluster without shared files and keys is warned of", () => {
  const alone = loadConfig({});
  const joined = loadConfig({ NATS_URL: "nats://a", MONGODB_URI: "mongodb://a" });
  expect(configWarnings(alone)).toEqual([]);
  expect(configWarnings(joined)).toEqual([
    expect.stringContaining("SIGNING_KEY"),
    expect.stringContaining("S3_ENDPOINT"),
    expect.stringContaining("PUBLIC_URL"),
  ]);
});

test("a service reads the configuration of its broker", () => {
  const config = loadConfig({ MAX_LOST: "7" });
  expect(configOf({ options: { longshore: config } })).toBe(config);
});
