import type { IncomingMessage } from "node:http";
import { LongshoreError, invalidArgument } from "../../lib/errors.ts";
import { bodyTooLarge } from "./rest-errors.ts";

/** A body that is still not there after this time holds its connection for nothing. */
const BODY_TIMEOUT = 60_000;

/** Reads a request's JSON object; an absent body is an empty one. Throws INVALID_ARGUMENT for what is no object. */
export async function readJsonBody(req: IncomingMessage, limit: number): Promise<Record<string, unknown>> {
  const bytes = await readBody(req, limit);
  if (bytes.length === 0) return {};
  const value = parse(bytes);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidArgument("body", "must be a JSON object");
  }
  return value as Record<string, unknown>;
}

/** Reads a request's body whole, up to `limit` bytes. */
export async function readBody(req: IncomingMessage, limit: number): Promise<Buffer> {
  if (Number(req.headers["content-length"]) > limit) throw bodyTooLarge(limit);
  const timeout = setTimeout(() => req.destroy(bodyTooSlow()), BODY_TIMEOUT);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) throw bodyTooLarge(limit);
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timeout);
  }
  return Buffer.concat(chunks);
}

function bodyTooSlow(): LongshoreError {
  return new LongshoreError("DEADLINE_EXCEEDED", `body: not there after ${BODY_TIMEOUT / 1000} s`);
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalidArgument("body", `is not JSON: ${(error as Error).message}`);
  }
}
