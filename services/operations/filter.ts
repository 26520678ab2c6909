/**
 * Filters of operations (https://google.aip.dev/160) as filters of tasks. What a comparison says of a field that a task does not
 * have is false, and its negation true.
 */
import type { Filter } from "../../lib/datastore/datastore.ts";
import { ERROR_TYPES, invalidArgument, viewError } from "../../lib/errors.ts";
import type { Comparison, Expression, Operator, Value } from "../../lib/filter/expression.ts";
import { FilterError } from "../../lib/filter/filter-error.ts";
import { parseFilter } from "../../lib/filter/parse.ts";
import { parseTime } from "../../lib/rfc3339.ts";
import { CANCELLED_MESSAGE, NAME_PREFIX, USER_KIND } from "./operation.ts";

/** A filter on what queues stores of a task; see services/queues/task.ts. */
export type TaskFilter = Filter<Record<string, unknown>>;

export interface OperationFilter {
  filter: TaskFilter;
  /** What an index can tell of it: the one owner that all it can match have, and when they were made. */
  owner?: string;
  created?: TaskFilter[];
}

const EVERY: TaskFilter = {};
const NONE: TaskFilter = { _id: { $in: [] } };
const ENDED = ["SUCCESS", "FAILURE", "CANCEL"];
/** By the names that clients know. */
const STATES: Record<string, string[]> = {
  WAITING: ["READY", "DELAYED", "CHAINED"],
  PROCEEDING: ["RUNNING"],
  SUCCESS: ["SUCCESS"],
  FAILURE: ["FAILURE"],
  CANCEL: ["CANCEL"],
};
/** Characters of a text with a wildcard. */
const MAX_PATTERN = 256;
const UINT64_MAX = 2n ** 64n - 1n;

/** Makes the condition that a comparison with a field is. */
type Compare = (comparison: Comparison) => TaskFilter;

/** By the names of the proto. */
const FIELDS: Record<string, Compare> = {
  name: compareName,
  done: compareDone,
  "metadata.kind": compareKind,
  "metadata.channel": text("channel"),
  "metadata.state": compareState,
  "metadata.progress_percent": compareProgress,
  "metadata.done_units": count("doneUnits"),
  "metadata.total_units": count("totalUnits"),
  "metadata.create_time": time("createTime"),
  "metadata.start_time": time("startTime"),
  "metadata.update_time": time("updateTime"),
  "metadata.end_time": time("endTime"),
  "metadata.attempts": integer("attempts"),
  "metadata.owner": compareOwner,
  "metadata.message": (comparison) => both({ state: "RUNNING", internal: null }, text("output")(comparison)),
  "error.code": compareCode,
  "error.message": compareErrorMessage,
};
/** Also without `metadata`, as other services have them. */
for (const name of ["create_time", "start_time", "update_time", "end_time"]) FIELDS[name] = FIELDS[`metadata.${name}`]!;

/** Throws INVALID_ARGUMENT that names the position. */
export function readFilter(text: string): OperationFilter {
  try {
    const expression = parseFilter(text);
    if (!expression) return { filter: EVERY };
    const terms = expression.kind === "and" ? expression.operands : [expression];
    const owned = terms.find((term) => compares(term, "metadata.owner") && (term as Comparison).operator === "=");
    const created = terms.filter((term) => compares(term, "create_time", "metadata.create_time"));
    const rest = terms.filter((term) => term !== owned && !created.includes(term)).map(translate);
    const owner = owned && translate(owned)["owner"];
    return {
      filter: rest.length > 0 ? { $and: rest } : EVERY,
      ...(owner !== undefined && { owner: String(owner) }),
      ...(created.length > 0 && { created: created.map(translate) }),
    };
  } catch (error) {
    if (error instanceof FilterError) throw invalidArgument("filter", error.message);
    throw error;
  }
}

function translate(expression: Expression): TaskFilter {
  switch (expression.kind) {
    case "and":
      return { $and: expression.operands.map(translate) };
    case "or":
      return { $or: expression.operands.map(translate) };
    case "not":
      return { $nor: [translate(expression.operand)] };
    case "text":
      throw new FilterError(expression.position, `"${expression.text}" stands alone: write field = value`);
    case "compare":
      return compare(expression);
    default:
      return expression satisfies never;
  }
}

function compare(comparison: Comparison): TaskFilter {
  const name = nameOf(comparison);
  const field = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
  if (field) return field(comparison);
  const known = Object.keys(FIELDS).join(", ");
  throw new FilterError(comparison.position, `cannot filter by "${comparison.field.join(".")}"; fields are ${known}`);
}

function compares(expression: Expression, ...names: string[]): boolean {
  return expression.kind === "compare" && names.includes(nameOf(expression));
}

/** As in the proto. */
function nameOf({ field }: Comparison): string {
  return field.map(snakeCase).join(".");
}

