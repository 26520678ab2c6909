import type { ObjectStore } from "../../lib/objects/object-store.ts";
import { untilAborted } from "../../lib/objects/until-aborted.ts";
import { openCsvFile } from "../../lib/sources/csv-file.ts";
import type { FileRows } from "../../lib/sources/file-rows.ts";
import { openJsonlFile } from "../../lib/sources/jsonl-file.ts";
import { openXlsxFile } from "../../lib/sources/xlsx-file.ts";
import type { DataImport } from "./work.ts";

/** The rows of an uploaded file, whose size is `bytes`. */
export interface Upload {
  rows: FileRows;
  bytes: number;
}

/** Runs `body` with the rows of an uploaded file; NOT_FOUND where there is none. */
export async function withUpload<T>(
  work: DataImport,
  { store, tempDir, signal }: { store: ObjectStore; tempDir: string; signal: AbortSignal },
  body: (upload: Upload) => Promise<T>,
): Promise<T> {
  const { stream, info } = await store.get(work.object);
  try {
    const rows = await openFile(work, untilAborted(stream, signal), { directory: tempDir, signal });
    try {
      return await body({ rows, bytes: info.size });
    } finally {
      await rows.close();
    }
  } finally {
    stream.destroy();
  }
}

function openFile(
  { fileType, encoding, sheet }: DataImport,
  content: AsyncIterable<Uint8Array>,
  { directory, signal }: { directory: string; signal: AbortSignal },
): Promise<FileRows> {
  switch (fileType) {
    case "CSV":
      return openCsvFile(content, { encoding, signal });
    case "XLSX":
      return openXlsxFile(content, { directory, sheet, signal });
    case "JSONL":
      return openJsonlFile(content, { signal });
  }
}
