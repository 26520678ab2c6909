/** Starts a paged HTTP source (page-server.ts), and makes the jobs that export it. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { ExtType } from "../../../lib/tabular/ext-type.ts";
import type { ExportJob } from "../../../services/export/job-spec.ts";
import { EXPORT_LIMITS } from "../../../services/export/job-spec.ts";
import type { Run } from "../../servers/run.ts";

export interface PageServerTask {
  pages: number;
  rowsPerPage: number;
  /** From a request to its answer. */
  delayMs: number;
}

/** What was asked of a source since it was last asked for this: pages, and by which exports. */
export interface Served {
  pages: number;
  exports: string[];
}

export class PageServer {
  readonly url: string;
  readonly pid: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.pid = child.pid!;
    this.url = url;
  }

  static async start(run: Run, task: PageServerTask): Promise<PageServer> {
    const child = fork(join(import.meta.dirname, "page-server.ts"), [JSON.stringify(task)], { detached: true });
    run.adopt(child);
    const [url] = (await once(child, "message")) as [string];
    return new PageServer(child, url);
  }

  async served(): Promise<Served> {
    const answer = once(this.#child, "message");
    this.#child.send("served");
    const [served] = (await answer) as [Served];
    return served;
  }

  stop(): void {
    this.#child.disconnect();
  }
}

export interface JobTask {
  url: string;
  extType: ExtType;
  connections: number;
  /** Where the file is put. */
  directory: string;
}

/** An export as the service makes it, in a zip. */
export function exportJobOf({ url, extType, connections, directory }: JobTask): ExportJob {
  return {
    source: { kind: "http", url, method: "GET", header: {}, param: {}, taskId: "bench", connections },
    format: { extType, zip: true, title: "bench", level: 1, formulaGuard: true, longText: "fail" },
    object: "exports/bench.zip",
    objects: { kind: "directory", root: directory },
    outbound: { allowPrivate: true },
    limits: EXPORT_LIMITS,
  };
}
