/**
 * The part of a filter that SQL can decide on the columns of a collection. What it cannot is left over for mingo; the SQL
 * never leaves out a document that matches.
 */
import type { Document } from "mongodb";
import type { Sort } from "../datastore.ts";
import type { Key } from "./index-key.ts";
import { BINARY, BOOLEAN, DATE, encodeKey, NULL_KEY } from "./index-key.ts";
import { isOperators } from "./matching.ts";

/** A condition on one path that holds for every document that matches. */
export interface Fact {
  path: string;
  operator: "$eq" | "$in" | "$gt" | "$gte" | "$lt" | "$lte" | "$exists" | "$type";
  value: unknown;
}

export interface Narrowed {
  /** Terms to be joined by AND. */
  terms: string[];
  parameters: Key[];
  facts: Fact[];
  /** What of the filter the terms do not say exactly. */
  rest: Document[];
}

/** The column that holds the keys of a path, or undefined where there is none that may be relied on. */
export type ColumnOf = (path: string) => string | undefined;

/**
 * Bare parameters SQLite compares with limits and with the conditions of partial indexes as it plans, and then plans anew
 * for each value that is bound to them.
 */
export const VALUE = "+?";

/** SQLite allows 32,766 parameters; a longer list is left to mingo. */
const MAX_LIST = 16_384;

export function narrow(filter: Document, columnOf: ColumnOf): Narrowed {
  const narrowed: Narrowed = { terms: [], parameters: [], facts: [], rest: [] };
  narrowInto(narrowed, filter, columnOf);
  return narrowed;
}

/** ORDER BY for the sort, or undefined where a path has no column. */
export function orderBy(sort: Sort, columnOf: ColumnOf): string | undefined {
  const terms = Object.entries(sort).map(([path, direction]) => {
    const column = columnOf(path);
    return column && `${column} ${direction === 1 ? "ASC" : "DESC"}`;
  });
  return terms.every((term) => term !== undefined) ? terms.join(", ") : undefined;
}

function narrowInto(narrowed: Narrowed, filter: Document, columnOf: ColumnOf): void {
  for (const [key, condition] of Object.entries(filter) as [string, unknown][]) {
    if (key === "$and" && Array.isArray(condition)) {
      for (const part of condition as Document[]) narrowInto(narrowed, part, columnOf);
    } else if (key === "$or" && Array.isArray(condition)) {
      narrowOr(narrowed, condition as Document[], columnOf);
    } else if (key.startsWith("$")) {
      narrowed.rest.push({ [key]: condition });
    } else {
      narrowPath(narrowed, key, condition, columnOf(key));
    }
  }
}

function narrowOr(narrowed: Narrowed, branches: Document[], columnOf: ColumnOf): void {
  const parts = branches.map((branch) => narrow(branch, columnOf));
  if (parts.every(({ terms }) => terms.length > 0)) {
    narrowed.terms.push(`(${parts.map(({ terms }) => `(${terms.join(" AND ")})`).join(" OR ")})`);
    for (const { parameters } of parts) narrowed.parameters.push(...parameters);
    if (parts.every(({ rest }) => rest.length === 0)) return;
  }
  narrowed.rest.push({ $or: branches });
}

function narrowPath(narrowed: Narrowed, path: string, condition: unknown, column: string | undefined): void {
  const operators = isOperators(condition) ? condition : { $eq: condition };
  const left: Document = {};
  const range: Range = {};
  for (const [operator, value] of Object.entries(operators) as [string, unknown][]) {
    if (!column || !narrowOperator(narrowed, range, path, column, operator, value)) left[operator] = value;
  }
  if (column) addRange(narrowed, column, range);
  if (Object.keys(left).length > 0) {
    narrowed.rest.push({ [path]: isOperators(condition) ? left : condition });
  }
}

/** True where the terms say exactly what the operator says. */
function narrowOperator(
  narrowed: Narrowed,
  range: Range,
  path: string,
  column: string,
  operator: string,
  value: unknown,
): boolean {
  switch (operator) {
    case "$eq":
    case "$ne":
      return narrowEquality(narrowed, path, column, operator, value);
    case "$in":
    case "$nin":
      return narrowList(narrowed, path, column, operator, value);
    case "$gt":
    case "$gte":
    case "$lt":
    case "$lte":
      return narrowRange(narrowed, range, path, operator, value);
    default:
      return false;
  }
}

