import { writeCsv } from "./csv.ts";
import type { ExtType } from "./ext-type.ts";
import { writeJsonl } from "./jsonl.ts";
import type { RowCursor } from "./row-cursor.ts";
import type { Column } from "./table.ts";
import type { DocumentProperties } from "./xlsx-parts.ts";
import type { Summary } from "./xlsx.ts";
import { writeXlsx } from "./xlsx.ts";

export interface TableOptions extends DocumentProperties {
  extType: ExtType;
  /** Of an XLSX. */
  summary?: Summary;
  /** Deflate level of an XLSX, 1 to 9. */
  level: number;
  /** See CsvOptions. */
  formulaGuard: boolean;
  /** See XlsxOptions. */
  longText: "fail" | "truncate";
}

/** What a file could not hold as it was. */
export interface TableLosses {
  /** Characters that the encoding lacks, written as `?`. */
  unmappable: number;
  /** Texts cut to what a cell holds. */
  truncated: number;
}

/** Writes one file of the type asked for from at most `limit` rows of the cursor; adds to `losses` as it goes. */
export function writeTable(
  columns: readonly Column[],
  cursor: RowCursor,
  limit: number,
  options: TableOptions,
  losses: TableLosses,
): AsyncIterable<Uint8Array> {
  const csv = (encoding: "utf8" | "gbk" | "gb18030", bom = false) =>
    writeCsv(columns, cursor.take(limit), {
      encoding,
      bom,
      formulaGuard: options.formulaGuard,
      onUnmappable: (count) => (losses.unmappable += count),
    });
  switch (options.extType) {
    case "XLSX":
      return writeXlsx(columns, cursor, limit, { ...options, onTruncated: () => losses.truncated++ });
    case "CSV":
      return csv("utf8");
    case "CSV_BOM":
      return csv("utf8", true);
    case "CSV_GBK":
      return csv("gbk");
    case "CSV_GB18030":
      return csv("gb18030");
    case "JSONL":
      return writeJsonl(columns, cursor.take(limit));
  }
}
