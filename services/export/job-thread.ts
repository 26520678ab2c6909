/** The thread of one export. */
import { serveJob } from "../../lib/job-thread/serve.ts";
import type { ExportJob, ExportProgress, ExportResult } from "./job-spec.ts";
import { exportTable } from "./pipeline.ts";

await serveJob<ExportJob, ExportResult, ExportProgress>(async (job, { store, signal, onProgress }) => {
  const { etag, ...result } = await exportTable(job, store, { signal, onProgress });
  return { result, written: [{ key: job.object, etag }] };
});
