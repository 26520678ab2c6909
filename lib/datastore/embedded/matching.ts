/**
 * Whether a document matches a filter: mingo's query with the comparisons replaced by MongoDB's, from which mingo's
 * differ for strings beyond the BMP, for binary values and for null.
 */
import type { Document } from "mongodb";
import { Context } from "mingo/core";
import * as queryOperators from "mingo/operators/query";
import { Query } from "mingo/query";
import { compareValues, typeRank } from "./value-order.ts";
import { candidates } from "./value-path.ts";

type Predicate = (document: Document) => boolean;

const context = Context.init({
  query: {
    ...queryOperators,
    $eq: onCandidates(equals),
    $ne: not(onCandidates(equals)),
    $in: onCandidates(isOneOf),
    $nin: not(onCandidates(isOneOf)),
    $gt: onCandidates(bracketed((order) => order > 0)),
    $gte: onCandidates(bracketed((order) => order >= 0)),
    $lt: onCandidates(bracketed((order) => order < 0)),
    $lte: onCandidates(bracketed((order) => order <= 0)),
  } as typeof queryOperators,
});

/** The context that mingo's own code takes its query operators from. */
export const matchingOptions = { context, scriptEnabled: false };

/** The filter as a function; throws where it holds an operator that is not known. */
export function compileFilter(filter: Document): Predicate {
  const query = new Query(filter, matchingOptions);
  return (document) => query.test(document);
}

type Test = (value: unknown, operand: unknown) => boolean;
type Operator = (path: string, operand: unknown) => Predicate;

/** True where the test holds for what stands at the path, or for an element of an array there. */
function onCandidates(test: Test): Operator {
  return (path, operand) => {
    const parts = path.split(".");
    return (document) => candidates(document, parts).some((value) => test(value, operand));
  };
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

function bracketed(holds: (order: number) => boolean): Test {
  return (value, operand) => {
    if (typeRank(value) !== typeRank(operand)) return false;
    if (Number.isNaN(value) !== Number.isNaN(operand)) return false;
    return holds(compareValues(value, operand));
  };
}
