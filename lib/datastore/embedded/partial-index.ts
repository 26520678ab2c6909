/** Conditions of partial indexes: their SQL, and whether a filter keeps within them, so that the index may serve it. */
import type { Document } from "mongodb";
import { invalidArgument } from "../../errors.ts";
import { encodeKey, NULL_KEY, quoteKey } from "./index-key.ts";
import { holds, isOfType, isOperators } from "./matching.ts";
import type { ColumnOf, Fact } from "./narrowing.ts";
import { bracketOf, bracketOfType } from "./narrowing.ts";

const COMPARISONS: Record<string, string> = { $eq: "=", $gt: ">", $gte: ">=", $lt: "<", $lte: "<=" };

/** The conditions of a partialFilterExpression, one for each path and operator. */
export function conditionsOf(expression: Document, index: string): Fact[] {
  return Object.entries(expression).flatMap(([path, condition]: [string, unknown]): Fact[] => {
    if (path === "$and") return (condition as Document[]).flatMap((part) => conditionsOf(part, index));
    const operators = isOperators(condition) ? condition : { $eq: condition };
    return Object.entries(operators).map(([operator, value]: [string, unknown]) => {
      const fact = { path, operator, value } as Fact;
      if (path.startsWith("$") || !isSupported(fact)) {
        throw invalidArgument(`index ${index}`, `partialFilterExpression: ${path}: ${operator} is not supported`);
      }
      return fact;
    });
  });
}

function isSupported({ operator, value }: Fact): boolean {
  if (operator === "$exists") return value === true;
  if (operator === "$type") return bracketOfType(value) !== undefined;
  const key = encodeKey(value);
  return operator in COMPARISONS && key !== undefined && (operator === "$eq" || bracketOf(key) !== undefined);
}

/**
 * The WHERE of the index. Null counts as missing: a document with an explicit null is outside of an index on `$exists`,
 * and since no filter for null implies that condition no query misses it.
 */
export function partialSql(conditions: Fact[], columnOf: ColumnOf): string {
  return conditions
    .flatMap(({ path, operator, value }) => {
      const column = columnOf(path) ?? "";
      if (operator === "$exists") return [`${column} > -9e999`];
      const key = encodeKey(value) ?? NULL_KEY;
      if (operator === "$eq") return [`${column} = ${quoteKey(key)}`];
      const bracket = (operator === "$type" ? bracketOfType(value) : bracketOf(key)) ?? [];
      const within = bracket.map((bound) => `${column} ${bound}`);
      return operator === "$type" ? within : [`${column} ${COMPARISONS[operator]} ${quoteKey(key)}`, ...within];
    })
    .join(" AND ");
}

/** True where every document that the facts hold for is in the index. */
export function implies(facts: readonly Fact[], conditions: readonly Fact[]): boolean {
  return conditions.every((condition) =>
    facts.some((fact) => fact.path === condition.path && entails(fact, condition)),
  );
}

function entails(fact: Fact, condition: Fact): boolean {
  switch (fact.operator) {
    case "$eq":
      return satisfies(fact.value, condition);
    case "$in":
      return (fact.value as unknown[]).every((value) => satisfies(value, condition));
    case "$gt":
    case "$gte":
    case "$lt":
    case "$lte":
      return rangeEntails(fact, condition);
    case "$exists":
    case "$type":
      return false;
  }
}

function satisfies(value: unknown, { operator, value: operand }: Fact): boolean {
  if (operator === "$exists") return value !== null && value !== undefined;
  if (operator === "$type") return isOfType(value, operand);
  return holds(operator, value, operand);
}

/** A range lies within one type, and within another range where its bound does and they open the same way. */
function rangeEntails(fact: Fact, condition: Fact): boolean {
  if (condition.operator === "$exists") return true;
  if (condition.operator === "$type") return isOfType(fact.value, condition.value);
  if (condition.operator.slice(0, 3) !== fact.operator.slice(0, 3)) return false;
  // What is greater than 5 is greater than 5: an open range may begin where the condition does.
  const open = fact.operator === "$gt" ? "$gte" : fact.operator === "$lt" ? "$lte" : undefined;
  return satisfies(fact.value, open ? { ...condition, operator: open } : condition);
}
