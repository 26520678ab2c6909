import type { Row } from "../tabular/table.ts";
import type { RefusedRow } from "./database.ts";

/** What a database took of some rows. */
export interface Taken {
  written: number;
  skipped: number;
}

/** Why a database refuses rows because of one of them; the place of that one where it says so. */
export interface RowFault {
  reason: string;
  index?: number;
}

/**
 * Writes all rows of a batch that the database takes, and finds those that it refuses. `attempt` writes some rows at once or
 * leaves nothing of them; `faultOf` tells which of its errors are about a row.
 */
export async function writeTakeable(
  rows: readonly Row[],
  attempt: (rows: readonly Row[]) => Promise<Taken>,
  faultOf: (error: unknown) => RowFault | undefined,
): Promise<Taken & { refused: RefusedRow[] }> {
  const result = { written: 0, skipped: 0, refused: [] as RefusedRow[] };
  /** What is yet to be written; the next of it last. */
  const ranges: [from: number, to: number][] = [[0, rows.length]];
  for (let range = ranges.pop(); range; range = ranges.pop()) {
    const [from, to] = range;
    if (from === to) continue;
    try {
      const { written, skipped } = await attempt(from === 0 && to === rows.length ? rows : rows.slice(from, to));
      result.written += written;
      result.skipped += skipped;
    } catch (error) {
      const fault = faultOf(error);
      if (!fault) throw error;
      const index = to - from === 1 ? 0 : fault.index;
      if (index === undefined) {
        const middle = (from + to) >> 1;
        ranges.push([middle, to], [from, middle]);
      } else {
        result.refused.push({ index: from + index, reason: fault.reason });
        ranges.push([from + index + 1, to], [from, from + index]);
      }
    }
  }
  result.refused.sort((one, other) => one.index - other.index);
  return result;
}

/** The bytes that a text says, as `bytesText` writes them; undefined where it says none. */
export function bytesOf(text: string): Buffer | undefined {
  return /^\\x(?:[0-9a-fA-F]{2})*$/.test(text) ? Buffer.from(text.slice(2), "hex") : undefined;
}
