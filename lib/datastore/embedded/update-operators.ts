/**
 * What each update operator does at a path. Where mingo's differ from MongoDB's (they take bytes for equal that are not,
 * and NaN, nulls and arrays within arrays for what they are not) they are ours.
 */
import type { Document } from "mongodb";
import * as mingo from "mingo/operators/update";
import { compileFilter, context, isOperators } from "./matching.ts";
import { compareValues } from "./value-order.ts";
import { isObject, ownValue } from "./value-path.ts";

/** Changes the document at the path, and says whether it did. */
export type Mutation = (document: Document) => boolean;
type Operator = (path: string, operand: unknown) => Mutation;
type MingoOperator = typeof mingo.$set;

/** Undefined for an operator that is not known. */
export const updateOperators: Partial<Record<string, Operator>> = {
  $set: atPath((_current, operand) => operand),
  $min: atPath((current, operand) => (isLess(operand, current) ? operand : current)),
  $max: atPath((current, operand) => (isLess(current, operand) ? operand : current)),
  $addToSet: atPath(addToSet),
  $pull,
  $unset: ofMingo(mingo.$unset as MingoOperator),
  $inc: ofMingo(mingo.$inc as MingoOperator),
  $push: ofMingo(mingo.$push as MingoOperator),
  $currentDate: ofMingo(mingo.$currentDate as MingoOperator),
};

/** An operator that computes the value at the path from what stands there; the same value changes nothing. */
function atPath(compute: (current: unknown, operand: unknown) => unknown): Operator {
  return (path, operand) => {
    const parts = path.split(".");
    const last = parts.pop() ?? "";
    return (document) => {
      let parent = document;
      for (const part of parts) {
        if (ownValue(parent, part) === undefined) parent[part] = {};
        parent = parent[part] as Document;
      }
      const current = ownValue(parent, last);
      const value = compute(current, operand);
      if (current !== undefined && isSame(current, value)) return false;
      parent[last] = value;
      return true;
    };
  };
}

/** Missing loses against everything, null included. */
function isLess(value: unknown, other: unknown): boolean {
  return other === undefined || value === undefined || compareValues(value, other) < 0;
}

function isSame(a: unknown, b: unknown): boolean {
  return compareValues(a, b) === 0 && Object.is(a, -0) === Object.is(b, -0);
}

function addToSet(current: unknown, operand: unknown): unknown[] {
  const added = isObject(operand) && "$each" in operand ? (operand.$each as unknown[]) : [operand];
  const set = [...((current ?? []) as unknown[])];
  for (const value of added) if (!set.some((member) => compareValues(member, value) === 0)) set.push(value);
  return set;
}

function $pull(path: string, operand: unknown): Mutation {
  const parts = path.split(".");
  const last = parts.pop() ?? "";
  const isPulled = pullTest(operand);
  return (document) => {
    let parent: Document | undefined = document;
    for (const part of parts) parent = parent && (ownValue(parent, part) as Document | undefined);
    const array = parent && (ownValue(parent, last) as unknown[] | undefined);
    if (!parent || !array) return false;
    const kept = array.filter((element) => !isPulled(element));
    parent[last] = kept;
    return kept.length < array.length;
  };
}

/** A condition on the elements, on the fields of elements that are documents, or a value that they equal. */
function pullTest(operand: unknown): (element: unknown) => boolean {
  if (isOperators(operand) || operand instanceof RegExp) {
    const matches = compileFilter({ element: operand });
    return (element) => matches({ element });
  }
  if (!isObject(operand)) return (element) => compareValues(element, operand) === 0;
  const matches = compileFilter(operand);
  return (element) => isObject(element) && matches(element);
}

/**
 * Calls mingo's operator with what mingo's updater would give it. The updater itself sets up all of its operators for each
 * update, which takes longer than the update.
 */
function ofMingo(operator: MingoOperator): Operator {
  return (path, operand) => {
    const updateParams = { [path]: { node: { selector: path }, queries: {} } };
    const local = { updateConfig: { cloneMode: "none" }, updateParams };
    const options = { context, idKey: "_id", scriptEnabled: false, now: new Date(), local };
    const mutate = operator({ [path]: operand }, [], options as unknown as Parameters<MingoOperator>[2]);
    return (document) => mutate(document).length > 0;
  };
}
