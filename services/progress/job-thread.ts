/** The thread of one work on a database, or of its pre-check. */
import { serveJob } from "../../lib/job-thread/serve.ts";
import { checkData } from "./check.ts";
import { exportData } from "./export.ts";
import { generateData } from "./generate.ts";
import { importData } from "./import.ts";
import type { WorkJob } from "./job.ts";
import type { WorkEstimate, WorkProgress, WorkResult } from "./work.ts";

await serveJob<WorkJob, WorkResult | WorkEstimate, WorkProgress>(async ({ step, work, place }, scope) => {
  if (step === "check") return { result: await checkData(work, place, scope), written: [] };
  switch (work.kind) {
    case "export":
      return exportData(work, place, scope);
    case "import":
      return importData(work, place, scope);
    case "generate":
      return generateData(work, place, scope);
  }
});
