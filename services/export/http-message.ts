/** longshore.v1.ExportHttpRequest, in the words of the document. */
import type { Struct } from "../../lib/protobuf/struct.ts";
import { structJson } from "../../lib/protobuf/struct.ts";

export interface ExportHttpMessage extends Record<string, unknown> {
  conn: number;
  rows_per_file: number;
  password: string;
  timestamp: string;
  source_http: { url: string; method: string; header: Record<string, string>; param: Struct | null } | null;
}

/** As the document has it: it knows what is not given, where the message has an empty value. */
export function documentOf(message: ExportHttpMessage): Record<string, unknown> {
  const { conn, rows_per_file, password, timestamp, source_http: source, ...rest } = message;
  const { param, method, ...others } = source ?? {};
  const given = { ...others, ...(method && { method }), ...(param && { param: structJson(param) }) };
  return {
    ...rest,
    ...(conn && { conn }),
    ...(rows_per_file && { rows_per_file }),
    ...(password && { password }),
    ...(timestamp !== "0" && { timestamp }),
    ...(source && { source_http: given }),
  };
}
