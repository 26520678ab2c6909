/**
 * Whether a document matches a filter. Comparisons are MongoDB's, from which mingo's differ for strings beyond the BMP, for
 * binary values, nulls and arrays in arrays; all other operators are mingo's.
 */
import type { Document } from "mongodb";
import { Context } from "mingo/core";
import * as queryOperators from "mingo/operators/query";
import { Query } from "mingo/query";
import { BAD_VALUE, Refusal } from "../refusal.ts";
import { compareValues, typeRank } from "./value-order.ts";
import { candidates, isObject, valuesAt } from "./value-path.ts";

export type Predicate = (document: Document) => boolean;
type Test = (value: unknown, operand: unknown) => boolean;
type Operator = (path: string, operand: unknown) => Predicate;

const comparisons: Record<string, Test> = {
  $eq: equals,
  $in: isOneOf,
  $gt: bracketed((order) => order > 0),
  $gte: bracketed((order) => order >= 0),
  $lt: bracketed((order) => order < 0),
  $lte: bracketed((order) => order <= 0),
};

const operators: Record<string, Operator> = {
  ...Object.fromEntries(Object.entries(comparisons).map(([name, test]) => [name, onCandidates(test)])),
  $ne: not(onCandidates(equals)),
  $nin: not(onCandidates(isOneOf)),
  $elemMatch: elementMatches,
  $type: (path, operand) => onCandidates(isOfType)(path, typesOf(operand)),
};

const TYPE_RANKS: Record<string, number> = {
  null: 1,
  number: 2,
  string: 3,
  object: 4,
  array: 5,
  binData: 6,
  bool: 8,
  date: 9,
};

/** What mingo's own code takes its query operators from. */
export const context = Context.init({ query: { ...queryOperators, ...operators } as typeof queryOperators });

/** The filter as a function; throws where it holds an operator that is not known. */
export function compileFilter(filter: Document): Predicate {
  const predicates: Predicate[] = [];
  const others: Document = {};
  for (const [path, condition] of Object.entries(filter) as [string, unknown][]) {
    const compared = path.startsWith("$") ? undefined : compileComparisons(path, condition);
    if (compared) predicates.push(...compared);
    else others[path] = condition;
  }
  if (Object.keys(others).length > 0) {
    const query = new Query(others, { context, scriptEnabled: false });
    predicates.push((document) => query.test(document));
  }
  return (document) => predicates.every((predicate) => predicate(document));
}

/** True for `{$gt: 1}`, false for a value, an embedded document included. */
export function isOperators(condition: unknown): condition is Document {
  if (!isObject(condition)) return false;
  for (const key in condition) if (key.startsWith("$")) return true;
  return false;
}

/** Whether one value, not an array, stands in the relation to the operand. */
export function holds(comparison: string, value: unknown, operand: unknown): boolean {
  return comparisons[comparison]?.(value, operand) ?? false;
}

/** Whether a value is of a type by the name that $type gives it. */
export function isOfType(value: unknown, types: unknown): boolean {
  return value !== undefined && [types].flat().some((type) => TYPE_RANKS[String(type)] === typeRank(value));
}

function typesOf(operand: unknown): unknown[] {
  const types = [operand].flat();
  const unknown = types.find((type) => !Object.hasOwn(TYPE_RANKS, String(type)));
  if (unknown === undefined) return types;
  throw new Refusal({ code: BAD_VALUE, message: `$type: ${String(unknown)} is not supported` });
}

/** A condition of nothing but comparisons: there is no need to set up a query of mingo's for it. */
function compileComparisons(path: string, condition: unknown): Predicate[] | undefined {
  if (condition instanceof RegExp) return undefined;
  const conditions = isOperators(condition) ? condition : { $eq: condition };
  const predicates: Predicate[] = [];
  for (const [name, operand] of Object.entries(conditions) as [string, unknown][]) {
    const operator = operators[name];
    if (!operator) return undefined;
    predicates.push(operator(path, operand));
  }
  return predicates;
}

/** True where the test holds for what stands at the path, or for an element of an array there. */
function onCandidates(test: Test): Operator {
  return (path, operand) => {
    const parts = path.split(".");
    return (document) => candidates(document, parts).some((value) => test(value, operand));
  };
}

/** A condition on one element, or on the fields of an element that is a document. */
function elementMatches(path: string, operand: unknown): Predicate {
  const parts = path.split(".");
  const criteria = operand as Document;
  const onValue = isOperators(criteria) && !("$and" in criteria || "$or" in criteria || "$nor" in criteria);
  const matches = compileFilter(onValue ? { element: criteria } : criteria);
  const test = (element: unknown) => (onValue ? matches({ element }) : isObject(element) && matches(element));
  return (document) => valuesAt(document, parts).some((value) => Array.isArray(value) && value.some(test));
}

function not(operator: Operator): Operator {
  return (path, operand) => {
    const predicate = operator(path, operand);
    return (document) => !predicate(document);
  };
}

function equals(value: unknown, operand: unknown): boolean {
  if (operand instanceof RegExp) return typeof value === "string" && operand.test(value);
  return compareValues(value, operand) === 0;
}

function isOneOf(value: unknown, operands: unknown): boolean {
  return (operands as unknown[]).some((operand) => equals(value, operand));
}

function bracketed(ordered: (order: number) => boolean): Test {
  return (value, operand) => {
    if (typeRank(value) !== typeRank(operand)) return false;
    if (Number.isNaN(value) !== Number.isNaN(operand)) return false;
    return ordered(compareValues(value, operand));
  };
}
