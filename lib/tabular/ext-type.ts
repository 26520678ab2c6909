/** What an export's `ext_type` may be, and what each means for the file. */
export const EXT_TYPES = {
  XLSX: { extension: "xlsx", mime: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
  CSV: { extension: "csv", mime: "text/csv; charset=utf-8" },
  CSV_BOM: { extension: "csv", mime: "text/csv; charset=utf-8" },
  CSV_GBK: { extension: "csv", mime: "text/csv; charset=gbk" },
  CSV_GB18030: { extension: "csv", mime: "text/csv; charset=gb18030" },
  JSONL: { extension: "jsonl", mime: "application/jsonl" },
} as const;

export type ExtType = keyof typeof EXT_TYPES;

/** Whether a text is one of the file types; they are written in capitals. */
export function isExtType(text: string): text is ExtType {
  return Object.hasOwn(EXT_TYPES, text);
}