function narrowEquality(
  narrowed: Narrowed,
  path: string,
  column: string,
  operator: "$eq" | "$ne",
  value: unknown,
): boolean {
  const key = encodeKey(value);
  if (key === undefined) return false;
  narrowed.terms.push(`${column} ${operator === "$eq" ? "=" : "<>"} ${VALUE}`);
  narrowed.parameters.push(key);
  if (operator === "$eq") narrowed.facts.push({ path, operator, value });
  return true;
}

function narrowList(
  narrowed: Narrowed,
  path: string,
  column: string,
  operator: "$in" | "$nin",
  values: unknown,
): boolean {
  if (!Array.isArray(values) || values.length > MAX_LIST) return false;
  const keys = values.map(encodeKey);
  if (!keys.every((key) => key !== undefined)) return false;
  if (keys.length === 0) {
    narrowed.terms.push(operator === "$in" ? "0" : "1");
    return true;
  }
  const list = padded(keys);
  const marks = new Array(list.length).fill("?").join(",");
  narrowed.terms.push(`${column} ${operator === "$in" ? "IN" : "NOT IN"} (${marks})`);
  narrowed.parameters.push(...list);
  if (operator === "$in") narrowed.facts.push({ path, operator, value: values });
  return true;
}

/** The list filled up to a power of two, so that few statements serve lists of all lengths. */
export function padded(keys: readonly Key[]): Key[] {
  const last = keys.at(-1);
  if (last === undefined) return [];
  const missing = 2 ** Math.ceil(Math.log2(keys.length)) - keys.length;
  return [...keys, ...new Array<Key>(missing).fill(last)];
}

interface Bound {
  comparison: string;
  key: Key;
}
interface Range {
  lower?: Bound;
  upper?: Bound;
  bracket?: [string, string];
}

/** Comparisons hold within one type: a bound of the type stands in for the one that the filter does not name. */
function narrowRange(
  narrowed: Narrowed,
  range: Range,
  path: string,
  operator: "$gt" | "$gte" | "$lt" | "$lte",
  value: unknown,
): boolean {
  const key = encodeKey(value);
  const bracket = key === undefined ? undefined : bracketOf(key);
  if (key === undefined || !bracket || (range.bracket && range.bracket[0] !== bracket[0])) return false;
  range.bracket = bracket;
  if (operator === "$gt" || operator === "$gte") range.lower = { comparison: operator === "$gt" ? ">" : ">=", key };
  else range.upper = { comparison: operator === "$lt" ? "<" : "<=", key };
  narrowed.facts.push({ path, operator, value });
  return true;
}

function addRange(narrowed: Narrowed, column: string, { lower, upper, bracket }: Range): void {
  if (!bracket) return;
  for (const bound of [lower, upper]) {
    if (!bound) continue;
    narrowed.terms.push(`${column} ${bound.comparison} ${VALUE}`);
    narrowed.parameters.push(bound.key);
  }
  if (!lower) narrowed.terms.push(`${column} ${bracket[0]}`);
  if (!upper) narrowed.terms.push(`${column} ${bracket[1]}`);
}

/** The bounds of a key's type in the order of keys, undefined for null. */
export function bracketOf(key: Key): [string, string] | undefined {
  if (key === NULL_KEY) return undefined;
  if (typeof key === "number") return ["> -9e999", "< ''"];
  if (typeof key === "string") return [">= ''", "< x''"];
  return blobBracket(key[0] ?? 0);
}

function blobBracket(type: number): [string, string] {
  const byte = (value: number) => value.toString(16).padStart(2, "0");
  return [`>= x'${byte(type)}'`, `< x'${byte(type + 1)}'`];
}

/** The bounds of a type by the name that $type gives it; undefined for those that columns do not tell apart. */
export function bracketOfType(type: unknown): [string, string] | undefined {
  if (type === "number") return bracketOf(0);
  if (type === "string") return bracketOf("");
  if (type === "binData") return blobBracket(BINARY);
  if (type === "bool") return blobBracket(BOOLEAN);
  if (type === "date") return blobBracket(DATE);
  return undefined;
}
