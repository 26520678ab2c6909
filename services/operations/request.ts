/** What requests for operations hold, beside names and filters. */
import { invalidArgument } from "../../lib/errors.ts";

/** As protobuf JSON writes a Duration. */
const DURATION = /^\d{1,12}(?:\.\d{1,9})?s$/;

/** The parent of all operations: there is but one. */
export function readParent(name: unknown): void {
  if (name !== "" && name !== "operations" && name !== undefined) {
    throw invalidArgument("name", 'must be empty or "operations"');
  }
}

/** Milliseconds of a Duration, as a message or as text; undefined where none is given. */
export function readDuration(field: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string" && DURATION.test(value)) return Number(value.slice(0, -1)) * 1_000;
  if (typeof value === "object" && !Array.isArray(value)) {
    const { seconds = 0, nanos = 0 } = value as { seconds?: unknown; nanos?: unknown };
    const ms = Number(seconds) * 1_000 + Number(nanos) / 1_000_000;
    if (ms >= 0) return ms;
  }
  throw invalidArgument(field, 'must be a duration of 0 or more: in JSON "10s"');
}
