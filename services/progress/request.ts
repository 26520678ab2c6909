/** What a request to submit a task holds, and what parsing alone shows to be wrong with it. */
import type { Dialect } from "../../lib/databases/database.ts";
import type { DataSource } from "../../lib/databases/dsn.ts";
import { checkFilter, checkStatement } from "../../lib/databases/sql-guard.ts";
import { invalidArgument } from "../../lib/errors.ts";
import { readGenerateSpec } from "../../lib/sources/generate-spec.ts";
import type { Executor, Kind } from "./data-task.ts";
import type { DataImport, FileFormat } from "./work.ts";

export type Params = Record<string, unknown>;

/** What the detail of an export says. */
export interface ExportDetail {
  database: string;
  ebs?: { statement: string };
  eatt?: {
    export_all: boolean;
    content: string;
    option: { table: string; all_field: boolean; fields: string[]; filter: string }[];
  };
  type: string;
  encoding: string;
  export_reason: string;
  exector: string;
}

export interface ImportDetail {
  database: string;
  table: string;
  upload_key: string;
  file_type: string;
  encoding: string;
  sheet: string;
  mapping: Record<string, string>;
  batch_size: number;
  on_conflict: string;
  dry_run: boolean;
  max_refused: string;
  reason: string;
  exector: string;
}

export interface GenerateDetail {
  rows: string;
  seed: string;
  columns: string;
  table: string;
  database: string;
  type: string;
  encoding: string;
  reason: string;
  exector: string;
}

export type Detail = ExportDetail | ImportDetail | GenerateDetail;

/** A request whose fields are right by themselves. */
export interface Submission {
  name: string;
  kind: Kind;
  dsn: string;
  /** The detail's field in the request. */
  field: "ded" | "did" | "dgd";
  detail: Detail;
  reason: string;
  executor: Executor;
  submitter: string;
  schedule?: { cron: string; timeZone: string };
}

const KINDS: Record<string, { kind: Kind; field: "ded" | "did" | "dgd" }> = {
  TASK_KIND_DATA_EXPORT: { kind: "EXPORT", field: "ded" },
  TASK_KIND_DATA_IMPORT: { kind: "IMPORT", field: "did" },
  TASK_KIND_DATA_GENERATE: { kind: "GENERATE", field: "dgd" },
};
/** A uint64. */
const ID = /^\d{1,20}$/;
const MAX_NAME = 255;
const MAX_REASON = 4_000;
const MAX_TABLES = 1_000;
const MAX_BATCH = 10_000;
/** It travels with each answer that tells of the task. */
const MAX_DETAIL_BYTES = 256 * 1024;

export function readSubmission(params: Params): Submission {
  const { kind, field } = KINDS[text(params, "kind")] ?? {};
  if (!kind || !field) {
    throw invalidArgument("kind", `must be one of ${Object.keys(KINDS).join(", ")}`);
  }
  const detail = params[field] as Detail | undefined;
  if (!detail) throw invalidArgument(field, `must be given for ${text(params, "kind")}`);
  const dsn = text(params, "dsn");
  const made = kind === "GENERATE" && !(detail as GenerateDetail).table;
  if (dsn === "" && !made) throw invalidArgument("dsn", "must be given");
  const reasonField = kind === "EXPORT" ? "export_reason" : "reason";
  return {
    name: line(params, "name", MAX_NAME),
    kind,
    dsn,
    field,
    detail,
    reason: limited(String((detail as unknown as Params)[reasonField] ?? ""), `${field}.${reasonField}`, MAX_REASON),
    executor: readExecutor(detail.exector, `${field}.exector`),
    submitter: line(params, "submitter", MAX_NAME),
    ...readTrigger(params),
  };
}

/** Checks the detail by parsing; `source` is absent of rows that are generated into a file. */
export async function checkDetail({ kind, detail, field }: Submission, source?: DataSource): Promise<void> {
  if (kind === "EXPORT") await checkExport(detail as ExportDetail, source!.dialect);
  else if (kind === "IMPORT") checkImport(detail as ImportDetail);
  else checkGenerate(detail as GenerateDetail);
  limited(detail.database ?? "", `${field}.database`, MAX_NAME);
  const bytes = Buffer.byteLength(JSON.stringify(detail));
  if (bytes > MAX_DETAIL_BYTES)
    throw invalidArgument(field, `must be at most ${MAX_DETAIL_BYTES} bytes, it is ${bytes}`);
}

async function checkExport({ ebs, eatt, type, encoding }: ExportDetail, dialect: Dialect): Promise<void> {
  readExtType(type, encoding, "ded");
  if (ebs) return checkStatement(dialect, required(ebs.statement, "ded.ebs.statement"), "ded.ebs.statement");
  if (!eatt) throw invalidArgument("ded", "must hold ebs or eatt");
  const option = eatt.option ?? [];
  if (eatt.export_all && option.length > 0) throw invalidArgument("ded.eatt.option", "must be empty with export_all");
  if (!eatt.export_all && option.length === 0)
    throw invalidArgument("ded.eatt.option", "must name a table, or export_all be set");
  if (option.length > MAX_TABLES) throw invalidArgument("ded.eatt.option", `must be at most ${MAX_TABLES} tables`);
  const seen = new Set<string>();
  for (const [index, { table, all_field, fields, filter }] of option.entries()) {
    const at = `ded.eatt.option[${index}]`;
    if (seen.has(required(table, `${at}.table`))) throw invalidArgument(`${at}.table`, `${table} is there twice`);
    seen.add(table);
    if (all_field && fields?.length) throw invalidArgument(`${at}.fields`, "must be empty with all_field");
    if (!all_field && !fields?.length) throw invalidArgument(`${at}.fields`, "must name a field, or all_field be set");
    if (new Set(fields).size < (fields?.length ?? 0)) throw invalidArgument(`${at}.fields`, "must not repeat a field");
    if (filter) await checkFilter(dialect, filter, `${at}.filter`);
  }
}

