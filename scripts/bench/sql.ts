/**
 * Databases of users: what is exported and imported against the databases' own programs, what memory it takes, and how soon a
 * cancelled statement ends on the server. `npm run bench -- sql [PART …]`; without a part all of them. Linux only.
 */
import { Run } from "../servers/run.ts";
import { MissingProgram } from "./queue/missing-program.ts";
import { printVerdict, type Figure } from "./queue/verdict.ts";
import { measureCancelling } from "./sql/cancelling.ts";
import { measureExports } from "./sql/exports.ts";
import { measureImports } from "./sql/imports.ts";
import { measureMemory } from "./sql/memory.ts";
import { startSqlServers, type SqlServers } from "./sql/servers.ts";

type Measure = (run: Run, servers: SqlServers) => Promise<Figure[]>;

const PARTS: Record<string, Measure> = {
  exports: measureExports,
  imports: measureImports,
  memory: measureMemory,
  cancelling: measureCancelling,
};

/** Measures the parts that are named, or all; prints what was measured and what was to be reached. */
export async function run(names: string[]): Promise<void> {
  const unknown = names.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined) {
    console.error(`sql has no part ${unknown}, but ${Object.keys(PARTS).join(", ")}`);
    process.exitCode = 1;
    return;
  }
  const processes = new Run();
  try {
    const servers = await startSqlServers(processes);
    const figures: Figure[] = [];
    for (const [name, measure] of Object.entries(PARTS)) {
      if (names.length === 0 || names.includes(name)) figures.push(...(await measure(processes, servers)));
    }
    printVerdict(figures);
  } catch (error) {
    if (!(error instanceof MissingProgram)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    await processes.stop();
  }
}
