import type { Dialect } from "./database.ts";
import { SqlProblem, place } from "./sql-problem.ts";

export type SqlDialect = Exclude<Dialect, "mongodb">;

export interface SqlToken {
  /** `quoted`: a name in quotes, or what may be one: some settings read `"x"` as a text and some as a name. */
  kind: "word" | "quoted" | "string" | "number" | "symbol" | "comment";
  /** Of a word in small letters; of a quoted name what stands between the quotes; else as it is written. */
  text: string;
  /** Of its first character, from 0. */
  at: number;
  end: number;
}

/** A reader of every database is sure to have an end before so many; so has ours. */
const MAX_DEPTH = 100;

const SPACE = /[ \t\n\r\f\v]*/y;
const WORD = /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/y;
const NUMBER = /\.?\d[\w.$\u0080-\uffff]*/y;
const DOLLAR_QUOTE = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y;
const LINE = /[^\n]*/y;
const LINE_OF_POSTGRESQL = /[^\n\r]*/y;

/**
 * Splits a statement as its database would, comments included. Refuses what databases of the dialect read differently by
 * their version or settings, what does not end, and brackets that do not match or are nested too deep.
 */
export function tokenize(dialect: SqlDialect, sql: string): SqlToken[] {
  const tokens: SqlToken[] = [];
  const brackets: SqlToken[] = [];
  for (let at = match(SPACE, sql, 0); at < sql.length; at = match(SPACE, sql, at)) {
    const token = readToken(dialect, sql, at, tokens.at(-1));
    tokens.push(token);
    if (token.kind === "symbol") checkBrackets(token, brackets);
    at = token.end;
  }
  const open = brackets.at(-1);
  if (open) throw new SqlProblem(`"${open.text}" ${place(open.at)} is not closed`);
  return tokens;
}

const CLOSING: Record<string, string> = { ")": "(", "]": "[", "}": "{" };

function checkBrackets(token: SqlToken, brackets: SqlToken[]): void {
  if ("([{".includes(token.text)) {
    brackets.push(token);
    if (brackets.length > MAX_DEPTH) throw new SqlProblem(`is nested deeper than ${MAX_DEPTH} ${place(token.at)}`);
  } else if (token.text in CLOSING && brackets.pop()?.text !== CLOSING[token.text]) {
    throw new SqlProblem(`"${token.text}" ${place(token.at)} closes nothing`);
  }
}

function readToken(dialect: SqlDialect, sql: string, at: number, before: SqlToken | undefined): SqlToken {
  const character = sql[at]!;
  const isMysql = dialect === "mysql" || dialect === "mariadb";
  if (character === "-" && sql[at + 1] === "-") return lineComment(dialect, sql, at);
  if (character === "#" && isMysql) return lineComment(dialect, sql, at);
  if (character === "/" && sql[at + 1] === "*") return blockComment(dialect, sql, at);
  if (character === "'") return quotedText("string", sql, at, isEscapeString(dialect, before, at));
  if (character === '"') return quotedText("quoted", sql, at, false);
  if (character === "`" && dialect !== "postgresql") return quotedName(sql, at, "`");
  if (character === "[" && dialect === "sqlite") return quotedName(sql, at, "]");
  if (character === "$" && dialect === "postgresql") {
    const quoted = dollarQuoted(sql, at);
    if (quoted) return quoted;
  }
  const word = match(WORD, sql, at);
  if (word > at) return { kind: "word", text: sql.slice(at, word).toLowerCase(), at, end: word };
  const number = match(NUMBER, sql, at);
  if (number > at) return { kind: "number", text: sql.slice(at, number), at, end: number };
  if (character <= " " || character === "\u007f" || character === "\\" || (character === "#" && dialect === "sqlite")) {
    throw new SqlProblem(`has an unexpected character ${JSON.stringify(character)} ${place(at)}`);
  }
  return { kind: "symbol", text: character, at, end: at + 1 };
}

