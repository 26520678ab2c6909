/** What a Range header asks of an object of a known size; both ends inclusive. */
export type RangeDecision =
  { kind: "full" } | { kind: "partial"; start: number; end: number } | { kind: "unsatisfiable" };

/**
 * Decides what to answer to a Range header (RFC 9110, section 14): the whole (200), one range of it (206), or 416.
 * A header that is malformed, of another unit or of several ranges is ignored, as the RFC allows.
 */
export function decideRange(header: string | undefined, size: number): RangeDecision {
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? "");
  if (!match) return { kind: "full" };
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return { kind: "full" };
  if (first === "") return decideSuffix(Number(last), size);
  const start = Number(first);
  const end = last === "" ? size - 1 : Math.min(Number(last), size - 1);
  if (last !== "" && Number(last) < start) return { kind: "full" };
  return start < size ? { kind: "partial", start, end } : { kind: "unsatisfiable" };
}

function decideSuffix(length: number, size: number): RangeDecision {
  if (length === 0 || size === 0) return { kind: "unsatisfiable" };
  return { kind: "partial", start: Math.max(0, size - length), end: size - 1 };
}
