/** What a statement is to PostgreSQL's own parser, compiled to WebAssembly (https://github.com/pganalyze/libpg_query). */
import { isDenied } from "./denied-functions.ts";
import { SqlProblem, place } from "./sql-problem.ts";

/** Nodes of expressions; a condition may have no others. */
const EXPRESSIONS = [
  "A_ArrayExpr",
  "A_Const",
  "A_Expr",
  "A_Indices",
  "A_Indirection",
  "A_Star",
  "BitString",
  "BoolExpr",
  "Boolean",
  "BooleanTest",
  "CaseExpr",
  "CaseWhen",
  "CoalesceExpr",
  "CollateClause",
  "ColumnRef",
  "Float",
  "FuncCall",
  "GroupingFunc",
  "Integer",
  "JsonArgument",
  "JsonArrayAgg",
  "JsonArrayConstructor",
  "JsonFuncExpr",
  "JsonIsPredicate",
  "JsonKeyValue",
  "JsonObjectAgg",
  "JsonObjectConstructor",
  "JsonParseExpr",
  "JsonScalarExpr",
  "JsonSerializeExpr",
  "JsonValueExpr",
  "List",
  "MinMaxExpr",
  "NamedArgExpr",
  "NullTest",
  "RowExpr",
  "SQLValueFunction",
  "SortBy",
  "String",
  "TypeCast",
  "TypeName",
  "WindowDef",
  "XmlExpr",
  "XmlSerialize",
];

/** What a query has beside them. INTO is a field of a SelectStmt, and has no node. */
const QUERIES = [
  "ColumnDef",
  "CommonTableExpr",
  "GroupingSet",
  "JoinExpr",
  "JsonArrayQueryConstructor",
  "JsonTable",
  "JsonTableColumn",
  "RangeFunction",
  "RangeSubselect",
  "RangeTableFunc",
  "RangeTableFuncCol",
  "RangeTableSample",
  "RangeVar",
  "ResTarget",
  "SelectStmt",
  "SubLink",
];

const IN_FILTER = new Set(EXPRESSIONS);
const IN_QUERY = new Set([...EXPRESSIONS, ...QUERIES]);

const EXPLAINED: Record<string, string> = {
  LockingClause: "must not lock rows (FOR UPDATE or SHARE)",
  ParamRef: "must hold no parameter such as $1",
  SubLink: "must not hold a query",
};

interface Statements {
  stmts?: { stmt?: Record<string, unknown> }[];
}

/** Throws a SqlProblem where the statement is anything but one query. */
export async function checkPostgresqlStatement(sql: string): Promise<void> {
  const select = await parseSelect(sql, 0);
  checkNode(select, IN_QUERY);
}

/** The same where the text is anything but a condition. */
export async function checkPostgresqlFilter(expression: string): Promise<void> {
  const before = "SELECT FROM t WHERE (";
  const { whereClause, ...rest } = await parseSelect(`${before}${expression}\n)`, before.length);
  if (!whereClause || Object.keys(rest).sort().join() !== "fromClause,limitOption,op" || rest["op"] !== "SETOP_NONE") {
    throw new SqlProblem("must be a condition and nothing after it");
  }
  checkNode(whereClause, IN_FILTER);
}

async function parseSelect(sql: string, offset: number): Promise<Record<string, unknown>> {
  const { parse, hasSqlDetails } = await import("libpg-query");
  let statements: Statements;
  try {
    statements = (await parse(sql)) as Statements;
  } catch (error) {
    if (!hasSqlDetails(error)) throw error;
    const at = Math.max((error.sqlDetails?.cursorPosition ?? 0) - offset, 0);
    throw new SqlProblem(`${error.message} ${place(at)}`, { cause: error });
  }
  const [first, second] = statements.stmts ?? [];
  if (!first?.stmt) throw new SqlProblem("must not be empty");
  if (second) throw new SqlProblem("must be one statement, and a second one follows");
  const [kind] = Object.keys(first.stmt);
  if (kind !== "SelectStmt") throw new SqlProblem(`must be a SELECT, and is ${statementName(kind!)}`);
  return first.stmt["SelectStmt"] as Record<string, unknown>;
}

/** `DropStmt`: `a DROP`. */
function statementName(kind: string): string {
  const words = kind.replace(/Stmt$/, "").replace(/(?<=[a-z])(?=[A-Z])/g, " ");
  return `a ${words.toUpperCase()}`;
}

/** A node of its own is under its type, with a capital; else its type is that of the field. */
function checkNode(node: unknown, allowed: ReadonlySet<string>): void {
  if (Array.isArray(node)) {
    for (const item of node) checkNode(item, allowed);
    return;
  }
  if (typeof node !== "object" || node === null) return;
  for (const [key, value] of Object.entries(node)) {
    if (key === "intoClause") throw new SqlProblem("must only read, and makes a table (SELECT … INTO)");
    if (/^[A-Z]/.test(key)) {
      if (!allowed.has(key)) throw new SqlProblem(EXPLAINED[key] ?? `must be a SELECT, and has ${statementName(key)}`);
      if (key === "FuncCall") checkNames((value as { funcname?: unknown }).funcname);
      // `('f').pg_read_file` is a call too.
      if (key === "A_Indirection") checkNames((value as { indirection?: unknown }).indirection);
      if (key === "ColumnRef") checkNames((value as { fields?: unknown }).fields);
    }
    checkNode(value, allowed);
  }
}

function checkNames(parts: unknown): void {
  if (!Array.isArray(parts)) return;
  for (const part of parts as { String?: { sval?: string } }[]) {
    const name = part.String?.sval;
    if (name !== undefined && isDenied("postgresql", name)) throw new SqlProblem(`must not call ${name}`);
  }
}
