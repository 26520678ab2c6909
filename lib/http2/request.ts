/** The head of a request, out of its header fields (RFC 9113, sections 8.2 and 8.3). */
import type { Field } from "./header-decoder.ts";

export interface Request {
  method: string;
  path: string;
  /** By name; of a field that comes several times the values are joined, as RFC 9110 has it. */
  headers: Record<string, string>;
}

const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const FORBIDDEN_IN_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/;
const OF_A_CONNECTION = new Set(["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"]);
const PSEUDO = [":method", ":scheme", ":path", ":authority"];

/** The request; `undefined` where it is malformed. */
export function readRequest(fields: readonly Field[]): Request | undefined {
  const pseudo = new Map<string, string>();
  const headers: Record<string, string> = {};
  let regular = false;
  for (const field of fields) {
    const { name, value } = field;
    if (!(field.valid ??= isValid(field))) return undefined;
    if (name.startsWith(":")) {
      if (regular || pseudo.has(name)) return undefined;
      pseudo.set(name, value);
    } else {
      regular = true;
      const earlier = Object.hasOwn(headers, name) ? headers[name] : undefined;
      headers[name] = earlier === undefined ? value : `${earlier}${name === "cookie" ? "; " : ","}${value}`;
    }
  }
  const method = pseudo.get(":method");
  const path = pseudo.get(":path");
  if (!method || !path || !pseudo.get(":scheme")) return undefined;
  return { method, path, headers };
}

/** Trailers have no pseudo-header fields. */
export function areTrailers(fields: readonly Field[]): boolean {
  return fields.every((field) => (field.valid ??= isValid(field)) && !field.name.startsWith(":"));
}

function isValid({ name, value }: Field): boolean {
  if (FORBIDDEN_IN_VALUE.test(value)) return false;
  if (name.startsWith(":")) return PSEUDO.includes(name);
  return NAME.test(name) && !OF_A_CONNECTION.has(name) && (name !== "te" || value === "trailers");
}