function compareName(comparison: Comparison): TaskFilter {
  const { value, operator } = comparison;
  if (isPresence(comparison)) return EVERY;
  if (operator === "=" || operator === ":") return named(value, value.parts);
  if (operator === "!=") return { $nor: [named(value, value.parts)] };
  if (value.text.startsWith(NAME_PREFIX)) {
    return { hash: { [MONGO[operator]]: value.text.slice(NAME_PREFIX.length) } };
  }
  return holds(NAME_PREFIX, operator, value.text) ? EVERY : NONE;
}

/** Whose names, `operations/` and the HashCode, are so. */
function named(value: Value, [first = "", ...rest]: string[]): TaskFilter {
  if (first.startsWith(NAME_PREFIX)) {
    return matching("hash", { ...value, parts: [first.slice(NAME_PREFIX.length), ...rest] });
  }
  if (rest.length === 0 || !NAME_PREFIX.startsWith(first)) return NONE;
  if (first !== "") return named(value, ["", ...rest]);
  // What comes after the wildcard may begin within what all names begin with.
  const [part = "", ...more] = rest;
  const slash = part.indexOf("/") + 1;
  if (slash > 0) {
    const parts = [part.slice(slash), ...more];
    return NAME_PREFIX.endsWith(part.slice(0, slash)) ? matching("hash", { ...value, parts }) : NONE;
  }
  return more.length > 0 && NAME_PREFIX.includes(part) ? EVERY : matching("hash", { ...value, parts: ["", ...rest] });
}

function compareDone(comparison: Comparison): TaskFilter {
  if (isPresence(comparison)) return EVERY;
  const wanted = oneOf(comparison, { true: true, false: false }) === isEquality(comparison);
  return { state: wanted ? { $in: ENDED } : { $nin: ENDED } };
}

function compareKind(comparison: Comparison): TaskFilter {
  const { value, operator } = comparison;
  if (isPresence(comparison)) return EVERY;
  demandEquality(comparison);
  const kind = both({ internal: true }, matching("channel", value));
  const users = says(USER_KIND, { ...comparison, operator: "=" });
  const is = users ? { $or: [{ internal: null }, kind] } : kind;
  return operator === "!=" ? { $nor: [is] } : is;
}

function compareState(comparison: Comparison): TaskFilter {
  if (isPresence(comparison)) return EVERY;
  const states = oneOf(comparison, STATES);
  return { state: isEquality(comparison) ? { $in: states } : { $nin: states } };
}

/** A task that has succeeded is at 100, and one that has told nothing at 0. */
function compareProgress(comparison: Comparison): TaskFilter {
  if (isPresence(comparison)) return EVERY;
  const wanted = integerOf(comparison.value);
  const told = both({ state: { $ne: "SUCCESS" } }, count("progress")(comparison));
  return holds(100, comparison.operator, wanted) ? { $or: [{ state: "SUCCESS" }, told] } : told;
}

function compareOwner(comparison: Comparison): TaskFilter {
  if (isPresence(comparison)) return EVERY;
  demandEquality(comparison);
  const { text: owner, position } = comparison.value;
  if (!/^\d{1,20}$/.test(owner) || BigInt(owner) > UINT64_MAX)
    throw new FilterError(position, `"${owner}" is no uint64`);
  return { owner: comparison.operator === "!=" ? { $ne: String(BigInt(owner)) } : String(BigInt(owner)) };
}

/** A number, or the name of a google.rpc.Code. */
function compareCode(comparison: Comparison): TaskFilter {
  const failed: TaskFilter = { state: "FAILURE" };
  if (isPresence(comparison)) return { state: { $in: ["FAILURE", "CANCEL"] } };
  const { operator, value } = comparison;
  const name = [...ERROR_TYPES, "UNKNOWN"].find((type) => type === value.text);
  const wanted = name ? codeOf(name) : integerOf(value);
  const types = ERROR_TYPES.filter((type) => holds(codeOf(type), operator, wanted));
  const branches: TaskFilter[] = [{ ...failed, errorType: { $in: types } }];
  if (holds(codeOf("CANCELLED"), operator, wanted)) branches.push({ state: "CANCEL" });
  if (holds(codeOf("UNKNOWN"), operator, wanted)) branches.push({ ...failed, errorType: null });
  return { $or: branches };
}

function compareErrorMessage(comparison: Comparison): TaskFilter {
  const failed = both({ state: "FAILURE" }, text("output")(comparison));
  return says(CANCELLED_MESSAGE, comparison) ? { $or: [{ state: "CANCEL" }, failed] } : failed;
}

/** Whether the comparison holds for this text. */
function says(told: string, comparison: Comparison): boolean {
  const { operator, value } = comparison;
  if (isPresence(comparison)) return true;
  const fits = value.parts.length > 1 ? pattern(value).test(told) : told === value.text;
  if (operator === "!=") return !fits;
  return operator === "=" || operator === ":" ? fits : holds(told, operator, value.text);
}

