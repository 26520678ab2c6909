import type { ErrorData, ErrorType } from "../errors.ts";
import { LongshoreError } from "../errors.ts";

/** An error in a form that survives the way between threads, which strips an Error of its own fields. */
export interface SentError {
  /** Absent where Longshore did not throw it on purpose. */
  type?: ErrorType;
  message: string;
  data: ErrorData;
  stack?: string;
}

export function sendError(thrown: unknown): SentError {
  if (thrown instanceof LongshoreError) return { type: thrown.type, message: thrown.message, data: thrown.data };
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  return { message: error.message, data: {}, stack: error.stack };
}

export function receiveError({ type, message, data, stack }: SentError): Error {
  if (type) return new LongshoreError(type, message, data);
  const error = new Error(message);
  error.stack = stack ?? error.stack;
  return error;
}
