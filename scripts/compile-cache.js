/**
 * Preloaded by `npm start`: keeps what Node makes of the source files (types stripped, code compiled), so that a start is
 * quick and no thread holds the tool that strips types, 17 MB each. Plain JavaScript, for it runs before that tool is needed.
 */
import { enableCompileCache } from "node:module";
import { join } from "node:path";

enableCompileCache(join(import.meta.dirname, "..", "node_modules", ".cache", "node"));
