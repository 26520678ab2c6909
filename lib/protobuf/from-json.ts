/**
 * Protobuf JSON (https://protobuf.dev/programming-guides/json/) as an action takes a message: names as in the proto, enums by
 * name, 64-bit integers as text, bytes as Buffer. What a query says counts as well: `ded.ebs.statement=SELECT 1`.
 */
import protobuf from "protobufjs";
import { invalidArgument } from "../errors.ts";
import { camelCase } from "./json.ts";

type Message = Record<string, unknown>;

const INTEGERS = new Set(["int32", "uint32", "sint32", "fixed32", "sfixed32"]);
const LONGS = new Set(["int64", "uint64", "sint64", "fixed64", "sfixed64"]);
const UNSIGNED = new Set(["uint32", "fixed32", "uint64", "fixed64"]);
const MOST = { 32: [-(2n ** 31n), 2n ** 32n - 1n], 64: [-(2n ** 63n), 2n ** 64n - 1n] } as const;

/**
 * Throws INVALID_ARGUMENT with the path of a field that is unknown, given by both of its names, or no value of its type.
 * Fields that are left out stay so.
 */
export function fromJson(type: protobuf.Type, json: Message): Message {
  return readMessage(type, nested(json), "");
}

/** With the dots of a query's names as levels. */
function nested(json: Message): Message {
  const root: Message = Object.create(null) as Message;
  for (const [name, value] of Object.entries(json)) {
    const path = name.split(".");
    const last = path.pop()!;
    let at = root;
    for (const part of path) {
      const next = (at[part] ??= Object.create(null) as Message);
      if (!isObject(next)) throw invalidArgument(name, "is within a field that has a value itself");
      at = next;
    }
    if (Object.hasOwn(at, last)) throw invalidArgument(name, "is given twice");
    at[last] = value;
  }
  return root;
}

function readMessage(type: protobuf.Type, json: Message, path: string): Message {
  const message: Message = {};
  for (const [name, value] of Object.entries(json)) {
    const where = path + name;
    const field = fieldOf(type, name);
    if (!field) throw invalidArgument(where, "is not a field");
    if (value === null || value === undefined) continue;
    if (Object.hasOwn(message, field.name)) throw invalidArgument(where, "is given by both of its names");
    const other = field.partOf?.oneof.find((each) => each !== field.name && Object.hasOwn(message, each));
    if (other) throw invalidArgument(where, `must not be given together with ${path}${other}`);
    message[field.name] = readField(field, value, where);
  }
  return message;
}

function fieldOf(type: protobuf.Type, name: string): protobuf.Field | undefined {
  if (Object.hasOwn(type.fields, name)) return type.fields[name];
  return type.fieldsArray.find((field) => camelCase(field.name) === name);
}

function readField(field: protobuf.Field, value: unknown, where: string): unknown {
  if (field.map) {
    if (!isObject(value)) throw invalidArgument(where, "must be an object");
    const entries = Object.entries(value);
    return Object.fromEntries(entries.map(([key, each]) => [key, readValue(field, each, `${where}[${quoted(key)}]`)]));
  }
  if (!field.repeated) return readValue(field, value, where);
  if (!Array.isArray(value)) throw invalidArgument(where, "must be an array");
  return value.map((each, index) => readValue(field, each, `${where}[${index}]`));
}

function readValue(field: protobuf.Field, value: unknown, where: string): unknown {
  const { resolvedType, type } = field;
  if (resolvedType instanceof protobuf.Type) {
    if (!isObject(value)) throw invalidArgument(where, "must be an object");
    return readMessage(resolvedType, value, `${where}.`);
  }
  if (resolvedType instanceof protobuf.Enum) return readEnum(resolvedType, value, where);
  if (type === "bool") return readBoolean(value, where);
  if (type === "string") {
    if (typeof value !== "string") throw invalidArgument(where, "must be text");
    if (!value.isWellFormed()) throw invalidArgument(where, "must be valid Unicode");
    return value;
  }
  if (INTEGERS.has(type)) return Number(readInteger(value, type, 32, where));
  if (LONGS.has(type)) return String(readInteger(value, type, 64, where));
  if (type === "bytes") return readBytes(value, where);
  throw new TypeError(`${field.fullName}: fields of ${type} are not read from JSON`);
}

function readEnum(type: protobuf.Enum, value: unknown, where: string): string {
  const name = typeof value === "number" || /^\d+$/.test(String(value)) ? type.valuesById[Number(value)] : value;
  if (typeof name === "string" && Object.hasOwn(type.values, name)) return name;
  throw invalidArgument(where, `must be one of ${Object.keys(type.values).join(", ")}`);
}

function readBoolean(value: unknown, where: string): boolean {
  if (value === true || value === "true") return true;
  if (value === false || value === "false") return false;
  throw invalidArgument(where, "must be true or false");
}

/** Base64 in either alphabet, padded or not. */
function readBytes(value: unknown, where: string): Buffer {
  if (typeof value !== "string" || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(value))
    throw invalidArgument(where, "must be base64");
  return Buffer.from(value, "base64");
}

function readInteger(value: unknown, type: string, bits: 32 | 64, where: string): bigint {
  const text = typeof value === "number" && Number.isSafeInteger(value) ? String(value) : value;
  const signed = !UNSIGNED.has(type);
  if (typeof text === "string" && /^-?\d{1,20}$/.test(text)) {
    const integer = BigInt(text);
    const [least, most] = MOST[bits];
    if (signed ? integer >= least && integer <= -least - 1n : integer >= 0n && integer <= most) return integer;
  }
  throw invalidArgument(where, signed ? "must be a whole number" : "must be a whole number, 0 or more");
}

function isObject(value: unknown): value is Message {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function quoted(key: string): string {
  return JSON.stringify(key.slice(0, 100));
}
