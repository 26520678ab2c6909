/**
 * The errors that Longshore throws, each with one type. The type fixes its HTTP status and its gRPC code
 * (https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto), and is what survives the way
 * between nodes: edges map by `type`, never by class or message.
 */

const CODES = {
  INVALID_ARGUMENT: { http: 400, grpc: 3 },
  FAILED_PRECONDITION: { http: 400, grpc: 9 },
  UNAUTHENTICATED: { http: 401, grpc: 16 },
  PERMISSION_DENIED: { http: 403, grpc: 7 },
  NOT_FOUND: { http: 404, grpc: 5 },
  ALREADY_EXISTS: { http: 409, grpc: 6 },
  ABORTED: { http: 409, grpc: 10 },
  OUT_OF_RANGE: { http: 416, grpc: 11 },
  RESOURCE_EXHAUSTED: { http: 429, grpc: 8 },
  CANCELLED: { http: 499, grpc: 1 },
  INTERNAL: { http: 500, grpc: 13 },
  UNIMPLEMENTED: { http: 501, grpc: 12 },
  UNAVAILABLE: { http: 503, grpc: 14 },
  DEADLINE_EXCEEDED: { http: 504, grpc: 4 },
} as const;

/** The name of a google.rpc.Code. */
export type ErrorType = keyof typeof CODES;

export const ERROR_TYPES = Object.keys(CODES) as ErrorType[];

/** What a client may learn of an error beside its message. */
export interface ErrorData {
  /** The path of the request's field that is wrong, as the client wrote it: `Task.Channel`. */
  field?: string;
  /** UPPER_SNAKE reason for google.rpc.ErrorInfo; the type where there is none. */
  reason?: string;
  /** Further facts for google.rpc.ErrorInfo. */
  metadata?: Record<string, string>;
}

/** The only error class that Longshore throws on purpose; anything else is a fault and goes out as INTERNAL. */
export class LongshoreError extends Error {
  readonly type: ErrorType;
  /** HTTP status. */
  readonly code: number;
  readonly data: ErrorData;
  readonly retryable: boolean;

  constructor(type: ErrorType, message: string, data: ErrorData = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = "LongshoreError";
    this.type = type;
    this.code = CODES[type].http;
    this.data = data;
    this.retryable = type === "UNAVAILABLE";
  }
}

/** The request is wrong, whatever the state of the system; `field` names the part that is. */
export function invalidArgument(field: string, problem: string): LongshoreError {
  return new LongshoreError("INVALID_ARGUMENT", `${field}: ${problem}`, { field });
}

export function notFound(message: string, metadata?: Record<string, string>): LongshoreError {
  return new LongshoreError("NOT_FOUND", message, { metadata });
}

/** The request is well formed, but the system is not in a state for it. */
export function failedPrecondition(message: string, data?: ErrorData): LongshoreError {
  return new LongshoreError("FAILED_PRECONDITION", message, data);
}

export function unavailable(message: string, cause?: unknown): LongshoreError {
  return new LongshoreError("UNAVAILABLE", message, {}, { cause });
}

/** Types that Moleculer and moleculer-web give their errors, in our terms. */
const FOREIGN_TYPES: Record<string, ErrorType> = {
  VALIDATION_ERROR: "INVALID_ARGUMENT",
  REQUEST_TIMEOUT: "DEADLINE_EXCEEDED",
  REQUEST_SKIPPED: "DEADLINE_EXCEEDED",
  REQUEST_REJECTED: "UNAVAILABLE",
  QUEUE_FULL: "RESOURCE_EXHAUSTED",
  SERVICE_NOT_FOUND: "UNAVAILABLE",
  SERVICE_NOT_AVAILABLE: "UNAVAILABLE",
  NODE_DISCONNECTED: "UNAVAILABLE",
  GRACEFUL_STOP: "UNAVAILABLE",
  MAX_PAYLOAD_EXCEEDED: "RESOURCE_EXHAUSTED",
  MAX_CALL_LEVEL: "INTERNAL",
  RATE_LIMIT_EXCEEDED: "RESOURCE_EXHAUSTED",
};

/** An error in the one form that every edge writes its own contract from. */
export interface ErrorView {
  type: ErrorType;
  http: number;
  grpc: number;
  message: string;
  data: ErrorData;
}

interface ErrorLike {
  type?: unknown;
  code?: unknown;
  name?: unknown;
  message?: unknown;
  data?: unknown;
}

/**
 * Reads any thrown value, also one that came from another node. What Longshore did not throw on purpose becomes
 * INTERNAL with a message that tells nothing of the inside.
 */
export function viewError(thrown: unknown): ErrorView {
  const error = (thrown ?? {}) as ErrorLike;
  // The client of NATS has its types in `code`.
  const rawType = [error.type, error.code].find((type) => typeof type === "string") ?? "";
  const known = rawType in CODES ? (rawType as ErrorType) : FOREIGN_TYPES[rawType];
  if (error.name === "AbortError") return view("CANCELLED", "the call was cancelled");
  if (!known) return view("INTERNAL", "internal error");
  if (rawType === "VALIDATION_ERROR") return viewValidation(error);
  if (rawType in CODES) return view(known, String(error.message ?? known), (error.data as ErrorData | undefined) ?? {});
  return view(known, FOREIGN_MESSAGES[rawType] ?? String(error.message ?? known));
}

const FOREIGN_MESSAGES: Record<string, string> = {
  SERVICE_NOT_FOUND: "no node offers this right now",
  SERVICE_NOT_AVAILABLE: "no node offers this right now",
  NODE_DISCONNECTED: "the node that served the call went away",
  REQUEST_REJECTED: "the node that served the call went away",
  REQUEST_TIMEOUT: "the call took longer than its deadline",
  REQUEST_SKIPPED: "the call's deadline passed before it started",
  MAX_PAYLOAD_EXCEEDED: "the message is larger than what goes between nodes",
};

function view(type: ErrorType, message: string, data: ErrorData = {}): ErrorView {
  return { type, ...CODES[type], message, data };
}

/** fastest-validator gives a list of `{field, message}`; the first one names the field. */
function viewValidation(error: ErrorLike): ErrorView {
  const problems = Array.isArray(error.data) ? (error.data as { field?: string; message?: string }[]) : [];
  const first = problems[0];
  if (!first?.field) return view("INVALID_ARGUMENT", String(error.message ?? "invalid request"));
  const text = problems.map((problem) => `${problem.field}: ${problem.message ?? "is invalid"}`).join("; ");
  return view("INVALID_ARGUMENT", text, { field: first.field });
}
