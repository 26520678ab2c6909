/** How the text of an environment variable becomes a value; a message goes on where the variable's name ends: "must be …". */
import { isIP } from "node:net";
import { z } from "zod";

/** Any text but none. */
export const text = z.string().trim().min(1, "must not be empty");

export const flag = z.enum(["true", "false"], "must be true or false").transform((value) => value === "true");

export const switched = z.enum(["0", "1"], "must be 0 or 1").transform((value) => value === "1");

/** A whole number, both bounds included. */
export function integer(min: number, max: number) {
  const problem = `must be a whole number from ${min} to ${max}`;
  const digits = z.string().regex(/^\d{1,15}$/, { error: problem, abort: true });
  return digits.transform(Number).refine((value) => value >= min && value <= max, problem);
}

/** Whole seconds, read as milliseconds. */
export function seconds(min: number, max: number) {
  return integer(min, max).transform((value) => value * 1000);
}

/** Whole MiB, read as bytes. */
export function megabytes(min: number, max: number) {
  return integer(min, max).transform((value) => value * 1024 ** 2);
}

export function oneOf<const T extends string>(...values: T[]) {
  return z.enum(values, `must be one of ${values.join(", ")}`);
}

/** A secret too long to be guessed. */
export const secret = z.string().min(32, "must be at least 32 characters");

/** Such secrets, separated by commas. */
export const secretList = z
  .string()
  .transform((value) => value.split(",").map((each) => each.trim()))
  .refine((secrets) => secrets.every((each) => each.length >= 32), "must be secrets of at least 32 characters each");

/** A name that becomes part of NATS subjects, where a dot, a space or a wildcard would mean something else. */
export const subjectToken = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,100}$/, "must hold letters, digits, - and _ only, at most 100");

export const timeZone = z.string().refine(isTimeZone, "must be a name of the IANA time zone database");

/** Names separated by commas. */
export const nameList = z
  .string()
  .transform((value) => value.split(",").map((name) => name.trim()))
  .refine((names) => !names.includes(""), "must be names separated by commas");

/** Hosts, `*.hosts`, addresses and networks, separated by commas. */
export const hostList = z
  .string()
  .transform((value) => value.split(",").map((entry) => entry.trim()))
  .refine(
    (entries) => entries.every((entry) => isNetwork(entry) || HOST.test(entry)),
    "must be hosts, *.hosts, addresses or networks (10.1.0.0/16), separated by commas",
  );

export const httpUrl = z
  .string()
  .refine((value) => isUrl(value, /^https?:\/\//), "must be a URL that begins with http:// or https://");

export const natsUrls = z
  .string()
  .refine(
    (value) => value.split(",").every((url) => isUrl(url, /^(nats|tls):\/\//)),
    "must be URLs that begin with nats:// or tls://, separated by commas",
  );

/** The driver reads the rest: a list of hosts is no URL. */
export const mongodbUri = z.string().regex(/^mongodb(\+srv)?:\/\/./, "must begin with mongodb:// or mongodb+srv://");

const HOST = /^(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/i;

function isNetwork(entry: string): boolean {
  const [address = "", prefix, ...more] = entry.split("/");
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return (
    bits > 0 && more.length === 0 && (prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits))
  );
}

function isTimeZone(value: string): boolean {
  try {
    return /^[A-Za-z]/.test(value) && Boolean(new Intl.DateTimeFormat("en", { timeZone: value }));
  } catch {
    return false;
  }
}

function isUrl(value: string, scheme: RegExp): boolean {
  return scheme.test(value) && URL.canParse(value);
}
