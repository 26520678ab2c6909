/** The error model of google.rpc (https://google.aip.dev/193): an error as a Status with its details. */
import type protobuf from "protobufjs";
import type { ErrorView } from "../errors.ts";
import { loadProto } from "./proto-source.ts";

/** The domain of every ErrorInfo of ours. */
export const ERROR_DOMAIN = "longshore";

/** A detail with the full name of its type, fields as in the proto. */
export interface ErrorDetail {
  type: string;
  value: Record<string, unknown>;
}

/** What a client may learn: ErrorInfo always, BadRequest where a field is wrong, RequestInfo where the request has an id. */
export function errorDetails({ type, message, data }: ErrorView, requestId?: string): ErrorDetail[] {
  const info = { reason: data.reason ?? type, domain: ERROR_DOMAIN, metadata: data.metadata ?? {} };
  const details: ErrorDetail[] = [{ type: "google.rpc.ErrorInfo", value: info }];
  if (data.field !== undefined) {
    const violation = { field: data.field, description: message };
    details.push({ type: "google.rpc.BadRequest", value: { field_violations: [violation] } });
  }
  if (requestId !== undefined) {
    details.push({ type: "google.rpc.RequestInfo", value: { request_id: requestId } });
  }
  return details;
}

/** An ErrorInfo as a google.protobuf.Any. */
export function packError(info: { reason: string; domain: string; metadata: Record<string, string> }): {
  type_url: string;
  value: Buffer;
} {
  return { type_url: "type.googleapis.com/google.rpc.ErrorInfo", value: encode("google.rpc.ErrorInfo", info) };
}

/** An error as the bytes of a google.rpc.Status, as `grpc-status-details-bin` carries it. */
export function encodeStatus(error: ErrorView, requestId?: string): Buffer {
  const details = errorDetails(error, requestId).map(({ type, value }) => ({
    type_url: `type.googleapis.com/${type}`,
    value: encode(type, value),
  }));
  return encode("google.rpc.Status", { code: error.grpc, message: error.message, details });
}

let root: protobuf.Root | undefined;

function encode(typeName: string, value: Record<string, unknown>): Buffer {
  root ??= loadProto({
    "error.proto": 'syntax = "proto3"; import "google/rpc/status.proto"; import "google/rpc/error_details.proto";',
  });
  const type = root.lookupType(typeName);
  return type.encode(type.fromObject(value)).finish() as Buffer;
}
