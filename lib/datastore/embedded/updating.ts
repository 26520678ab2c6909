/** Updates of one document, with the checks that MongoDB makes before it changes anything. */
import type { Document } from "mongodb";
import { isOperators } from "./matching.ts";
import { updateOperators } from "./update-operators.ts";
import { isObject, ownValue } from "./value-path.ts";
import { BAD_VALUE, Refusal } from "../refusal.ts";

const FAILED_TO_PARSE = 9;
const TYPE_MISMATCH = 14;
const PATH_NOT_VIABLE = 28;
const CONFLICTING_OPERATORS = 40;
const IMMUTABLE_FIELD = 66;

/** An update as a function that changes the document in place and says whether it did. */
export type Update = (document: Document) => boolean;

/** Throws where the update is not one of operators that are known. */
export function compileUpdate(update: Document): Update {
  if (Array.isArray(update)) throw refusal(BAD_VALUE, "an update by a pipeline is not supported");
  const { $setOnInsert: _, ...changes } = update;
  return compile(changes);
}

/** The document that an upsert inserts: what the filter says equals, then the update. */
export function upserted(filter: Document, update: Document): Document {
  const { $setOnInsert, ...changes } = update;
  const document: Document = {};
  seed(document, filter);
  const set: Document = { ...(changes.$set as Document | undefined), ...($setOnInsert as Document | undefined) };
  if ("_id" in set) {
    document._id = set._id as unknown;
    delete set._id;
  }
  compile({ ...changes, $set: set })(document);
  return document;
}

function compile(changes: Document): Update {
  const targets = Object.entries(changes).flatMap(([name, fields]) => {
    const operator = updateOperators[name];
    if (!operator) throw new Refusal({ code: FAILED_TO_PARSE, message: `unknown update operator: ${name}` });
    return Object.entries(fields as Document).map(([path, operand]: [string, unknown]) => {
      checkPath(name, path);
      return { name, path, mutate: refusing(() => operator(path, operand)) };
    });
  });
  checkConflicts(targets.map(({ path }) => path));
  return (document) => {
    for (const { name, path } of targets) checkTarget(document, name, path);
    let changed = false;
    for (const { mutate } of targets) changed = refusing(() => mutate(document)) || changed;
    return changed;
  };
}

/** Mingo's complaints of an operand, as a refusal of the write. */
function refusing<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw refusal(BAD_VALUE, (error as Error).message);
  }
}

/** Two changes of one path, or of a path and what it leads through. */
function checkConflicts(paths: string[]): void {
  const sorted = paths.map((path) => `${path}.`).sort();
  const conflict = sorted.find((path, index) => index > 0 && path.startsWith(sorted[index - 1] ?? path));
  if (conflict) throw refusal(CONFLICTING_OPERATORS, `the update changes '${conflict.slice(0, -1)}' twice`);
}

function checkPath(operator: string, path: string): void {
  const parts = path.split(".");
  if (parts[0] === "_id") throw refusal(IMMUTABLE_FIELD, `${operator} would change the immutable field '_id'`);
  if (parts.some((part) => part === "" || part === "__proto__" || part.startsWith("$"))) {
    throw refusal(BAD_VALUE, `${operator}: '${path}' is not a path of fields`);
  }
}

/** MongoDB refuses what would otherwise go through a value that has no fields, or change one of another type. */
function checkTarget(document: Document, operator: string, path: string): void {
  let value: unknown = document;
  for (const part of path.split(".")) {
    if (value === undefined) return;
    if (isObject(value) || (Array.isArray(value) && /^\d+$/.test(part))) value = ownValue(value, part);
    else if (operator === "$unset") return;
    else throw refusal(PATH_NOT_VIABLE, `${operator}: '${path}' leads through a value that has no fields`);
  }
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

function refusal(code: number, message: string): Refusal {
  return new Refusal({ code, message });
}
