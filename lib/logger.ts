/** The broker's logger: one line an entry on standard error, as JSON or for people, with the call it belongs to. */
import { inspect, styleText } from "node:util";
import { Errors, Loggers } from "moleculer";
import { callIdentity } from "./call-context.ts";
import { LongshoreError } from "./errors.ts";
import { isSecretKey, MASK, maskUrls } from "./secrets.ts";

const LEVELS = ["fatal", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LEVELS)[number];
export type LogFormat = "json" | "pretty";

/** What one entry may weigh, so that a huge value does not flood the log. */
const MAX_TEXT = 16_384;

/** Moleculer's own parts and services, which tell at `info` what only its developers ask. */
const QUIET = /^(broker|registry|transit|transporter|\$.*)$/;

interface Entry {
  message: string;
  fields: Record<string, unknown>;
  error?: { name: string; type?: string; message: string; stack?: string };
}

/** Formats and writes what Moleculer and the services log. */
export class LineLogger extends Loggers.Base<{ level: LogLevel }> {
  readonly #format: LogFormat;
  readonly #write: (line: string) => void;

  constructor(level: LogLevel, format: LogFormat, write = (line: string) => void process.stderr.write(line)) {
    super({ level });
    this.#format = format;
    this.#write = write;
  }

  override getLogHandler(bindings: { nodeID: string; mod: string }) {
    const least = LEVELS.indexOf(this.opts.level);
    const allowed = QUIET.test(bindings.mod) && this.opts.level === "info" ? LEVELS.indexOf("warn") : least;
    const format = this.#format === "json" ? jsonLine : prettyLine;
    return (level: LogLevel, args: unknown[]) => {
      if (LEVELS.indexOf(level) <= allowed) this.#write(maskUrls(format(level, bindings, entryOf(args))) + "\n");
    };
  }
}

/** Text and errors make the message; the fields of plain objects stand beside it. */
function entryOf(args: unknown[]): Entry {
  const words: string[] = [];
  const entry: Entry = { message: "", fields: {} };
  for (const arg of args) {
    if (arg instanceof Error) {
      words.push(arg.message);
      entry.error = describe(arg);
    } else if (isPlain(arg)) Object.assign(entry.fields, arg);
    else words.push(typeof arg === "string" ? arg : inspect(arg));
  }
  entry.message = words.join(" ").slice(0, MAX_TEXT);
  return entry;
}

/** An error that was thrown on purpose needs no stack: its message says what to do. */
function describe(error: Error & { type?: unknown }): Entry["error"] {
  const { name, message } = error;
  const type = typeof error.type === "string" ? error.type : undefined;
  const onPurpose = error instanceof LongshoreError || error instanceof Errors.MoleculerError;
  if (onPurpose && error.cause === undefined) return { name, type, message };
  return { name, type, message, stack: inspect(onPurpose ? error.cause : error, { depth: 3 }).slice(0, MAX_TEXT) };
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function jsonLine(level: LogLevel, bindings: { nodeID: string; mod: string }, entry: Entry): string {
  const { message, fields, error } = entry;
  const head = { time: new Date().toISOString(), level, node: bindings.nodeID, module: bindings.mod, message };
  return stringify({ ...fields, ...head, ...callIdentity(), error });
}

const COLOURS = {
  fatal: "magenta",
  error: "red",
  warn: "yellow",
  info: "green",
  debug: "blue",
  trace: "gray",
} as const;

function prettyLine(level: LogLevel, bindings: { mod: string }, entry: Entry): string {
  const time = new Date().toISOString().slice(11, 23);
  const word = styleText(COLOURS[level], level.toUpperCase().padEnd(5), { stream: process.stderr });
  const fields = stringify({ ...entry.fields, ...callIdentity() });
  const told = fields === "{}" ? "" : ` ${fields}`;
  const stack = entry.error?.stack ? `\n${entry.error.stack}` : "";
  return `${time} ${word} ${bindings.mod}: ${entry.message}${told}${stack}`;
}

function stringify(value: Record<string, unknown>): string {
  try {
    return JSON.stringify(value, printable);
  } catch {
    // circular: inspect shows as much as can be shown
    return JSON.stringify({ ...value, unprintable: inspect(value, { depth: 2 }).slice(0, MAX_TEXT) }, shallow);
  }
}

function printable(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const raw = this[key];
  if (isSecretKey(key) && raw !== undefined && raw !== null) return MASK;
  if (typeof raw === "bigint") return String(raw);
  if (raw instanceof Uint8Array) return `<${raw.byteLength} bytes>`;
  if (raw instanceof Error) return raw.message;
  if (typeof raw === "string" && raw.length > MAX_TEXT) return raw.slice(0, MAX_TEXT);
  return value;
}

function shallow(this: Record<string, unknown>, key: string, value: unknown): unknown {
  return typeof value === "object" && key !== "" && key !== "error" ? undefined : printable.call(this, key, value);
}
