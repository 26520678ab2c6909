import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { openDirectory } from "../lib/objects/directory.ts";
import { checkWork, runWork } from "../services/progress/job.ts";
import type {
  DatabaseAccess,
  DataExport,
  DataImport,
  DataWork,
  FileFormat,
  WorkEstimate,
  WorkPlace,
  WorkProgress,
  WorkResult,
} from "../services/progress/work.ts";
import { OPTIONS } from "./databases.ts";
import { withTempDir } from "./temp-dir.ts";

export const CSV: FileFormat = { extType: "CSV", title: "报表" };
export const XLSX: FileFormat = { extType: "XLSX", title: "报表" };

/** The statement timeout is longer than any test. */
const LIMITS = { connectTimeoutMs: 20_000, statementTimeoutMs: 600_000, idleTimeoutMs: 30_000 };

export function accessTo(dsn: string, more: Partial<DatabaseAccess> = {}): DatabaseAccess {
  return { dsn, sqliteExcept: [], outbound: OPTIONS.outbound, limits: LIMITS, ...more };
}

export function exportOf(
  dsn: string | DatabaseAccess,
  what: DataExport["what"],
  format: FileFormat = CSV,
  more: Partial<DataExport> = {},
): DataExport {
  const source = typeof dsn === "string" ? accessTo(dsn) : dsn;
  return { kind: "export", source, what, format, masks: [], ...more };
}

export function importOf(dsn: string, table: string, more: Partial<DataImport> = {}): DataImport {
  return {
    kind: "import",
    target: accessTo(dsn),
    table,
    object: "uploads/a",
    fileType: "CSV",
    encoding: "utf8",
    mapping: {},
    batchRows: 1_000,
    onConflict: "fail",
    dryRun: false,
    maxRefused: 1_000,
    ...more,
  };
}

export interface RunOptions {
  signal?: AbortSignal;
  onProgress?: (progress: WorkProgress) => void;
  place?: WorkPlace;
}

/** A store of a test's own, and works that go there. */
export class Workshop {
  readonly root: string;
  readonly tempDir: string;

  constructor(directory: string) {
    this.root = join(directory, "objects");
    this.tempDir = join(directory, "temp");
  }

  run(work: DataWork, options: RunOptions = {}): Promise<WorkResult> {
    const { signal = new AbortController().signal, onProgress = () => {}, place = this.place() } = options;
    return runWork(work, place, { signal, onProgress });
  }

  check(work: DataWork): Promise<WorkEstimate> {
    return checkWork(work, this.place(), { signal: new AbortController().signal });
  }

  place(): WorkPlace {
    return {
      objects: { kind: "directory", root: this.root },
      object: "results/a",
      maxFileBytes: 1024 ** 3,
      minFreeBytes: 0,
      tempDir: this.tempDir,
      heapMb: 256,
    };
  }

  pathOf({ file }: WorkResult): string {
    return join(this.root, file!);
  }

  /** Puts what an import then reads. */
  async upload(content: string | Buffer): Promise<void> {
    async function* pieces() {
      yield Buffer.from(content);
    }
    await (await openDirectory(this.root)).put("uploads/a", pieces());
  }

  /** Whatever works left in the store and in the directory for their own files, finished or not, but for the upload. */
  async left(): Promise<string[]> {
    const found = await Promise.all(
      [this.root, this.tempDir].map((path) => readdir(path, { recursive: true, withFileTypes: true })),
    );
    const files = found.flat().filter((entry) => entry.isFile() || entry.parentPath === this.tempDir);
    return files.map((entry) => join(entry.parentPath, entry.name)).filter((path) => !path.endsWith("uploads/a"));
  }
}

export function withWorkshop<T>(body: (workshop: Workshop, directory: string) => Promise<T>): Promise<T> {
  return withTempDir(async (directory) => {
    const workshop = new Workshop(directory);
    await Promise.all([mkdir(workshop.root), mkdir(workshop.tempDir)]);
    return body(workshop, directory);
  });
}
