/**
 * Every setting of a node: the environment variable, its default, how its text is read, and what it means. Durations
 * are whole seconds in the environment (days where the name says so) and milliseconds in the program.
 */
import { hostname } from "node:os";
import { z } from "zod";

/** One environment variable. Without a default it may be unset. */
export interface Setting<T = unknown, D extends string | undefined = string | undefined> {
  variable: string;
  default: D;
  schema: z.ZodType<T, string>;
  meaning: string;
  /** What stands for the default in `.env.example` and `npm run config`, where it is made at run time. */
  shown?: string;
  /** Never printed. A URL prints without its password. */
  secret?: "value" | "url";
}

function setting<T, D extends string | undefined>(
  variable: string,
  fallback: D,
  schema: z.ZodType<T, string>,
  meaning: string,
  more: Pick<Setting, "shown" | "secret"> = {},
): Setting<T, D> {
  return { variable, default: fallback, schema, meaning, ...more };
}

const text = z.string().trim().min(1, "must not be empty");
const port = integer(0, 65535);
const flag = z.enum(["true", "false"], "must be true or false").transform((value) => value === "true");

function integer(min: number, max: number) {
  const problem = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, problem)
    .transform(Number)
    .refine((value) => value >= min && value <= max, problem);
}

function seconds(min: number, max: number) {
  return integer(min, max).transform((value) => value * 1000);
}

function oneOf<const T extends readonly [string, ...string[]]>(values: T) {
  return z.enum(values, `must be one of ${values.join(", ")}`);
}

const httpUrl = text.refine(
  (value) => /^https?:\/\//.test(value) && URL.canParse(value),
  "must be a URL that begins with http:// or https://",
);

/** The driver reads the rest: a list of hosts is no URL. */
const mongodbUri = text.regex(/^mongodb(\+srv)?:\/\/./, "must begin with mongodb:// or mongodb+srv://");

const urlList = text.refine(
  (value) => value.split(",").every((one) => /^(nats|tls):\/\/./.test(one) && URL.canParse(one)),
  "must be one or more URLs that begin with nats:// or tls://, separated by commas",
);

const nameList = text
  .transform((value) => value.split(",").map((name) => name.trim()))
  .refine((names) => names.every((name) => name !== ""), "must be names separated by commas");

/** Names that become part of NATS subjects, where a dot, a space or a wildcard would mean something else. */
const subjectToken = text.regex(/^[A-Za-z0-9_-]{1,100}$/, "may hold letters, digits, - and _ only, at most 100");

const DAY = 86_400;
const YEAR = 366 * DAY;

/** A name that no other node of the namespace has. */
function defaultNodeId(): string {
  return `${hostname().replace(/[^A-Za-z0-9_-]/g, "-")}-${process.pid}`.slice(-100);
}