function text(path: string): Compare {
  return (comparison) => {
    const { operator, value } = comparison;
    if (isPresence(comparison)) return { [path]: { $gt: "" } };
    if (operator === "=" || operator === ":") return matching(path, value);
    if (operator === "!=") return { $nor: [matching(path, value)] };
    return { [path]: { [MONGO[operator]]: value.text } };
  };
}

/** A whole number that is 0 where the task has none. */
function count(path: string): Compare {
  return (comparison) => {
    if (isPresence(comparison)) return EVERY;
    const { operator, value } = comparison;
    const wanted = integerOf(value);
    const told = { [path]: condition(operator, wanted) };
    return holds(0, operator, wanted) ? { $or: [told, { [path]: null }] } : told;
  };
}

function integer(path: string): Compare {
  return (comparison) =>
    isPresence(comparison) ? EVERY : { [path]: { [MONGO[comparison.operator]]: integerOf(comparison.value) } };
}

function time(path: string): Compare {
  return (comparison) => {
    if (isPresence(comparison)) return { [path]: { $exists: true } };
    const { text: written, position } = comparison.value;
    const wanted = parseTime(written);
    if (!wanted) throw new FilterError(position, `"${written}" is no time: write it as 2006-01-02T15:04:05Z`);
    return { [path]: condition(comparison.operator, wanted) };
  };
}

/** A text, or a pattern with wildcards. */
function matching(path: string, value: Value): TaskFilter {
  if (value.parts.length === 1) return { [path]: value.parts[0] };
  return { [path]: { $regex: pattern(value).source } };
}

/** Forms of wildcards that are decided in time that grows with the text alone: `x*`, `*x`, `*x*`, `x*y`. */
function pattern({ text, parts, position }: Value): RegExp {
  const [first = "", second = "", third] = parts;
  const simple = third === undefined || (parts.length === 3 && first === "" && third === "");
  if (!simple) throw new FilterError(position, `"${text}" has too many wildcards: write x*, *x, *x* or x*y`);
  if (text.length > MAX_PATTERN)
    throw new FilterError(position, `a text with a wildcard is longer than ${MAX_PATTERN}`);
  if (third !== undefined) return new RegExp(escaped(second));
  if (second === "") return new RegExp(`^${escaped(first)}`);
  return new RegExp(first === "" ? `${escaped(second)}$` : `^${escaped(first)}[\\s\\S]*${escaped(second)}$`);
}

function escaped(part: string): string {
  return part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

const MONGO: Record<Operator, string> = {
  "=": "$eq",
  ":": "$eq",
  "!=": "$ne",
  "<": "$lt",
  "<=": "$lte",
  ">": "$gt",
  ">=": "$gte",
};

/** Of a field that not all tasks have: those that have it not are not meant. */
function condition(operator: Operator, value: number | Date): TaskFilter {
  return { [MONGO[operator]]: value, ...(operator === "!=" && { $exists: true }) };
}

function holds<T extends number | string>(left: T, operator: Operator, right: T): boolean {
  switch (operator) {
    case "=":
    case ":":
      return left === right;
    case "!=":
      return left !== right;
    case "<":
      return left < right;
    case "<=":
      return left <= right;
    case ">":
      return left > right;
    case ">=":
      return left >= right;
    default:
      return operator satisfies never;
  }
}

/** `field:*` asks whether there is one. */
function isPresence({ operator, value }: Comparison): boolean {
  return operator === ":" && !value.quoted && value.parts.length === 2 && value.parts.every((part) => part === "");
}

function isEquality({ operator }: Comparison): boolean {
  return operator !== "!=";
}

function demandEquality({ field, operator, position }: Comparison): void {
  if (operator === "=" || operator === ":" || operator === "!=") return;
  throw new FilterError(position, `${field.join(".")} has no order: compare it with = or !=`);
}

/** What the value stands for. */
function oneOf<T>(comparison: Comparison, values: Record<string, T>): T {
  demandEquality(comparison);
  const { text: name, position } = comparison.value;
  if (Object.hasOwn(values, name)) return values[name] as T;
  throw new FilterError(position, `"${name}" is not one of ${Object.keys(values).join(", ")}`);
}

function integerOf({ text: written, quoted, position }: Value): number {
  const number = /^-?\d{1,15}$/.test(written) && !quoted ? Number(written) : NaN;
  if (Number.isNaN(number)) throw new FilterError(position, `"${written}" is no whole number`);
  return number;
}

function codeOf(type: string): number {
  return type === "UNKNOWN" ? 2 : viewError({ type }).grpc;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function both(...filters: TaskFilter[]): TaskFilter {
  return { $and: filters };
}
