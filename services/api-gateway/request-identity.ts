/**
 * Who a request is: its id, and its place in a trace (https://www.w3.org/TR/trace-context/), read from HTTP headers or
 * gRPC metadata alike.
 */
import { randomUUID } from "node:crypto";

export interface RequestIdentity {
  requestId: string;
  /** For what the request causes: the caller's trace, or a new one, with a span of our own. */
  traceparent: string;
}

const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})$/;
const HEX_TRACE = /^(?!0+$)(?:[0-9a-f]{16}){1,2}$/;
const SAFE_ID = /^[A-Za-z0-9._:/@+=-]{1,128}$/;

/** Reads the identity from headers, whose names are in lower case; what is malformed counts as absent. */
export function identify(header: (name: string) => string | undefined): RequestIdentity {
  const b3 = safeId(header("x-b3-traceid"));
  const parent = TRACEPARENT.exec(header("traceparent") ?? "");
  const given = b3 ?? parent?.[1] ?? safeId(header("x-request-id"));
  const fresh = randomUUID();
  const traceId = parent?.[1] ?? hexTrace(b3) ?? hex(fresh);
  // The random part of another UUID: its version and variant digits are left out.
  const spanId = hex(given === undefined ? randomUUID() : fresh)
    .slice(16)
    .padStart(16, "1");
  return { requestId: given ?? fresh, traceparent: `00-${traceId}-${spanId}-${parent?.[2] ?? "00"}` };
}

function safeId(value: string | undefined): string | undefined {
  return value !== undefined && SAFE_ID.test(value) ? value : undefined;
}

function hexTrace(id: string | undefined): string | undefined {
  const lower = id?.toLowerCase();
  return lower !== undefined && HEX_TRACE.test(lower) ? lower.padStart(32, "0") : undefined;
}

function hex(uuid: string): string {
  return uuid.replaceAll("-", "");
}
