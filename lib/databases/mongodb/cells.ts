import { BSON, Binary, Decimal128, ObjectId, UUID } from "mongodb";
import type { Cell } from "../../tabular/table.ts";
import { exactNumber, isPlainNumber, jsonText } from "../../tabular/table.ts";
import { bytesText } from "../batches.ts";

/** The digits of a JSON number, which a plain number need not have: `.5`. */
const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** A value of a document as a cell: ids and bytes in hex, numbers in their digits, a nested value as relaxed EJSON. */
export function cellOf(value: unknown): Cell {
  if (typeof value === "bigint") return shortest(value);
  return typeof value === "object" && value !== null ? objectCell(value) : (value as Cell);
}

function objectCell(value: object): Cell {
  if (value instanceof Date) return value;
  if (value instanceof ObjectId) return value.toHexString();
  if (value instanceof Decimal128) return decimalCell(value.toString());
  if (value instanceof Binary) return binaryText(value);
  return jsonText(relaxed(value) as Cell);
}

function decimalCell(digits: string): Cell {
  return isPlainNumber(digits) && JSON_NUMBER.test(digits) ? exactNumber(digits) : digits;
}

function binaryText(value: Binary): string {
  return value.sub_type === Binary.SUBTYPE_UUID ? new UUID(value.value()).toString() : bytesText(value.value());
}

function shortest(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** EJSON's own of what is no document; its form of a large integer would be a rounded one. */
function relaxed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relaxed);
  if (typeof value === "number" && !Number.isFinite(value)) return { $numberDouble: String(value) };
  if (typeof value !== "object" || value === null) return value;
  if (!isDocument(value)) return BSON.EJSON.serialize(value, { relaxed: true });
  return Object.fromEntries(Object.entries(value).map(([key, nested]) => [key, relaxed(nested)]));
}

function isDocument(value: object): boolean {
  return Object.getPrototypeOf(value) === Object.prototype && !("_bsontype" in value);
}
