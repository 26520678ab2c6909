import { invalidArgument } from "../../lib/errors.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import { putWithRoom } from "../../lib/objects/put-with-room.ts";
import { untilAborted } from "../../lib/objects/until-aborted.ts";
import { openHttp } from "../../lib/sources/http.ts";
import { KeptPages } from "../../lib/sources/kept-pages.ts";
import type { RowSource } from "../../lib/sources/row-source.ts";
import { openRows } from "../../lib/sources/rows.ts";
import { writeEncryptedZip } from "../../lib/tabular/encrypted-zip.ts";
import { EXT_TYPES } from "../../lib/tabular/ext-type.ts";
import { fileName } from "../../lib/tabular/file-name.ts";
import { RowCursor } from "../../lib/tabular/row-cursor.ts";
import { writeTable } from "../../lib/tabular/write-table.ts";
import type { Summary } from "../../lib/tabular/xlsx.ts";
import type { ZipEntry } from "../../lib/tabular/zip.ts";
import { writeZip } from "../../lib/tabular/zip.ts";
import type { ExportFormat, ExportJob, ExportProgress, ExportResult } from "./job-spec.ts";

const PROGRESS_MS = 250;

export interface PipelineOptions {
  signal: AbortSignal;
  /** Called at most four times a second. */
  onProgress: (progress: ExportProgress) => void;
}

/** Source to table to zip to object, pulled by the object store: nothing runs ahead of what can be stored. */
export async function exportTable(
  job: ExportJob,
  store: ObjectStore,
  { signal, onProgress }: PipelineOptions,
): Promise<ExportResult & { etag: string }> {
  const { format } = job;
  checkSplit(format);
  const source = await openSource(job, store, signal);
  const cursor = new RowCursor(source.batches);
  const losses = { unmappable: 0, truncated: 0 };
  let bytes = 0;
  const timer = setInterval(() => onProgress({ ...source.position(), rows: cursor.rows, bytes }), PROGRESS_MS);
  try {
    const options = { ...format, createdAt: new Date(), summary: summaryOf(format) };
    const table = (limit: number) => writeTable(source.columns, cursor, limit, options, losses);
    const file = format.zip ? zipOf(format, cursor, table) : table(Infinity);
    const { maxFileBytes, minFreeBytes } = job.limits;
    const room = { signal, maxBytes: maxFileBytes, minFreeBytes, onBytes: (size: number) => (bytes += size) };
    const { size, sha256, etag } = await putWithRoom(store, job.object, file, room);
    const { pages } = source.position();
    onProgress({ ...source.position(), rows: cursor.rows, bytes });
    return { file: job.object, rows: cursor.rows, pages, bytes: size, sha256, ...losses, etag };
  } finally {
    clearInterval(timer);
    await source.close();
  }
}

function summaryOf({ summary }: ExportFormat): Summary | undefined {
  return summary && ((rows) => [...summary, ["Rows", rows]]);
}

function checkSplit({ rowsPerFile, zip }: ExportFormat): void {
  if (rowsPerFile === undefined) return;
  if (!zip) throw invalidArgument("rows_per_file", "needs a zip");
  if (!Number.isSafeInteger(rowsPerFile) || rowsPerFile < 1)
    throw invalidArgument("rows_per_file", "must be 1 or more");
}

async function openSource(job: ExportJob, store: ObjectStore, signal: AbortSignal): Promise<RowSource> {
  const { source, limits, outbound, checkpoint } = job;
  if (source.kind === "rows") {
    const { stream } = await store.get(source.object);
    return openRows(untilAborted(stream, signal), limits.maxRowsBytes);
  }
  const { connections } = source;
  const kept = checkpoint && (await KeptPages.open(store, { ...checkpoint, signal }));
  return openHttp(source, { outbound, connections, limits: limits.fetch, maxPages: limits.maxPages, kept, signal });
}

function zipOf(
  format: ExportFormat,
  cursor: RowCursor,
  table: (limit: number) => AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  // A workbook is a zip itself: deflating it again would gain nothing.
  const options = { level: format.extType === "XLSX" ? 0 : format.level, modifiedAt: new Date() };
  const files = filesOf(format, cursor, table);
  return format.password === undefined ? writeZip(files, options) : writeEncryptedZip(files, format.password, options);
}

async function* filesOf(
  { extType, title, rowsPerFile }: ExportFormat,
  cursor: RowCursor,
  table: (limit: number) => AsyncIterable<Uint8Array>,
): AsyncGenerator<ZipEntry> {
  const { extension } = EXT_TYPES[extType];
  if (rowsPerFile === undefined) {
    yield { name: fileName(title, extension), content: table(Infinity) };
    return;
  }
  let number = 0;
  do {
    yield { name: fileName(title, extension, ++number), content: table(rowsPerFile) };
  } while ((await cursor.peek()).length > 0);
}
