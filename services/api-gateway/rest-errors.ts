/** Errors as REST answers: in the form of the service whose path it is, else in Google's (https://google.aip.dev/193). */
import type { ServerResponse } from "node:http";
import type { ErrorView } from "../../lib/errors.ts";
import { LongshoreError, viewError } from "../../lib/errors.ts";
import { errorDetails } from "../../lib/protobuf/google-rpc.ts";
import type { ErrorTemplate } from "../../mixins/grpc.mixin.ts";
import { fillTemplate } from "./error-template.ts";

const TOO_LARGE = "BODY_TOO_LARGE";

/** The request's body is larger than its path takes; HTTP has a status of its own for it. */
export function bodyTooLarge(limit: number): LongshoreError {
  return new LongshoreError("RESOURCE_EXHAUSTED", `body: larger than ${limit} bytes`, {
    field: "body",
    reason: TOO_LARGE,
  });
}

/** Answers a request with an error; does nothing where an answer is already on its way. */
export function sendError(res: ServerResponse, thrown: unknown, requestId: string, template?: ErrorTemplate): void {
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const error = viewRestError(thrown);
  sendJson(res, error.http, template ? fillTemplate(template, error, requestId) : defaultForm(error, requestId));
}

/** Answers a request with a JSON value. */
export function sendJson(res: ServerResponse, status: number, value: object): void {
  const body = JSON.stringify(value);
  res.writeHead(status, {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": Buffer.byteLength(body),
  });
  res.end(body);
}

/** An error with the status that it has over HTTP. */
export function viewRestError(thrown: unknown): ErrorView {
  const view = viewError(thrown);
  return view.data.reason === TOO_LARGE ? { ...view, http: 413 } : view;
}

function defaultForm(error: ErrorView, requestId: string): object {
  const details = errorDetails(error, requestId).map(({ type, value }) => ({
    "@type": `type.googleapis.com/${type}`,
    ...camelCase(value),
  }));
  return { error: { code: error.http, message: error.message, status: error.type, details } };
}

/** The details' few names in protobuf JSON. */
function camelCase({ field_violations, request_id, ...rest }: Record<string, unknown>): Record<string, unknown> {
  return {
    ...rest,
    ...(field_violations !== undefined && { fieldViolations: field_violations }),
    ...(request_id !== undefined && { requestId: request_id }),
  };
}
