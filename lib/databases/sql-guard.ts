/**
 * What parsing alone can refuse of the SQL that a request brings, with the reason. It is there for early and clear errors,
 * and for what a read-only transaction lets pass (`denied-functions.ts`); the transaction is the guard against writes.
 */
import { invalidArgument } from "../errors.ts";
import { checkAggregation, checkMongodbFilter } from "./aggregation-guard.ts";
import type { Dialect } from "./database.ts";
import { SqlProblem } from "./sql-problem.ts";
import { problemOf } from "./sql-thread.ts";

const MAX_BYTES = 1024 * 1024;
const MAX_NAME = 255;

/** Throws INVALID_ARGUMENT of the field where the statement is not one query that only reads. */
export async function checkStatement(dialect: Dialect, sql: string, field: string): Promise<void> {
  await check(dialect, "statement", sql, field);
}

/**
 * Throws INVALID_ARGUMENT of the field where the text is not the condition of a WHERE, or reads other tables. Put it
 * between parentheses: `WHERE (…)`.
 */
export async function checkFilter(dialect: Dialect, expression: string, field: string): Promise<void> {
  await check(dialect, "filter", expression, field);
}

async function check(dialect: Dialect, kind: "statement" | "filter", text: string, field: string): Promise<void> {
  if (Buffer.byteLength(text) > MAX_BYTES) throw invalidArgument(field, `must be at most ${MAX_BYTES} bytes`);
  if (text.includes("\0")) throw invalidArgument(field, "must not hold a NUL character");
  if (!text.isWellFormed()) throw invalidArgument(field, "must be well-formed Unicode");
  const problem = dialect === "mongodb" ? mongodbProblem(kind, text) : await problemOf({ dialect, kind, sql: text });
  if (problem !== undefined) throw invalidArgument(field, problem);
}

function mongodbProblem(kind: "statement" | "filter", text: string): string | undefined {
  try {
    if (kind === "statement") checkAggregation(text);
    else checkMongodbFilter(text);
    return undefined;
  } catch (error) {
    if (error instanceof SqlProblem) return error.message;
    throw error;
  }
}

/** The name of a table, column or schema as SQL has it; throws a TypeError for what can be none, and for MongoDB. */
export function quoteIdentifier(dialect: Dialect, name: string): string {
  if (dialect === "mongodb") throw new TypeError("MongoDB has no quoted names");
  if (name === "" || name.length > MAX_NAME || name.includes("\0") || !name.isWellFormed()) {
    throw new TypeError(`${JSON.stringify(name.slice(0, MAX_NAME))} cannot be a name`);
  }
  const quote = dialect === "mysql" || dialect === "mariadb" ? "`" : '"';
  return quote + name.replaceAll(quote, quote + quote) + quote;
}
