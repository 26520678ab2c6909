import type { JobOutcome } from "../../lib/job-thread/messages.ts";
import type { JobScope } from "../../lib/job-thread/serve.ts";
import { putWithRoom } from "../../lib/objects/put-with-room.ts";
import { EXT_TYPES } from "../../lib/tabular/ext-type.ts";
import { fileName } from "../../lib/tabular/file-name.ts";
import { RowCursor } from "../../lib/tabular/row-cursor.ts";
import type { Column, Row } from "../../lib/tabular/table.ts";
import type { TableLosses } from "../../lib/tabular/write-table.ts";
import { writeTable } from "../../lib/tabular/write-table.ts";
import type { Tally } from "./tally.ts";
import { telling } from "./tally.ts";
import type { FileFormat, WorkPlace, WorkProgress, WorkResult } from "./work.ts";

/** Fast: the database is seldom faster. */
export const DEFLATE_LEVEL = 1;

export function extensionOf({ extType }: FileFormat): string {
  return EXT_TYPES[extType].extension;
}

/** One file of a table. A watermark is a property of a workbook; a CSV has none of its own. */
export function tableFile(
  columns: readonly Column[],
  batches: AsyncIterable<readonly Row[]>,
  { extType, title, author, watermark }: FileFormat,
  losses: TableLosses,
): AsyncIterable<Uint8Array> {
  const options = {
    extType,
    title,
    author,
    description: watermark,
    createdAt: new Date(),
    level: DEFLATE_LEVEL,
    formulaGuard: true,
    // Nothing in the answer would tell that a text was cut.
    longText: "fail" as const,
  };
  return writeTable(columns, new RowCursor(batches), Infinity, options, losses);
}

/** The rows of a CSV that is a file by itself, with its watermark: a line of as many fields as the others. */
export async function* withWatermark(
  batches: AsyncIterable<readonly Row[]>,
  { extType, watermark }: FileFormat,
): AsyncGenerator<readonly Row[]> {
  yield* batches;
  if (watermark !== undefined && extType !== "XLSX") yield [[`# ${watermark}`]];
}

/** Puts the file of a work. */
export async function putWorkFile(
  content: AsyncIterable<Uint8Array>,
  { extension, title }: { extension: string; title: string },
  tally: Tally,
  place: WorkPlace,
  { store, signal, onProgress }: JobScope<WorkProgress>,
): Promise<JobOutcome<WorkResult>> {
  const key = `${place.object}.${extension}`;
  const { maxFileBytes, minFreeBytes } = place;
  const onBytes = (size: number) => (tally.bytes += size);
  const progress = (): WorkProgress => ({
    rows: tally.rows,
    bytes: tally.bytes,
    ...(tally.totalRows === undefined ? {} : { totalRows: tally.totalRows }),
  });
  const { size, sha256, etag } = await telling(progress, onProgress, () =>
    putWithRoom(store, key, content, { signal, maxBytes: maxFileBytes, minFreeBytes, onBytes }),
  );
  const { rows, unmappable, truncated } = tally;
  const name = fileName(title, extension);
  const result = { file: key, name, rows, bytes: size, sha256, unmappable, truncated, refused: 0, skipped: 0 };
  return { result, written: [{ key, etag }] };
}
