/** The user-data space: `npm run bench -- saas [PART …]`. */
import { runParts } from "./parts.ts";
import { loadIntoMongo, loadIntoSqlite } from "./saas/bulk-load.ts";
import { measureColumns } from "./saas/columns.ts";
import { measureDebug } from "./saas/debug.ts";
import { measureEmbedded, measureMongo } from "./saas/stores.ts";

const PARTS = {
  embedded: measureEmbedded,
  mongodb: measureMongo,
  "load-embedded": loadIntoSqlite,
  "load-mongodb": loadIntoMongo,
  columns: measureColumns,
  debug: measureDebug,
};

export function run(names: string[]): Promise<void> {
  return runParts({ bench: "saas", start: () => Promise.resolve(undefined), parts: PARTS }, names);
}
