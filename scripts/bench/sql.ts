/**
 * Databases of users: what is exported and imported against the databases' own programs, what memory it takes, and how soon a
 * cancelled statement ends on the server. `npm run bench -- sql [PART …]`; without a part all of them. Linux only.
 */
import { runParts } from "./parts.ts";
import { measureCancelling } from "./sql/cancelling.ts";
import { measureExports } from "./sql/exports.ts";
import { measureImports } from "./sql/imports.ts";
import { measureMemory } from "./sql/memory.ts";
import { startSqlServers } from "./sql/servers.ts";

const parts = {
  exports: measureExports,
  imports: measureImports,
  memory: measureMemory,
  cancelling: measureCancelling,
};

export function run(names: string[]): Promise<void> {
  return runParts({ bench: "sql", start: startSqlServers, parts }, names);
}