export const SETTINGS = {
  host: setting("HOST", "127.0.0.1", text, "The address that HTTP and gRPC listen on."),
  httpPort: setting("HTTP_PORT", "3000", port, "The port of REST and the console; 0 takes a free one."),
  grpcPort: setting("GRPC_PORT", "50051", port, "The port of gRPC; 0 takes a free one."),
  grpcTlsCert: setting(
    "GRPC_TLS_CERT",
    undefined,
    text,
    "PEM file of the gRPC server's certificate chain; turns TLS on.",
  ),
  grpcTlsKey: setting("GRPC_TLS_KEY", undefined, text, "PEM file of the gRPC server's private key."),
  grpcTlsCa: setting(
    "GRPC_TLS_CA",
    undefined,
    text,
    "PEM file of the authority that gRPC clients' certificates must come from; turns mTLS on.",
  ),
  allowUnauthenticated: setting(
    "ALLOW_UNAUTHENTICATED",
    "false",
    flag,
    "Lets HOST be beyond loopback although nobody has to authenticate: only behind a proxy or network that decides who may call.",
  ),
  services: setting(
    "SERVICES",
    undefined,
    nameList,
    "The services that this node runs, separated by commas: queues,export.",
    { shown: "all" },
  ),
  natsUrl: setting(
    "NATS_URL",
    undefined,
    urlList,
    "NATS servers that join the nodes, separated by commas; unset: one process. Needs MONGODB_URI.",
    { secret: "url" },
  ),
  namespace: setting("NAMESPACE", "longshore", subjectToken, "Nodes of one namespace on one NATS see each other."),
  nodeId: setting("NODE_ID", defaultNodeId(), subjectToken, "The node's name, unique in its namespace.", {
    shown: "host name and process id",
  }),
  mongodbUri: setting(
    "MONGODB_URI",
    undefined,
    mongodbUri,
    "MongoDB with the database's name; unset: the embedded store under DATA_DIR.",
    { secret: "url" },
  ),
  dataDir: setting(
    "DATA_DIR",
    "./data",
    text,
    "The directory of the embedded store, of local objects and of the signing key.",
  ),
  s3Endpoint: setting(
    "S3_ENDPOINT",
    undefined,
    httpUrl,
    "Objects go to this S3; unset: to a directory under DATA_DIR.",
  ),
  s3Bucket: setting("S3_BUCKET", undefined, text, "The bucket, which must exist."),
  s3Region: setting("S3_REGION", undefined, text, "The bucket's region; unset: us-east-1."),
  s3AccessKeyId: setting("S3_ACCESS_KEY_ID", undefined, text, "Who signs the requests to S3."),
  s3SecretAccessKey: setting("S3_SECRET_ACCESS_KEY", undefined, text, "The key that signs the requests to S3.", {
    secret: "value",
  }),
  publicUrl: setting(
    "PUBLIC_URL",
    undefined,
    httpUrl,
    "How links point back at the gateway: https://files.example.com.",
    { shown: "from HOST and HTTP_PORT" },
  ),
  signingKey: setting(
    "SIGNING_KEY",
    undefined,
    z.string().min(32, "must be at least 32 characters"),
    "The secret behind download links, the same on every node.",
    { shown: "made once and kept in DATA_DIR/signing.key", secret: "value" },
  ),
  downloadTtl: setting(
    "DOWNLOAD_TTL",
    String(7 * DAY),
    seconds(60, YEAR),
    "How long a download link is good, in seconds; as long as its file is kept.",
  ),
  fileRetentionDays: setting(
    "FILE_RETENTION_DAYS",
    "7",
    integer(1, 3650),
    "How long a finished export's file is kept, in days.",
  ),
  taskRetentionDays: setting("TASK_RETENTION_DAYS", "30", integer(1, 3650), "How long an ended task is kept, in days."),
  maxLost: setting(
    "MAX_LOST",
    "5",
    integer(1, 1000),
    "How many workers may vanish with a task before it fails for good.",
  ),
  exportConcurrency: setting("EXPORT_CONCURRENCY", "2", integer(1, 64), "How many exports this node runs at a time."),
  exportMaxConn: setting(
    "EXPORT_MAX_CONN",
    "32",
    integer(1, 1000),
    "How many connections one export may open to the HTTP source it reads.",
  ),
  exportTimestampWindow: setting(
    "EXPORT_TIMESTAMP_WINDOW",
    "0",
    seconds(0, DAY),
    "How old an export request's timestamp may be, in seconds; 0 accepts any.",
  ),
  requestTimeout: setting(
    "REQUEST_TIMEOUT",
    "10",
    seconds(1, 3600),
    "How long a call without a deadline of its own may take, in seconds: longer than a slow store's answer, shorter than a person waits.",
  ),
  stopTimeout: setting(
    "STOP_TIMEOUT",
    "30",
    seconds(1, 3600),
    "How long a stopping node may finish what it began, in seconds; less than what the process manager allows.",
  ),
  logLevel: setting(
    "LOG_LEVEL",
    "info",
    oneOf(["fatal", "error", "warn", "info", "debug", "trace"]),
    "The least that is logged.",
  ),
  logFormat: setting(
    "LOG_FORMAT",
    process.stderr.isTTY ? "pretty" : "json",
    oneOf(["json", "pretty"]),
    "Log lines as JSON or for people.",
    { shown: "pretty on a terminal, else json" },
  ),
} satisfies Record<string, Setting>;
