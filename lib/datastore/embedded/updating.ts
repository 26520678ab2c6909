/** Updates of one document: mingo's operators, after the checks that MongoDB makes and mingo does not. */
import type { Document } from "mongodb";
import { update as applyUpdate } from "mingo/updater";
import { isOperators } from "./narrowing.ts";
import { matchingOptions } from "./matching.ts";
import { isObject } from "./value-path.ts";
import { WriteError } from "../write-error.ts";

const BAD_VALUE = 2;
const FAILED_TO_PARSE = 9;
const TYPE_MISMATCH = 14;
const PATH_NOT_VIABLE = 28;
const IMMUTABLE_FIELD = 66;

const OPERATORS = new Set([
  "$set",
  "$unset",
  "$inc",
  "$min",
  "$max",
  "$push",
  "$pull",
  "$addToSet",
  "$setOnInsert",
  "$currentDate",
]);

/** An update as a function that changes the document in place and says whether it did. */
export type Update = (document: Document) => boolean;

/** Throws where the update is not one of operators that are known. */
export function compileUpdate(update: Document): Update {
  const { $setOnInsert: _, ...operators } = checked(update);
  return (document) => apply(document, operators);
}

/** The document that an upsert inserts: what the filter says equals, then the update. */
export function upserted(filter: Document, update: Document): Document {
  const { $setOnInsert, ...operators } = checked(update);
  const document: Document = {};
  seed(document, filter);
  const set: Document = { ...(operators.$set as Document | undefined), ...($setOnInsert as Document | undefined) };
  if ("_id" in set) {
    document._id = set._id as unknown;
    delete set._id;
  }
  apply(document, { ...operators, $set: set });
  return document;
}

function checked(update: Document): Document {
  if (Array.isArray(update)) throw refusal(BAD_VALUE, "an update by a pipeline is not supported");
  const unknown = Object.keys(update).find((operator) => !OPERATORS.has(operator));
  if (unknown !== undefined) throw refusal(FAILED_TO_PARSE, `unknown update operator: ${unknown}`);
  return update;
}

function apply(document: Document, operators: Document): boolean {
  for (const [operator, fields] of Object.entries(operators) as [string, Document][]) {
    for (const path of Object.keys(fields)) checkTarget(document, operator, path);
  }
  try {
    return applyUpdate(document, operators, [], {}, { cloneMode: "none", queryOptions: matchingOptions }).length > 0;
  } catch (error) {
    throw refusal(BAD_VALUE, (error as Error).message);
  }
}

/** MongoDB refuses what mingo would leave as it is. */
function checkTarget(document: Document, operator: string, path: string): void {
  const parts = path.split(".");
  if (parts[0] === "_id") throw refusal(IMMUTABLE_FIELD, `${operator} would change the immutable field '_id'`);
  if (parts.some((part) => part.startsWith("$")))
    throw refusal(BAD_VALUE, `${path}: positional paths are not supported`);
  const last = parts.pop() ?? "";
  let parent: unknown = document;
  for (const part of parts) {
    if (isObject(parent)) parent = parent[part];
    else if (Array.isArray(parent) && /^\d+$/.test(part)) parent = parent[Number(part)];
    else if (operator === "$unset" || operator === "$pull") return;
    else throw refusal(PATH_NOT_VIABLE, `${operator}: '${path}' leads through a value that has no fields`);
    if (parent === undefined) return;
  }
  if (!isObject(parent) && !Array.isArray(parent)) {
    if (operator === "$unset" || operator === "$pull") return;
    throw refusal(PATH_NOT_VIABLE, `${operator}: '${path}' leads through a value that has no fields`);
  }
  const value: unknown = Array.isArray(parent) ? parent[Number(last)] : parent[last];
  checkValue(value, operator, path);
}

function checkValue(value: unknown, operator: string, path: string): void {
  if (value === undefined) return;
  if (operator === "$inc" && typeof value !== "number") {
    throw refusal(TYPE_MISMATCH, `$inc: '${path}' is not a number`);
  }
  if ((operator === "$push" || operator === "$addToSet" || operator === "$pull") && !Array.isArray(value)) {
    throw refusal(BAD_VALUE, `${operator}: '${path}' is not an array`);
  }
}

/** The fields that a filter says equal a value. */
function seed(document: Document, filter: Document): void {
  for (const [key, condition] of Object.entries(filter) as [string, unknown][]) {
    if (key === "$and") for (const part of condition as Document[]) seed(document, part);
    if (key.startsWith("$") || condition instanceof RegExp) continue;
    if (!isOperators(condition)) setPath(document, key, condition);
    else if ("$eq" in condition) setPath(document, key, condition.$eq);
  }
}

function setPath(document: Document, path: string, value: unknown): void {
  const parts = path.split(".");
  const last = parts.pop() ?? "";
  let parent = document;
  for (const part of parts) parent = (parent[part] ??= {}) as Document;
  parent[last] = value;
}

function refusal(code: number, message: string): WriteError {
  return new WriteError({ code, message });
}
