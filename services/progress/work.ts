import type { OnConflict } from "../../lib/databases/database.ts";
import type { DatabaseOptions } from "../../lib/databases/database.ts";
import type { ObjectsPlace } from "../../lib/objects/open.ts";
import type { GenerateSpec } from "../../lib/sources/generate-spec.ts";
import type { OutboundPolicy } from "../../lib/sources/outbound.ts";

/** A database, and how it may be reached; it holds a password. */
export interface DatabaseAccess {
  dsn: string;
  /** Over the DSN's. */
  database?: string;
  /** Directories in which files of SQLite may be; undefined: anywhere. */
  sqliteDirs?: readonly string[];
  /** Directories in which they may not be: the node's own store is no data source. */
  sqliteExcept: readonly string[];
  outbound: OutboundPolicy;
  limits: Pick<DatabaseOptions, "connectTimeoutMs" | "statementTimeoutMs" | "idleTimeoutMs">;
}

/** What becomes of the cells of columns whose name matches; of several rules the first counts. */
export interface MaskRule {
  /** A pattern of names without regard to case, `*` for any characters: `*phone*`; of a table's also `customers.email`. */
  column: string;
  /** `mask` leaves the first and last character; `hash` is an HMAC, the same for the same value; `refuse` fails the task. */
  action: "mask" | "hash" | "refuse";
}

export interface TableChoice {
  table: string;
  /** Absent: all. */
  columns?: readonly string[];
  filter?: string;
}

export interface FileFormat {
  extType: "CSV" | "CSV_GBK" | "XLSX";
  /** Names the file. */
  title: string;
  author?: string;
  /** Who and when: a property of an XLSX; of a CSV a last line, `# …`, or in a zip the file `watermark.txt`. */
  watermark?: string;
}

export interface DataExport {
  kind: "export";
  source: DatabaseAccess;
  what: { statement: string } | { tables: readonly TableChoice[] | "all"; content: "DATA" | "STRUCT" | "ALL" };
  format: FileFormat;
  masks: readonly MaskRule[];
  /** The key of `hash`. */
  maskKey?: string;
}

export interface DataImport {
  kind: "import";
  target: DatabaseAccess;
  table: string;
  /** The key of the uploaded object. */
  object: string;
  fileType: "CSV" | "XLSX" | "JSONL";
  encoding: "utf8" | "gbk";
  sheet?: string;
  /** The file's columns to the table's; empty: by their names. */
  mapping: Readonly<Record<string, string>>;
  batchRows: number;
  onConflict: OnConflict;
  dryRun: boolean;
  maxRefused: number;
}

export interface DataGenerate {
  kind: "generate";
  spec: GenerateSpec;
  into: { format: FileFormat } | { target: DatabaseAccess; table: string };
}

/** What a task does, as plain data, so that it can be told to a thread. */
export type DataWork = DataExport | DataImport | DataGenerate;

/** Where its files go. */
export interface WorkPlace {
  objects: ObjectsPlace;
  /** The key of the file to write, without its extension; the report of an import is `<key>.refused.csv`. */
  object: string;
  maxFileBytes: number;
  minFreeBytes: number;
  /** Where an uploaded workbook is put while it is read. */
  tempDir: string;
  /** Heap of the thread, in MiB. */
  heapMb: number;
}

/** What a pre-check found out; what is wrong it throws. */
export interface WorkEstimate {
  /** Undefined where the database does not say. */
  rows?: number;
}

export interface WorkProgress {
  rows: number;
  totalRows?: number;
  /** Of the file that is written, or of the upload that is read. */
  bytes: number;
  /** Of the upload. */
  totalBytes?: number;
}

export interface WorkResult {
  /** The key of the file; none of an import or of rows generated into a table. */
  file?: string;
  /** What the file downloads as. */
  name?: string;
  /** In the file, or written to the table. */
  rows: number;
  bytes: number;
  sha256?: string;
  unmappable: number;
  /** Texts cut to what a cell of XLSX holds. */
  truncated: number;
  /** Rows that the table did not take; `report` is the key of the CSV that says why. */
  refused: number;
  skipped: number;
  report?: string;
}
