/** Reads all pages of a source: a whole export of it, or the same connections with nobody behind them. */
import { Agent } from "undici";
import { runExportJob } from "../../../services/export/job.ts";
import { asChild, sampleOf } from "./child.ts";
import { exportJobOf, type JobTask } from "./pages.ts";
import type { SourceTask } from "./source.ts";

async function exportAll(job: JobTask, pages: number): Promise<void> {
  const options = { signal: new AbortController().signal, onProgress: () => undefined };
  const result = await runExportJob(exportJobOf(job), options);
  if (result.pages !== pages) throw new Error(`${result.pages} pages of ${pages} were exported`);
}

async function fetchAll({ url, connections }: JobTask, pages: number): Promise<void> {
  const agent = new Agent({ connections, pipelining: 1 });
  const { origin, pathname } = new URL(url);
  let next = 1;
  const lane = async () => {
    while (next <= pages) {
      const path = `${pathname}?page=${next++}`;
      const { statusCode, body } = await agent.request({ origin, path, method: "GET" });
      if (statusCode !== 200) throw new Error(`the source answered ${statusCode}`);
      await body.dump();
    }
  };
  await Promise.all(Array.from({ length: connections }, lane));
  await agent.close();
}

await asChild<SourceTask>(({ reader, job, pages }) =>
  sampleOf(() => (reader === "export" ? exportAll(job, pages) : fetchAll(job, pages))),
);
