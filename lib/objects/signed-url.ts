import { createHmac, timingSafeEqual } from "node:crypto";

/** Whether a signed path may be served: only a valid one. */
export type SignatureState = "valid" | "expired" | "forged";

/** Appends `expires` (Unix seconds) and `signature` (HMAC-SHA256 by `secret`) to a path that has no query. */
export function signPath(path: string, expiresAt: Date, secret: Buffer): string {
  const expires = String(Math.floor(expiresAt.getTime() / 1000));
  return `${path}?expires=${expires}&signature=${digest(path, expires, secret).toString("base64url")}`;
}

/** Judges a signed path in time that does not depend on how much of the signature is right. */
export function verifyPath(
  path: string,
  query: { expires?: string; signature?: string },
  secret: Buffer,
  now: number = Date.now(),
): SignatureState {
  const { expires = "", signature = "" } = query;
  const expected = digest(path, expires, secret);
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return "forged";
  return Number(expires) * 1000 > now ? "valid" : "expired";
}

function digest(path: string, expires: string, secret: Buffer): Buffer {
  return createHmac("sha256", secret).update(`${expires}\n${path}`).digest();
}
