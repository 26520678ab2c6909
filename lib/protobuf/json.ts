/**
 * A message as protobuf JSON (https://protobuf.dev/programming-guides/json/): names in camelCase, 64-bit integers as text, enums by
 * name, bytes in base64, timestamps as RFC 3339. What has its default value is there, too. Of Google's well-known types it knows Timestamp
 * and Duration.
 */
import protobuf from "protobufjs";

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

const LONG = new Set(["int64", "uint64", "sint64", "fixed64", "sfixed64"]);

/** `message` as `type.fromObject` takes it. */
export function toJson(type: protobuf.Type, message: Record<string, unknown>): Record<string, Json> {
  return messageJson(type, type.fromObject(message) as unknown as Record<string, unknown>) as Record<string, Json>;
}

function messageJson(type: protobuf.Type, message: Record<string, unknown>): Json {
  if (type.fullName === ".google.protobuf.Timestamp") return timestampText(message);
  if (type.fullName === ".google.protobuf.Duration") return durationText(message);
  const json: Record<string, Json> = {};
  for (const field of type.fieldsArray) {
    const value = message[field.name];
    const present = Object.hasOwn(message, field.name) && value !== null && value !== undefined;
    // A message that is not there, and what is in a oneof and was not chosen, is not told.
    if (!present && (field.resolvedType instanceof protobuf.Type || field.partOf) && !field.repeated && !field.map)
      continue;
    json[camelCase(field.name)] = fieldJson(field, present ? value : field.defaultValue);
  }
  return json;
}

function fieldJson(field: protobuf.Field, value: unknown): Json {
  if (field.repeated) return ((value ?? []) as unknown[]).map((item) => valueJson(field, item));
  if (!field.map) return valueJson(field, value);
  const entries = Object.entries((value ?? {}) as Record<string, unknown>);
  return Object.fromEntries(entries.map(([key, item]) => [key, valueJson(field, item)]));
}

function valueJson(field: protobuf.Field, value: unknown): Json {
  const { resolvedType, type } = field;
  if (resolvedType instanceof protobuf.Type) return messageJson(resolvedType, value as Record<string, unknown>);
  if (resolvedType instanceof protobuf.Enum) return resolvedType.valuesById[value as number] ?? (value as number);
  if (LONG.has(type)) return String(value);
  if (type === "bytes") return Buffer.from(value as Uint8Array).toString("base64");
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : (value as Json);
}

function timestampText({ seconds = 0, nanos = 0 }: Record<string, unknown>): string {
  const whole = new Date(Number(seconds) * 1_000).toISOString().slice(0, 19);
  return `${whole}${fraction(Number(nanos))}Z`;
}

function durationText({ seconds = 0, nanos = 0 }: Record<string, unknown>): string {
  const sign = Number(seconds) < 0 || Number(nanos) < 0 ? "-" : "";
  return `${sign}${Math.abs(Number(seconds))}${fraction(Math.abs(Number(nanos)))}s`;
}

/** With 3, 6 or 9 digits, none where it is 0. */
function fraction(nanos: number): string {
  if (nanos === 0) return "";
  const digits = String(nanos).padStart(9, "0");
  return `.${digits.replace(/(?:000){1,2}$/, "")}`;
}

/** The name of a field in JSON. */
export function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