function lineComment(dialect: SqlDialect, sql: string, at: number): SqlToken {
  if (
    sql[at] === "-" &&
    (dialect === "mysql" || dialect === "mariadb") &&
    !/^[\s\u0000-\u001f]?$/.test(sql.charAt(at + 2))
  ) {
    throw new SqlProblem(
      `"--" ${place(at)} is a comment to some and two minuses to others; put a space after or between`,
    );
  }
  const end = match(dialect === "postgresql" ? LINE_OF_POSTGRESQL : LINE, sql, at);
  return { kind: "comment", text: sql.slice(at, end), at, end };
}

function blockComment(dialect: SqlDialect, sql: string, at: number): SqlToken {
  if ((dialect === "mysql" || dialect === "mariadb") && /^\/\*M?[!+]/i.test(sql.slice(at, at + 4))) {
    throw new SqlProblem(`the comment ${place(at)} is one that the database runs`);
  }
  let depth = 1;
  let end = at + 2;
  while (depth > 0) {
    const close = sql.indexOf("*/", end);
    if (close < 0) throw new SqlProblem(`the comment ${place(at)} does not end`);
    const open = dialect === "postgresql" ? sql.indexOf("/*", end) : -1;
    const isOpening = open >= 0 && open < close;
    depth += isOpening ? 1 : -1;
    end = (isOpening ? open : close) + 2;
  }
  return { kind: "comment", text: sql.slice(at, end), at, end };
}

/** Of PostgreSQL `E'…'`: there a backslash is an escape, whatever the settings say. */
function isEscapeString(dialect: SqlDialect, before: SqlToken | undefined, at: number): boolean {
  return dialect === "postgresql" && before?.kind === "word" && before.text === "e" && before.end === at;
}

/**
 * A quote within is doubled. A backslash before one is an escape or not by settings (NO_BACKSLASH_ESCAPES, ANSI_QUOTES,
 * standard_conforming_strings), which move the end of the text: it is refused where it is not sure to be an escape.
 */
function quotedText(kind: "string" | "quoted", sql: string, at: number, escapes: boolean): SqlToken {
  const quote = sql[at]!;
  for (let end = at + 1; end < sql.length; end++) {
    if (sql[end] === "\\") {
      end += 1;
      if (sql[end] === quote && !escapes) {
        throw new SqlProblem(
          `a backslash before a quote ${place(end - 1)} is read differently by settings; write ${quote}${quote}`,
        );
      }
    } else if (sql[end] === quote) {
      if (sql[end + 1] !== quote) {
        const text = kind === "string" ? sql.slice(at, end + 1) : unquoted(sql, at, end, quote);
        return { kind, text, at, end: end + 1 };
      }
      end += 1;
    }
  }
  throw new SqlProblem(`the quote ${place(at)} is not closed`);
}

function quotedName(sql: string, at: number, close: "`" | "]"): SqlToken {
  let end = sql.indexOf(close, at + 1);
  while (close === "`" && end >= 0 && sql[end + 1] === "`") end = sql.indexOf(close, end + 2);
  if (end < 0) throw new SqlProblem(`the quote ${place(at)} is not closed`);
  return { kind: "quoted", text: unquoted(sql, at, end, close), at, end: end + 1 };
}

function unquoted(sql: string, at: number, end: number, quote: string): string {
  return sql.slice(at + 1, end).replaceAll(quote + quote, quote);
}

function dollarQuoted(sql: string, at: number): SqlToken | undefined {
  const begin = match(DOLLAR_QUOTE, sql, at);
  if (begin === at) return undefined;
  const tag = sql.slice(at, begin);
  const close = sql.indexOf(tag, begin);
  if (close < 0) throw new SqlProblem(`the dollar quote ${place(at)} is not closed`);
  return { kind: "string", text: sql.slice(at, close + tag.length), at, end: close + tag.length };
}

/** Where a match of the sticky pattern that begins there ends; the same place where there is none. */
function match(pattern: RegExp, sql: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(sql) ? pattern.lastIndex : at;
}
