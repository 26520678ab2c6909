/** Why a request is refused, by the contract's names of its codes, which stand as reasons in errors. */
import type { ErrorView } from "../../lib/errors.ts";
import { LongshoreError } from "../../lib/errors.ts";

const TYPES = {
  INVALID_ACCOUNT: "UNAUTHENTICATED",
  INVALID_TIMESTAMP: "UNAUTHENTICATED",
  INVALID_SIGNATURE: "UNAUTHENTICATED",
  AUTH_FAIL: "UNAUTHENTICATED",
  DISABLED_ACCOUNT: "PERMISSION_DENIED",
  INVALID_CONTENT_TYPE: "INVALID_ARGUMENT",
  READ_BODY: "INVALID_ARGUMENT",
  DECODE_BODY: "INVALID_ARGUMENT",
  QPS_LIMIT: "RESOURCE_EXHAUSTED",
  CMDS_LIMIT: "INVALID_ARGUMENT",
  CMDS_NULL: "INVALID_ARGUMENT",
  DATASPACE_NOT_EXISTS: "NOT_FOUND",
  TASK_EXISTS: "ALREADY_EXISTS",
  TASK_IS_NOT_EXISTS: "NOT_FOUND",
  TASK_NUM_LIMIT: "FAILED_PRECONDITION",
  TASK_BLOCK_SIZE: "INVALID_ARGUMENT",
  TASK_TOTAL_SIZE: "INVALID_ARGUMENT",
  TASK_MARSHAL: "INVALID_ARGUMENT",
  /** So spelled in the public contract. */
  TASK_IS_WATING: "FAILED_PRECONDITION",
  TASK_IS_RUNNING: "FAILED_PRECONDITION",
  TASK_FAILED: "FAILED_PRECONDITION",
  TASK_FINISHED: "FAILED_PRECONDITION",
  DATA_ERROR: "INVALID_ARGUMENT",
  CMD_ERROR: "FAILED_PRECONDITION",
} as const;

export type Code = keyof typeof TYPES;

export function refusal(code: Code, message: string): LongshoreError {
  return new LongshoreError(TYPES[code], message, { reason: code });
}

export function isCode(reason: string): reason is Code {
  return Object.hasOwn(TYPES, reason);
}

/** The code that an error has for clients. */
export function codeOf({ type, data }: ErrorView): Code {
  if (data.reason !== undefined && isCode(data.reason)) return data.reason;
  if (type === "RESOURCE_EXHAUSTED") return "QPS_LIMIT";
  return type === "INVALID_ARGUMENT" ? "DATA_ERROR" : "CMD_ERROR";
}
