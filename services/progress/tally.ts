import type { TableLosses } from "../../lib/tabular/write-table.ts";
import type { Row } from "../../lib/tabular/table.ts";
import type { WorkProgress } from "./work.ts";

const PROGRESS_MS = 250;

/** How far a work is, and what its file could not hold. */
export interface Tally extends WorkProgress, TableLosses {}

export function newTally(): Tally {
  return { rows: 0, bytes: 0, unmappable: 0, truncated: 0 };
}

/** Tells of the progress four times a second while `body` works, and at its end. */
export async function telling<T>(
  progress: () => WorkProgress,
  onProgress: (progress: WorkProgress) => void,
  body: () => Promise<T>,
): Promise<T> {
  const timer = setInterval(() => onProgress(progress()), PROGRESS_MS);
  try {
    const result = await body();
    onProgress(progress());
    return result;
  } finally {
    clearInterval(timer);
  }
}

export async function* countRows(
  batches: AsyncIterable<readonly Row[]>,
  tally: { rows: number },
): AsyncGenerator<readonly Row[]> {
  for await (const batch of batches) {
    tally.rows += batch.length;
    yield batch;
  }
}
