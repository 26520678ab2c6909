import { createHmac, timingSafeEqual } from "node:crypto";

/** Whether a signed path may be served: only a valid one. */
export type SignatureState = "valid" | "expired" | "forged";

/** What a signed URL says beside its path, as parameters of its query. */
export type Claims = Record<string, string>;

/** Appends claims, `expires` (Unix seconds) and `signature` (HMAC-SHA256 by `secret`) to a path that has no query. */
export function signPath(path: string, expiresAt: Date, secret: Buffer, claims: Claims = {}): string {
  const expires = String(Math.floor(expiresAt.getTime() / 1000));
  const signature = digest(path, expires, secret, claims).toString("base64url");
  return `${path}?${new URLSearchParams({ ...claims, expires, signature }).toString()}`;
}

/** Judges a signed path in time that does not depend on how much of the signature is right. */
export function verifyPath(
  path: string,
  query: { expires?: string; signature?: string },
  secret: Buffer,
  now: number = Date.now(),
  claims: Claims = {},
): SignatureState {
  const { expires = "", signature = "" } = query;
  const expected = digest(path, expires, secret, claims);
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return "forged";
  return Number(expires) * 1000 > now ? "valid" : "expired";
}

/** A path, which may hold anything, comes last: nothing of it can be taken for a claim. */
function digest(path: string, expires: string, secret: Buffer, claims: Claims): Buffer {
  const query = new URLSearchParams(claims);
  query.sort();
  const terms = query.size > 0 ? `${expires}?${query.toString()}` : expires;
  return createHmac("sha256", secret).update(`${terms}\n${path}`).digest();
}