function checkImport(detail: ImportDetail): void {
  required(detail.table, "did.table");
  required(detail.upload_key, "did.upload_key");
  if (detail.batch_size > MAX_BATCH) throw invalidArgument("did.batch_size", `must be at most ${MAX_BATCH}`);
  if (!["", "CSV", "XLSX", "JSONL"].includes(detail.file_type ?? "")) {
    throw invalidArgument("did.file_type", "must be CSV, XLSX or JSONL, or empty");
  }
  const targets = Object.values(detail.mapping ?? {});
  if (targets.includes("")) throw invalidArgument("did.mapping", "names no column of the table for one of the file's");
  if (new Set(targets).size < targets.length) throw invalidArgument("did.mapping", "names a column of the table twice");
}

function checkGenerate(detail: GenerateDetail): void {
  readGenerateSpec(generateSpec(detail), "dgd");
  readExtType(detail.type, detail.encoding, "dgd");
}

/** What readGenerateSpec takes. */
export function generateSpec({ rows, seed, columns }: GenerateDetail): Record<"rows" | "seed" | "columns", unknown> {
  return { rows: Number(rows ?? 0), seed: Number(seed ?? 0), columns: parseColumns(required(columns, "dgd.columns")) };
}

function parseColumns(columns: string): unknown {
  try {
    return JSON.parse(columns);
  } catch (error) {
    throw invalidArgument("dgd.columns", `must be JSON: ${(error as Error).message.slice(0, 200)}`);
  }
}

export function readExtType(type: string, encoding: string, field: string): FileFormat["extType"] {
  const gbk = encoding === "ENCODING_GBK";
  if (type !== "EXPORT_TYPE_EXCEL") return gbk ? "CSV_GBK" : "CSV";
  if (gbk) throw invalidArgument(`${field}.encoding`, "is of CSV; an Excel file is always Unicode");
  return "XLSX";
}

export function readOnConflict(value: string): DataImport["onConflict"] {
  if (value === "ON_CONFLICT_SKIP") return "skip";
  return value === "ON_CONFLICT_REPLACE" ? "replace" : "fail";
}

function readExecutor(value: string, field: string): Executor {
  switch (value ?? "EXEC_UNSPECIFIED") {
    case "EXEC_UNSPECIFIED":
    case "EXEC_AUTO":
      return "AUTO";
    case "EXEC_APPROVER":
      return "APPROVER";
    case "EXEC_COMMITTER":
      return "COMMITTER";
    default:
      throw invalidArgument(field, "must be EXEC_AUTO, EXEC_APPROVER or EXEC_COMMITTER");
  }
}

function readTrigger(params: Params): Pick<Submission, "schedule"> {
  const [trigger, cron, timeZone] = [text(params, "trigger"), text(params, "cron"), text(params, "time_zone")];
  if (trigger !== "TRIGGER_KIND_CRON") {
    if (cron !== "") throw invalidArgument("cron", "needs trigger TRIGGER_KIND_CRON");
    if (timeZone !== "") throw invalidArgument("time_zone", "needs trigger TRIGGER_KIND_CRON");
    return {};
  }
  return { schedule: { cron: required(cron, "cron"), timeZone: timeZone || "UTC" } };
}

/** Who is asked must learn why, and by whom. */
export function demandReasons({ reason, submitter, field, kind }: Submission): void {
  if (submitter === "") throw invalidArgument("submitter", "must be given where somebody has to approve");
  if (reason === "") {
    const name = kind === "EXPORT" ? "export_reason" : "reason";
    throw invalidArgument(`${field}.${name}`, "must be given where somebody has to approve");
  }
}

function required(value: string | undefined, field: string): string {
  if (!value) throw invalidArgument(field, "must be given");
  return value;
}

function text(params: Params, field: string): string {
  const value = params[field] ?? "";
  if (typeof value !== "string") throw invalidArgument(field, "must be text");
  return value;
}

function limited(value: string, field: string, most: number): string {
  if ([...value].length > most) throw invalidArgument(field, `must be at most ${most} characters`);
  return value;
}

/** A text of one line. */
export function line(params: Params, field: string, most = MAX_NAME): string {
  const value = limited(text(params, field), field, most);
  if (/\p{Cc}/u.test(value)) throw invalidArgument(field, "must hold no control character");
  return value;
}

/** The number of a task, in digits. */
export function readDigits(value: unknown, field: string): string {
  if (typeof value === "string" && ID.test(value) && value !== "0") return value;
  throw invalidArgument(field, "must be the number of a task");
}
