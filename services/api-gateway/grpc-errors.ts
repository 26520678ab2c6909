/** What a failed call becomes for a gRPC client: a status with google.rpc details, or an answer of its service's form. */
import type { ErrorType } from "../../lib/errors.ts";
import { viewError } from "../../lib/errors.ts";
import type { Status } from "../../lib/grpc/status.ts";
import { encodeStatus } from "../../lib/protobuf/google-rpc.ts";
import type { ErrorTemplate } from "../../mixins/grpc.mixin.ts";
import { fillTemplate } from "./error-template.ts";

/** Refusals of the business, which a service with a template answers in its own form; the rest is the transport's. */
const REFUSALS: ReadonlySet<ErrorType> = new Set([
  "INVALID_ARGUMENT",
  "FAILED_PRECONDITION",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "ABORTED",
  "OUT_OF_RANGE",
  "INTERNAL",
] as const);

/** Trailers count against a client's limit for headers, 8 KiB with many: the text goes there twice. */
const MAX_MESSAGE = 1500;

/** The status, details included, that ends a call for this error. */
export function statusOf(error: unknown, requestId: string): Status {
  const view = viewError(error);
  const message = view.message.length > MAX_MESSAGE ? `${view.message.slice(0, MAX_MESSAGE)}…` : view.message;
  const metadata = { "grpc-status-details-bin": encodeStatus({ ...view, message }, requestId) };
  return { code: view.grpc, details: message, metadata };
}

/** The answer that stands for this error, where the service has a template and the error is a refusal. */
export function refusalOf(
  error: unknown,
  template: ErrorTemplate | undefined,
  requestId: string,
  request: object,
): Record<string, unknown> | undefined {
  if (!template) return undefined;
  const view = viewError(error);
  return REFUSALS.has(view.type) ? fillTemplate(template, view, requestId, request) : undefined;
}
