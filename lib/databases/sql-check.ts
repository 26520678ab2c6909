/** The check of a statement or filter, as the thread of `sql-guard.ts` runs it. */
import { checkMysqlFilter, checkMysqlStatement } from "./mysql-tree.ts";
import { checkPostgresqlFilter, checkPostgresqlStatement } from "./postgresql-tree.ts";
import type { SqlDialect } from "./sql-tokens.ts";
import { tokenize } from "./sql-tokens.ts";
import { checkSqliteSyntax } from "./sqlite-syntax.ts";
import { checkFilterTokens, checkStatementTokens } from "./token-rules.ts";

export interface SqlToCheck {
  dialect: SqlDialect;
  kind: "statement" | "filter";
  sql: string;
}

/** Throws a SqlProblem where the text is not what it must be. */
export async function checkSql({ dialect, kind, sql }: SqlToCheck): Promise<void> {
  const tokens = tokenize(dialect, sql);
  if (kind === "statement") {
    const query = checkStatementTokens(dialect, tokens);
    if (dialect === "postgresql") await checkPostgresqlStatement(sql);
    else if (dialect === "sqlite") checkSqliteSyntax(sql);
    else await checkMysqlStatement(sql, query);
  } else {
    checkFilterTokens(dialect, tokens);
    if (dialect === "postgresql") await checkPostgresqlFilter(sql);
    else if (dialect === "sqlite") checkSqliteSyntax(`SELECT 1 FROM t WHERE (${sql}\n)`);
    else await checkMysqlFilter(sql, tokens);
  }
}
