/** What the tokens of a statement show, however a parser would read it. */
import { isDenied } from "./denied-functions.ts";
import { SqlProblem, place } from "./sql-problem.ts";
import type { SqlDialect, SqlToken } from "./sql-tokens.ts";

const FIRST_WORDS = new Set(["select", "with", "values", "table"]);

/** Reserved words of MySQL, MariaDB and SQLite that no query has; a column of that name is in quotes. */
const WRITING_WORDS = new Set(["insert", "update", "delete", "into", "procedure", "returning"]);

/** Words that begin a query within an expression, or what may follow one. */
const QUERY_WORDS = new Set(["select", "with", "table", "union", "intersect", "except", "into"]);

/** Throws a SqlProblem where it is not one query that only reads; answers its tokens without a `;` at its end. */
export function checkStatementTokens(dialect: SqlDialect, tokens: readonly SqlToken[]): readonly SqlToken[] {
  const code = tokens.filter((token) => token.kind !== "comment");
  const semicolon = code.findIndex((token) => isSymbol(token, ";"));
  if (semicolon >= 0 && semicolon < code.length - 1) {
    throw new SqlProblem(`must be one statement; a second one begins ${place(code[semicolon + 1]!.at)}`);
  }
  const query = semicolon < 0 ? code : code.slice(0, semicolon);
  const first = query.find((token) => !isSymbol(token, "("));
  if (!first) throw new SqlProblem("must not be empty");
  if (first.kind !== "word" || !FIRST_WORDS.has(first.text)) {
    throw new SqlProblem(`must be a SELECT, and begins with ${first.text.slice(0, 30).toUpperCase()}`);
  }
  checkQuery(dialect, query);
  return query;
}

/** Throws a SqlProblem where it is more than a condition: it goes between parentheses, which it must not close. */
export function checkFilterTokens(dialect: SqlDialect, tokens: readonly SqlToken[]): void {
  if (tokens.length === 0) throw new SqlProblem("must not be empty");
  let depth = 0;
  for (const [index, token] of tokens.entries()) {
    if (token.kind === "comment") throw new SqlProblem(`must not hold a comment, and does ${place(token.at)}`);
    if (isSymbol(token, ";")) throw new SqlProblem(`must be one condition; ";" ${place(token.at)} ends it`);
    if (isSymbol(token, "(")) depth += 1;
    if (isSymbol(token, ")")) depth -= 1;
    if (isSymbol(token, ",") && depth === 0)
      throw new SqlProblem(`must be one condition; "," ${place(token.at)} begins another`);
    if (isWord(token) && QUERY_WORDS.has(token.text) && !isSymbol(tokens[index - 1], ".")) {
      throw new SqlProblem(
        `must be a condition on the columns, without ${token.text.toUpperCase()} ${place(token.at)}`,
      );
    }
    // SQLite reads `IN name` as all of that table.
    if (dialect === "sqlite" && isWord(token, "in") && !isSymbol(tokens[index + 1], "(")) {
      throw new SqlProblem(`must have a list in parentheses after IN ${place(token.at)}`);
    }
  }
  checkQuery(dialect, tokens);
}

function checkQuery(dialect: SqlDialect, tokens: readonly SqlToken[]): void {
  for (const [index, token] of tokens.entries()) {
    const next = tokens[index + 1];
    checkCall(dialect, token, next);
    // The parser of PostgreSQL is the database's own, and says better what the statement is.
    if (dialect === "postgresql") continue;
    checkVariables(dialect, token, next);
    if (token.kind === "word" && !isSymbol(tokens[index - 1], ".")) checkWord(token, next, tokens[index + 2]);
  }
}

/** SQLite takes a text for a name where only a name can stand, and reads a function that makes a table without a call too. */
function checkCall(dialect: SqlDialect, token: SqlToken, next: SqlToken | undefined): void {
  if (token.kind === "symbol" || token.kind === "number") return;
  const name = token.kind === "string" ? token.text.slice(1, -1) : token.text;
  const calls = isSymbol(next, "(") || (dialect === "sqlite" && name.toLowerCase().startsWith("pragma_"));
  if (calls && isDenied(dialect, name)) throw new SqlProblem(`must not call ${name}, and does ${place(token.at)}`);
}

function checkVariables(dialect: SqlDialect, token: SqlToken, next: SqlToken | undefined): void {
  const named = dialect === "sqlite" && isSymbol(token, ":") && next?.at === token.end;
  if (isSymbol(token, "@") || isSymbol(token, "?") || isSymbol(token, "$") || named) {
    throw new SqlProblem(`must hold no variable or parameter, and does ${place(token.at)}`);
  }
}

function checkWord(token: SqlToken, next: SqlToken | undefined, afterNext: SqlToken | undefined): void {
  const locks =
    (token.text === "for" && (isWord(next, "update") || isWord(next, "share"))) ||
    (token.text === "lock" && isWord(next, "in") && isWord(afterNext, "share"));
  if (locks) throw new SqlProblem(`must not lock rows, and does ${place(token.at)}`);
  // INSERT(…) is a function of MySQL.
  if (WRITING_WORDS.has(token.text) && !(token.text === "insert" && isSymbol(next, "("))) {
    throw new SqlProblem(`must only read, and has ${token.text.toUpperCase()} ${place(token.at)}`);
  }
  if ((token.text === "next" || token.text === "previous") && isWord(next, "value") && isWord(afterNext, "for")) {
    throw new SqlProblem(`must not advance a sequence, and does ${place(token.at)}`);
  }
}

function isSymbol(token: SqlToken | undefined, text: string): boolean {
  return token?.kind === "symbol" && token.text === text;
}

function isWord(token: SqlToken | undefined, text?: string): boolean {
  return token?.kind === "word" && (text === undefined || token.text === text);
}
