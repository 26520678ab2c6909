/** The thread of one bulk load. */
import { serveJob } from "../../../lib/job-thread/serve.ts";
import type { LoadWork } from "./load-work.ts";
import { readLoad } from "./load-work.ts";

await serveJob<LoadWork, null, never>(async (work, scope) => {
  await readLoad(work, scope);
  return { result: null, written: [] };
});
