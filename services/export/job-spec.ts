import type { ObjectsPlace } from "../../lib/objects/open.ts";
import type { OutboundPolicy } from "../../lib/sources/outbound.ts";
import type { FetchLimits, PagedRequest } from "../../lib/sources/paged-request.ts";
import { FETCH_LIMITS } from "../../lib/sources/paged-request.ts";
import type { ExtType } from "../../lib/tabular/ext-type.ts";

/** Where an export's rows come from. */
export type ExportSource =
  | ({ kind: "http"; connections: number } & PagedRequest)
  /** `object`: the key of a JSON array of rows, the header first. */
  | { kind: "rows"; object: string };

/** What an export writes. */
export interface ExportFormat {
  extType: ExtType;
  /** Puts the file, or the files, into a zip. */
  zip: boolean;
  /** Encrypts the zip. */
  password?: string;
  /** Names the file within the zip. */
  title: string;
  /** Who had it made, for an XLSX to tell. */
  author?: string;
  /** What a last sheet of an XLSX tells of the export, beside its rows. */
  summary?: readonly (readonly [label: string, value: string | Date])[];
  /** Deflate level, 1 (fast) to 9 (small). */
  level: number;
  /** Begins a further file, `<title>-<n>`, after so many rows; only within a zip. */
  rowsPerFile?: number;
  /** Neutralises texts that a spreadsheet would run as formulas, in CSV. */
  formulaGuard: boolean;
  /** What to do with a text over the 32,767 characters that a cell of XLSX can hold. */
  longText: "fail" | "truncate";
}

export interface ExportLimits {
  fetch: FetchLimits;
  maxPages: number;
  /** Bytes of rows that were sent with the request. */
  maxRowsBytes: number;
  /** Bytes of the file. */
  maxFileBytes: number;
  /** Bytes that stay free where the file is kept: what else is there needs some, the queue above all. */
  minFreeBytes: number;
  /** Heap of the thread, in MiB; a job that needs more fails alone. */
  heapMb: number;
}

export const EXPORT_LIMITS: ExportLimits = {
  fetch: FETCH_LIMITS,
  maxPages: 1_000_000,
  maxRowsBytes: 64 * 1024 * 1024,
  maxFileBytes: 64 * 1024 ** 3,
  minFreeBytes: 256 * 1024 ** 2,
  heapMb: 1024,
};

/** Where an export keeps the pages that it has read: see KeptPages. */
export interface Checkpoint {
  prefix: string;
  everyMs: number;
}

/** One export as plain data, so that it can be told to a thread. */
export interface ExportJob {
  source: ExportSource;
  format: ExportFormat;
  /** The key of the object to write. */
  object: string;
  objects: ObjectsPlace;
  outbound: OutboundPolicy;
  limits: ExportLimits;
  checkpoint?: Checkpoint;
}

/** How far a job has come. */
export interface ExportProgress {
  pages: number;
  totalPages?: number;
  rows: number;
  totalRows?: number;
  /** Bytes of the file so far. */
  bytes: number;
}

/** What a job wrote. */
export interface ExportResult {
  /** The key of the object. */
  file: string;
  /** What it downloads as. */
  name?: string;
  rows: number;
  pages: number;
  bytes: number;
  sha256: string;
  /** Characters that the encoding lacks, written as `?`. */
  unmappable: number;
  /** Texts cut to what a cell holds. */
  truncated: number;
}
