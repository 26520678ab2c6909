import { DatabaseSync } from "node:sqlite";
import { SqlProblem } from "./sql-problem.ts";

/** What SQLite says of a statement that it has read to its end, but whose tables are elsewhere. */
const NOT_HERE = /^(?:no such|unknown database)/;

/** Throws a SqlProblem where SQLite cannot read the statement. It is prepared on an empty database, and never run. */
export function checkSqliteSyntax(sql: string): void {
  const database = new DatabaseSync(":memory:");
  try {
    database.prepare(sql);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    if (code !== "ERR_SQLITE_ERROR") throw error;
    if (!NOT_HERE.test(message)) throw new SqlProblem(message, { cause: error });
  } finally {
    database.close();
  }
}
