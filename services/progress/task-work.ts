/** What a task does, as its thread is told it. */
import { createHmac } from "node:crypto";
import { readGenerateSpec } from "../../lib/sources/generate-spec.ts";
import type { DataTask } from "./data-task.ts";
import type { ConfiguredSource } from "./data-sources.ts";
import type { ExportDetail, GenerateDetail, ImportDetail } from "./request.ts";
import { generateSpec, readExtType, readOnConflict } from "./request.ts";
import type { DatabaseAccess, DataWork, FileFormat } from "./work.ts";

const BATCH_ROWS = 1_000;
const MAX_REFUSED = 10_000;

/** What a task's database needs beside the task. */
export interface WorkTerms {
  dsn: string;
  access: Omit<DatabaseAccess, "dsn" | "database">;
  source?: ConfiguredSource;
  /** A secret of the program's, for the hashes of masked values. */
  secret: Buffer;
  /** Of the file that is imported. */
  upload?: { name: string };
  now: Date;
}

export function workOf(task: DataTask, terms: WorkTerms): DataWork {
  const detail: unknown = JSON.parse(task.detail);
  switch (task.kind) {
    case "EXPORT":
      return exportOf(task, detail as ExportDetail, terms);
    case "IMPORT":
      return importOf(detail as ImportDetail, terms);
    case "GENERATE":
      return generateOf(task, detail as GenerateDetail, terms);
  }
}

function exportOf(task: DataTask, detail: ExportDetail, terms: WorkTerms): DataWork {
  const { ebs, eatt } = detail;
  const { source, secret } = terms;
  return {
    kind: "export",
    source: accessOf(detail.database, terms),
    what: ebs ? { statement: ebs.statement } : tablesOf(eatt!),
    format: formatOf(task, readExtType(detail.type, detail.encoding, "ded"), terms),
    masks: source?.masks ?? [],
    ...(source?.masks.some(({ action }) => action === "hash") && { maskKey: maskKey(secret) }),
  };
}

function tablesOf({ export_all, content, option }: NonNullable<ExportDetail["eatt"]>) {
  const tables = option.map(({ table, all_field, fields, filter }) => ({
    table,
    ...(!all_field && { columns: fields }),
    ...(filter && { filter }),
  }));
  return { tables: export_all ? ("all" as const) : tables, content: contentOf(content) };
}

function contentOf(content: string): "DATA" | "STRUCT" | "ALL" {
  if (content === "EXPORT_CONTENT_STRUCT") return "STRUCT";
  return content === "EXPORT_CONTENT_ALL" ? "ALL" : "DATA";
}

function importOf(detail: ImportDetail, terms: WorkTerms): DataWork {
  return {
    kind: "import",
    target: accessOf(detail.database, terms),
    table: detail.table,
    object: detail.upload_key,
    fileType: fileTypeOf(detail.file_type, terms.upload?.name ?? ""),
    encoding: detail.encoding === "ENCODING_GBK" ? "gbk" : "utf8",
    ...(detail.sheet && { sheet: detail.sheet }),
    mapping: detail.mapping ?? {},
    batchRows: detail.batch_size || BATCH_ROWS,
    onConflict: readOnConflict(detail.on_conflict),
    dryRun: detail.dry_run ?? false,
    maxRefused: Number(detail.max_refused ?? 0) || MAX_REFUSED,
  };
}

/** By what the upload is called, where nobody has said it. */
function fileTypeOf(fileType: string, name: string): "CSV" | "XLSX" | "JSONL" {
  if (fileType === "CSV" || fileType === "XLSX" || fileType === "JSONL") return fileType;
  if (/\.xlsx$/i.test(name)) return "XLSX";
  return /\.(jsonl|ndjson)$/i.test(name) ? "JSONL" : "CSV";
}

function generateOf(task: DataTask, detail: GenerateDetail, terms: WorkTerms): DataWork {
  return {
    kind: "generate",
    spec: readGenerateSpec(generateSpec(detail), "dgd"),
    into: detail.table
      ? { target: accessOf(detail.database, terms), table: detail.table }
      : { format: formatOf(task, readExtType(detail.type, detail.encoding, "dgd"), terms) },
  };
}

function accessOf(database: string, { dsn, access }: WorkTerms): DatabaseAccess {
  return { dsn, ...(database && { database }), ...access };
}

function formatOf(task: DataTask, extType: FileFormat["extType"], { source, now }: WorkTerms): FileFormat {
  return {
    extType,
    title: task.name || task._id,
    ...(task.submitter && { author: task.submitter }),
    ...(source?.watermark && { watermark: `${task.submitter || "anonymous"}, ${now.toISOString()}, task ${task._id}` }),
  };
}

/** The same for all tasks, so that hashes can be joined. */
function maskKey(secret: Buffer): string {
  return createHmac("sha256", secret).update("longshore masked values").digest("hex");
}
