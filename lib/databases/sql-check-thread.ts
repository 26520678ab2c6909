import { parentPort } from "node:worker_threads";
import type { SqlToCheck } from "./sql-check.ts";
import { checkSql } from "./sql-check.ts";
import { SqlProblem } from "./sql-problem.ts";

/** What is wrong with the statement; undefined where nothing is. */
export interface SqlVerdict {
  problem?: string;
}

const port = parentPort!;

async function judge(check: SqlToCheck): Promise<SqlVerdict> {
  try {
    await checkSql(check);
    return {};
  } catch (error) {
    // Any other error ends the thread: the parser's memory may not be sound after it.
    if (error instanceof SqlProblem) return { problem: error.message };
    throw error;
  }
}

port.on("message", (check: SqlToCheck) => void judge(check).then((verdict) => port.postMessage(verdict)));
port.postMessage("ready");
