/** A line of a bulk load: one WriteItem in protobuf JSON. */
import { fromJson } from "../../../lib/protobuf/from-json.ts";
import { loadProto, readProto } from "../../../lib/protobuf/proto-source.ts";
import { invalidArgument } from "../../../lib/errors.ts";
import type { Change, Regions, Uint64 } from "../change.ts";
import { readChange } from "../change.ts";
import { checkUser } from "../place.ts";
import type { Flag } from "../record.ts";

export interface Item {
  userid: string;
  change: Change;
}

type Json = Record<string, unknown>;

const WriteItem = loadProto(readProto("saasapi/saasapi.proto")).lookupType("saasapi.WriteItem");

const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;
const MAX_UINT32 = 2 ** 32 - 1;

/** Throws INVALID_ARGUMENT that says what is wrong, where it is none that can be written. */
export function readItem(line: string): Item {
  const json = parse(line);
  const item = readPlain(json) ?? readAny(json);
  checkUser(item.userid);
  return { userid: item.userid, change: readChange(item, false) };
}

type ReadItem = Regions & { userid: string };

function parse(line: string): Json {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw invalidArgument("line", `is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw invalidArgument("line", "is no object");
  return json as Json;
}

/** Whatever protobuf JSON may be. */
export function readAny(json: Json): ReadItem {
  return WriteItem.fromObject(fromJson(WriteItem, json)) as unknown as ReadItem;
}

/**
 * What nearly every line is, at a fifth of the cost; undefined where something is less usual or wrong, for `readAny` to read or
 * to refuse.
 */
export function readPlain(json: Json): ReadItem | undefined {
  const item: ReadItem = { userid: "" };
  let fields = 0;
  for (const name in json) {
    const value = json[name];
    const bit = readPlainField(item, name, value);
    if (bit === 0 || (fields & bit) !== 0) return undefined;
    fields |= bit;
  }
  return item;
}

/** A bit of the field that it was; 0 where it is not plain. */
function readPlainField(item: ReadItem, name: string, value: unknown): number {
  switch (name) {
    case "userid":
      if (typeof value !== "string" || !value.isWellFormed()) return 0;
      item.userid = value;
      return 1;
    case "writeBytes":
    case "write_bytes":
      return (item.write_bytes = isObject(value) ? plainBytes(value) : undefined) ? 2 : 0;
    case "writeUint32s":
    case "write_uint32s":
      return (item.write_uint32s = isObject(value) ? plainUint32s(value) : undefined) ? 4 : 0;
    case "writeFlagsWithExpire":
    case "write_flags_with_expire":
      return (item.write_flags_with_expire = isObject(value) ? plainFlags(value) : undefined) ? 8 : 0;
    default:
      return 0;
  }
}

function plainBytes(json: Json): Regions["write_bytes"] | undefined {
  let bytes: Buffer | undefined;
  let first: Uint64 | undefined;
  let second: Uint64 | undefined;
  for (const name in json) {
    const value = json[name];
    if (name === "bytes") {
      if (typeof value !== "string" || !BASE64.test(value)) return undefined;
      bytes = Buffer.from(value, "base64");
    } else if (isFirstIndex(name)) {
      if (first !== undefined || (first = plainBitmap(value)) === undefined) return undefined;
    } else if (name === "index2" || name === "index_2") {
      if (second !== undefined || (second = plainBitmap(value)) === undefined) return undefined;
    } else return undefined;
  }
  return { bytes: bytes ?? Buffer.alloc(0), index_1: first ?? 0, index_2: second ?? 0 };
}

function plainUint32s(json: Json): Regions["write_uint32s"] | undefined {
  let uint32s: number[] | undefined;
  let bitmap: Uint64 | undefined;
  for (const name in json) {
    const value = json[name];
    if (name === "uint32s" && Array.isArray(value) && value.every(isUint32)) uint32s = value;
    else if (!isFirstIndex(name) || bitmap !== undefined || (bitmap = plainBitmap(value)) === undefined)
      return undefined;
  }
  return { uint32s: uint32s ?? [], index_1: bitmap ?? 0 };
}

function plainFlags(json: Json): Regions["write_flags_with_expire"] | undefined {
  let flags: Flag[] | undefined;
  let bitmap: Uint64 | undefined;
  for (const name in json) {
    const value = json[name];
    if (name === "flagsWithExpire" || name === "flags_with_expire") {
      if (flags || !Array.isArray(value)) return undefined;
      flags = [];
      for (const each of value) {
        const flag = isObject(each) ? plainFlag(each) : undefined;
        if (!flag) return undefined;
        flags.push(flag);
      }
    } else if (!isFirstIndex(name) || bitmap !== undefined || (bitmap = plainBitmap(value)) === undefined) {
      return undefined;
    }
  }
  return { flags_with_expire: flags ?? [], index_1: bitmap ?? 0 };
}

function plainFlag(json: Json): Flag | undefined {
  const flag: Flag = { flag: false, default_flag: false, expire: 0 };
  let defaults = 0;
  for (const name in json) {
    const value = json[name];
    if (name === "flag" && typeof value === "boolean") flag.flag = value;
    else if (name === "expire" && isUint32(value)) flag.expire = value;
    else if ((name === "defaultFlag" || name === "default_flag") && typeof value === "boolean" && defaults++ === 0) {
      flag.default_flag = value;
    } else return undefined;
  }
  return flag;
}

/** Undefined for what is no uint64, or is written in another way than most. */
function plainBitmap(value: unknown): Uint64 | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string" || !/^\d{1,20}$/.test(value)) return undefined;
  if (value.length < 16) return Number(value);
  const bits = BigInt(value);
  if (bits >= 2n ** 64n) return undefined;
  return { low: Number(bits & 0xffff_ffffn) | 0, high: Number(bits >> 32n) | 0 };
}

function isFirstIndex(name: string): boolean {
  return name === "index1" || name === "index_1";
}

function isUint32(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_UINT32;
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
