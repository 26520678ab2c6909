/**
 * Every setting of a node: the environment variable, its default, how its text is read, and what it means. Durations
 * are whole seconds in the environment (days where the name says so) and milliseconds in the program.
 */
import { hostname } from "node:os";
import type { z } from "zod";
import {
  flag,
  hostList,
  httpUrl,
  integer,
  megabytes,
  mongodbUri,
  nameList,
  natsUrls,
  oneOf,
  seconds,
  secret,
  secretList,
  subjectToken,
  switched,
  text,
  timeZone,
} from "./setting-schemas.ts";

/** One environment variable. Without a default it may be unset. */
export interface Setting {
  variable: string;
  default: string | undefined;
  schema: z.ZodType<unknown, string>;
  meaning: string;
  /** What stands for the default in `.env.example` and `npm run config`, where it is made at run time. */
  shown?: string;
  /** Never printed. A URL prints without its password. */
  secret?: "value" | "url";
}

const port = integer(0, 65535);
const DAY = 86_400;
const YEAR = 366 * DAY;

/** A name that no other node of the namespace has. */
function defaultNodeId(): string {
  return `${hostname().replace(/[^A-Za-z0-9_-]/g, "-")}-${process.pid}`.slice(-100);
}

export const SETTINGS = {
  host: {
    variable: "HOST",
    default: "127.0.0.1",
    schema: text,
    meaning: "The address that HTTP and gRPC listen on.",
  },
  httpPort: {
    variable: "HTTP_PORT",
    default: "3000",
    schema: port,
    meaning: "The port of REST and the console; 0 takes a free one.",
  },
  grpcPort: {
    variable: "GRPC_PORT",
    default: "50051",
    schema: port,
    meaning: "The port of gRPC; 0 takes a free one.",
  },
  grpcTlsCert: {
    variable: "GRPC_TLS_CERT",
    default: undefined,
    schema: text,
    meaning: "PEM file of the gRPC server's certificate chain; turns TLS on.",
  },
  grpcTlsKey: {
    variable: "GRPC_TLS_KEY",
    default: undefined,
    schema: text,
    meaning: "PEM file of the gRPC server's private key.",
  },
  grpcTlsCa: {
    variable: "GRPC_TLS_CA",
    default: undefined,
    schema: text,
    meaning: "PEM file of the authority that gRPC clients' certificates must come from; turns mTLS on.",
  },
  allowUnauthenticated: {
    variable: "ALLOW_UNAUTHENTICATED",
    default: "false",
    schema: flag,
    meaning:
      "Lets HOST be beyond loopback although nobody has to authenticate: only behind a proxy or network that decides who may call.",
  },
  services: {
    variable: "SERVICES",
    default: undefined,
    schema: nameList,
    meaning: "The services that this node runs, separated by commas: queues,export.",
    shown: "all",
  },
  natsUrl: {
    variable: "NATS_URL",
    default: undefined,
    schema: natsUrls,
    meaning: "NATS servers that join the nodes, separated by commas; unset: one process. Needs MONGODB_URI.",
    secret: "url",
  },
  namespace: {
    variable: "NAMESPACE",
    default: "longshore",
    schema: subjectToken,
    meaning: "Nodes of one namespace on one NATS see each other.",
  },
  nodeId: {
    variable: "NODE_ID",
    default: defaultNodeId(),
    schema: subjectToken,
    meaning: "The node's name, unique in its namespace.",
    shown: "host name and process id",
  },
  mongodbUri: {
    variable: "MONGODB_URI",
    default: undefined,
    schema: mongodbUri,
    meaning: "MongoDB with the database's name; unset: the embedded store under DATA_DIR.",
    secret: "url",
  },
  dataDir: {
    variable: "DATA_DIR",
    default: "./data",
    schema: text,
    meaning: "The directory of the embedded store, of local objects and of the signing key.",
  },
  s3Endpoint: {
    variable: "S3_ENDPOINT",
    default: undefined,
    schema: httpUrl,
    meaning: "Objects go to this S3; unset: to a directory under DATA_DIR.",
  },
  s3PublicEndpoint: {
    variable: "S3_PUBLIC_ENDPOINT",
    default: undefined,
    schema: httpUrl,
    meaning: "How clients reach S3, in the URLs that are presigned for them; unset: S3_ENDPOINT.",
  },
  s3Bucket: {
    variable: "S3_BUCKET",
    default: undefined,
    schema: text,
    meaning: "The bucket, which must exist.",
  },
  s3Region: {
    variable: "S3_REGION",
    default: undefined,
    schema: text,
    meaning: "The bucket's region; unset: us-east-1.",
  },
  s3AccessKeyId: {
    variable: "S3_ACCESS_KEY_ID",
    default: undefined,
    schema: text,
    meaning: "Who signs the requests to S3.",
  },
  s3SecretAccessKey: {
    variable: "S3_SECRET_ACCESS_KEY",
    default: undefined,
    schema: text,
    meaning: "The key that signs the requests to S3.",
    secret: "value",
  },
  publicUrl: {
    variable: "PUBLIC_URL",
    default: undefined,
    schema: httpUrl,
    meaning: "How links point back at the gateway: https://files.example.com.",
    shown: "from HOST and HTTP_PORT",
  },
  signingKey: {
    variable: "SIGNING_KEY",
    default: undefined,
    schema: secret,
    meaning: "The secret behind download links, and what seals secrets in requests; the same on every node.",
    shown: "made once and kept in DATA_DIR/signing.key",
    secret: "value",
  },
  downloadTtl: {
    variable: "DOWNLOAD_TTL",
    default: String(7 * DAY),
    schema: seconds(60, YEAR),
    meaning: "How long a download link is good, in seconds; as long as its file is kept.",
  },
  fileRetentionDays: {
    variable: "FILE_RETENTION_DAYS",
    default: "7",
    schema: integer(1, 3650),
    meaning: "How long a finished export's file is kept, in days.",
  },
  uploadTtl: {
    variable: "UPLOAD_TTL",
    default: "600",
    schema: seconds(1, 7 * DAY),
    meaning: "How long the URL of an upload is good, in seconds.",
  },
  uploadMaxBytes: {
    variable: "UPLOAD_MAX_MB",
    default: "5120",
    schema: megabytes(1, 5 * 1024 ** 2),
    meaning: "How large an upload may be, in MiB. S3 takes up to 5120 by one PUT, more in parts.",
  },
  uploadRetentionDays: {
    variable: "UPLOAD_RETENTION_DAYS",
    default: "7",
    schema: integer(1, 3650),
    meaning: "How long an upload is kept that no service has claimed, in days.",
  },
  taskRetentionDays: {
    variable: "TASK_RETENTION_DAYS",
    default: "30",
    schema: integer(1, 3650),
    meaning: "How long an ended task is kept, in days.",
  },
  maxLost: {
    variable: "MAX_LOST",
    default: "5",
    schema: integer(1, 1000),
    meaning: "How many workers may vanish with a task before it fails for good.",
  },
  exportConcurrency: {
    variable: "EXPORT_CONCURRENCY",
    default: "2",
    schema: integer(1, 64),
    meaning: "How many exports this node runs at a time.",
  },
  exportMaxConn: {
    variable: "EXPORT_MAX_CONN",
    default: "32",
    schema: integer(1, 1000),
    meaning: "How many connections one export may open to the HTTP source it reads.",
  },
  exportUserLimit: {
    variable: "EXPORT_USER_LIMIT",
    default: "20",
    schema: integer(0, 10_000),
    meaning: "How many exports of one user may wait and run at a time; 0: any number.",
  },
  exportMinFree: {
    variable: "EXPORT_MIN_FREE_MB",
    default: "256",
    schema: megabytes(0, 1_000_000),
    meaning: "An export fails before fewer MiB than this are free in DATA_DIR; with S3 it does not matter.",
  },
  exportCheckpoint: {
    variable: "EXPORT_CHECKPOINT",
    default: "10",
    schema: seconds(0, 3600),
    meaning:
      "From when on, and how often, in seconds, an export keeps the pages it has read, so that another node goes on from there; 0: never.",
  },
  exportAllowHosts: {
    variable: "EXPORT_ALLOW_HOSTS",
    default: undefined,
    schema: hostList,
    meaning: "Hosts, *.hosts and networks that sources, databases and callbacks may be at whatever else is said.",
  },
  exportDenyHosts: {
    variable: "EXPORT_DENY_HOSTS",
    default: undefined,
    schema: hostList,
    meaning: "Hosts, *.hosts and networks that no source, database or callback may be at.",
  },
  exportCallbackSecret: {
    variable: "EXPORT_CALLBACK_SECRET",
    default: undefined,
    schema: secret,
    meaning: "Signs callbacks, so that their receivers can tell whom they are from; unset: they are not signed.",
    secret: "value",
  },
  exportTimestampWindow: {
    variable: "EXPORT_TIMESTAMP_WINDOW",
    default: "0",
    schema: seconds(0, DAY),
    meaning: "How old an export request's timestamp may be, in seconds; 0 accepts any.",
  },
  dataSourcesFile: {
    variable: "DATASOURCES_FILE",
    default: undefined,
    schema: text,
    meaning: "A JSON file of data sources that callers may name, with the rules of each: docs/progress.md.",
  },
  encryptionKeys: {
    variable: "ENCRYPTION_KEYS",
    default: undefined,
    schema: secretList,
    meaning:
      "Seal the passwords of data sources at rest: the first of them seals, all of them open; unset: SIGNING_KEY does. Separated by commas.",
    secret: "value",
  },
  sqliteDirs: {
    variable: "SQLITE_DIRS",
    default: undefined,
    schema: nameList,
    meaning:
      "Directories in which SQLite files may be exported and written, separated by commas; unset: any where HOST is loopback, else none.",
  },
  progressApproval: {
    variable: "PROGRESS_APPROVAL",
    default: "none",
    schema: oneOf("none", "any", "all"),
    meaning: "Whose word a data task needs: nobody's, any approver's or all approvers'.",
  },
  progressApprovers: {
    variable: "PROGRESS_APPROVERS",
    default: undefined,
    schema: nameList,
    meaning: "Who may approve data tasks, where the data source does not say; separated by commas.",
  },
  progressApprovalRows: {
    variable: "PROGRESS_APPROVAL_ROWS",
    default: "0",
    schema: integer(0, 1_000_000_000_000),
    meaning: "Data tasks of fewer estimated rows need no approval.",
  },
  progressRemind: {
    variable: "PROGRESS_REMIND",
    default: "86400",
    schema: seconds(0, 30 * DAY),
    meaning: "How often approvers are reminded of a data task, in seconds; 0: never.",
  },
  progressExpire: {
    variable: "PROGRESS_EXPIRE",
    default: "604800",
    schema: seconds(1, 365 * DAY),
    meaning: "How long a data task waits for approval, in seconds.",
  },
  progressMaxRows: {
    variable: "PROGRESS_MAX_ROWS",
    default: "100000000",
    schema: integer(1, 1_000_000_000_000),
    meaning: "Data tasks of more estimated rows are refused, where the data source does not say.",
  },
  progressStatementTimeout: {
    variable: "PROGRESS_STATEMENT_TIMEOUT",
    default: "3600",
    schema: seconds(1, 7 * DAY),
    meaning: "How long one statement of a data task may run, in seconds.",
  },
  progressConcurrency: {
    variable: "PROGRESS_CONCURRENCY",
    default: "2",
    schema: integer(1, 64),
    meaning: "How many data tasks this node runs at a time.",
  },
  saasTimeZone: {
    variable: "SAAS_TIME_ZONE",
    default: "Asia/Shanghai",
    schema: timeZone,
    meaning: "The time zone of `time` in scripts of Debug, a name of the IANA database.",
  },
  saasBlockMin: {
    variable: "SAAS_BLOCK_MIN",
    default: "10",
    schema: megabytes(1, 10_240),
    meaning: "The least size of the blocks of a bulk load, in MiB; the last block of a file may be smaller.",
  },
  saasBlockMax: {
    variable: "SAAS_BLOCK_MAX",
    default: "200",
    schema: megabytes(1, 10_240),
    meaning: "The largest size of the blocks of a bulk load, in MiB.",
  },
  saasTaskMax: {
    variable: "SAAS_TASK_MAX",
    default: "1048576",
    schema: megabytes(1, 1_073_741_824),
    meaning: "How large all files of a bulk load may be together, in MiB.",
  },
  saasTasks: {
    variable: "SAAS_TASKS",
    default: "100",
    schema: integer(1, 1_000),
    meaning: "Bulk loads of an account that have not ended.",
  },
  saasBadLines: {
    variable: "SAAS_BAD_LINES",
    default: "10000",
    schema: integer(0, 1_000_000_000),
    meaning: "A bulk load fails at more lines than that which hold no item.",
  },
  saasLoadConcurrency: {
    variable: "SAAS_LOAD_CONCURRENCY",
    default: "2",
    schema: integer(1, 64),
    meaning: "How many bulk loads this node runs at a time, each of another account.",
  },
  saasDemo: {
    variable: "SAAS_DEMO",
    default: "0",
    schema: switched,
    meaning:
      "1: there is an account 2000 with the token ABCDEF and data spaces 1 (did) and 2 (wuid), for a first try. Anybody knows them.",
  },
  requestTimeout: {
    variable: "REQUEST_TIMEOUT",
    default: "10",
    schema: seconds(1, 3600),
    meaning:
      "How long a call without a deadline of its own may take, in seconds: longer than a slow store's answer, shorter than a person waits.",
  },
  stopTimeout: {
    variable: "STOP_TIMEOUT",
    default: "30",
    schema: seconds(1, 3600),
    meaning:
      "How long a stopping node may finish what it began, in seconds; less than what the process manager allows.",
  },
  logLevel: {
    variable: "LOG_LEVEL",
    default: "info",
    schema: oneOf("fatal", "error", "warn", "info", "debug", "trace"),
    meaning: "The least that is logged.",
  },
  logFormat: {
    variable: "LOG_FORMAT",
    default: process.stderr.isTTY ? "pretty" : "json",
    schema: oneOf("json", "pretty"),
    meaning: "Log lines as JSON or for people.",
    shown: "pretty on a terminal, else json",
  },
} satisfies Record<string, Setting>;
