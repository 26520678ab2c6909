/**
 * What a statement is to node-sql-parser, which reads most of what MySQL and MariaDB do. Not: VALUES and TABLE as statements,
 * JSON_TABLE, PARTITION (…), MEMBER OF, SUBSTRING(… FROM …), CHAR(… USING …), and some words as names that need quotes
 * elsewhere (`position`).
 */
import { SqlProblem, place } from "./sql-problem.ts";
import type { SqlToken } from "./sql-tokens.ts";

/** Types of nodes that a query may have; what is not among them is refused. */
const ALLOWED = new Set([
  "select",
  "column_ref",
  "star",
  "dual",
  "default",
  "number",
  "bigint",
  "bool",
  "boolean",
  "null",
  "string",
  "single_quote_string",
  "double_quote_string",
  "backticks_quote_string",
  "natural_string",
  "hex_string",
  "full_hex_string",
  "bit_string",
  "date",
  "datetime",
  "time",
  "timestamp",
  "interval",
  "binary_expr",
  "unary_expr",
  "expr_list",
  "expr",
  "function",
  "aggr_func",
  "window_func",
  "window",
  "rows",
  "fulltext_search",
  "extract",
  "cast",
  "datatype",
  "case",
  "when",
  "else",
  "collate",
  "origin",
  "ESCAPE",
  "ASC",
  "DESC",
]);

/** Throws a SqlProblem where the statement of these tokens is anything but one query. */
export async function checkMysqlStatement(sql: string, tokens: readonly SqlToken[]): Promise<void> {
  for (const root of await parseAll(readable(sql, tokens), 0)) checkNode(root);
}

/** The same where the text is anything but a condition. */
export async function checkMysqlFilter(expression: string, tokens: readonly SqlToken[]): Promise<void> {
  const before = "SELECT 1 FROM t WHERE (";
  const [root, ...more] = await parseAll(`${before}${readable(expression, tokens)})`, before.length);
  const { where, ...rest } = root as Record<string, unknown>;
  if (more.length > 0 || !where || ENDS.some((end) => rest[end])) {
    throw new SqlProblem("must be a condition and nothing after it");
  }
  checkNode(root);
}

/** What may follow a condition. */
const ENDS = ["groupby", "having", "orderby", "limit", "window", "_next", "locking_read"];

async function parseAll(sql: string, offset: number): Promise<object[]> {
  const { default: parser } = await import("node-sql-parser/build/mysql.js");
  try {
    return [new parser.Parser().astify(sql, { database: "MySQL" })].flat();
  } catch (error) {
    const { name, message, location } = error as Error & { location?: { start: { offset: number } } };
    if (name !== "SyntaxError" || !location) throw error;
    const found = /but (.{1,40}) found\.$/s.exec(message)?.[1] ?? "this";
    const at = Math.max(location.start.offset - offset, 0);
    throw new SqlProblem(`cannot be read: unexpected ${found} ${place(at)}`, { cause: error });
  }
}

function checkNode(node: unknown): void {
  if (Array.isArray(node)) {
    for (const item of node) checkNode(item);
    return;
  }
  if (typeof node !== "object" || node === null) return;
  const { type } = node as { type?: unknown };
  if (typeof type === "string" && !ALLOWED.has(type)) {
    throw new SqlProblem(`must be a SELECT, and has ${type.replaceAll("_", " ").toUpperCase()}`);
  }
  for (const [key, value] of Object.entries(node)) {
    if (key === "locking_read" && value) throw new SqlProblem("must not lock rows (FOR UPDATE or SHARE)");
    checkNode(value);
  }
}

const INDEX_HINTS = new Set(["use", "force", "ignore"]);

/**
 * The same statement, and as long, as the parser can read it: without comments and index hints, and with plainer forms of
 * what it does not know. Its texts hold no quotes, so that it cannot see another end of them; of a list of values the first
 * stands for all.
 */
function readable(sql: string, tokens: readonly SqlToken[]): string {
  let text = "";
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index]!;
    text += " ".repeat(token.at - text.length);
    const hint = endOfIndexHint(tokens, index);
    if (hint !== undefined) index = hint;
    else if (isFurtherValue(tokens, index)) index += 1;
    else text += plainForm(sql, tokens, index).padEnd(token.end - token.at);
  }
  return text;
}

/** Whether a comma and a value follow another in a list: one of 10,000 values takes the parser a second. */
function isFurtherValue(tokens: readonly SqlToken[], index: number): boolean {
  const marks = [tokens[index - 2], tokens[index], tokens[index + 2]];
  const values = [tokens[index - 1], tokens[index + 1]];
  return (
    marks.every((mark) => mark?.kind === "symbol" && "(,)".includes(mark.text)) &&
    tokens[index]!.text === "," &&
    values.every((value) => value?.kind === "number" || value?.kind === "string")
  );
}

/** The place of the token that ends `FORCE INDEX FOR JOIN (…)`, where such a one begins. */
function endOfIndexHint(tokens: readonly SqlToken[], from: number): number | undefined {
  const [first, second] = [tokens[from]!, tokens[from + 1]];
  if (first.kind !== "word" || !INDEX_HINTS.has(first.text)) return undefined;
  if (second?.text !== "index" && second?.text !== "key") return undefined;
  const end = tokens.findIndex((token, index) => index > from && token.kind === "symbol" && token.text === ")");
  return end < 0 ? undefined : end;
}

function plainForm(sql: string, tokens: readonly SqlToken[], index: number): string {
  const [before, token] = [tokens[index - 1], tokens[index]!];
  const written = sql.slice(token.at, token.end);
  switch (token.kind) {
    case "comment":
      return "";
    case "string":
    case "quoted":
      return written[0] + written.slice(1, -1).replace(/["'`\\]/g, "x") + written[0];
    case "number":
      return written.startsWith(".") ? written.slice(1) : written;
    case "word":
      return before?.text === "." ? written : plainWord(written, token.text, before);
    case "symbol":
      // `<=>` becomes `<=`.
      return token.text === ">" && before?.text === "=" && tokens[index - 2]?.text === "<" ? "" : written;
  }
}

function plainWord(written: string, word: string, before: SqlToken | undefined): string {
  const afterSelect = before?.text === "select";
  if (word === "straight_join") return afterSelect ? "" : "JOIN";
  if (word === "distinctrow" && afterSelect) return "DISTINCT";
  if ((word === "all" && afterSelect) || word === "natural") return "";
  return written;
}
