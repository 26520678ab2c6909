/** Who a request is from: its account, its time, and the signature of both, which the account's token makes. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { refusal } from "./refusal.ts";

/** Copied for each path: of an object that is there twice, the registry tells other nodes only once. */
export const HEADERS = ["account", "time", "authorization", "content-encoding"];

/** What a request says of itself, in headers or in metadata. */
export interface Credentials {
  account: string;
  /** Unix seconds. */
  time: string;
  authorization: string;
}

/** Whether an account's requests must sign their body too. */
export type SignatureKind = "any" | "hmac-sha256";

const SKEW_SECONDS = 30 * 60;
const HMAC = /^HMAC-SHA256\s+/i;

/** Finds the credentials; a header that is missing is empty. */
export function credentialsOf(headers: Readonly<Record<string, string>> = {}): Credentials {
  const { account = "", time = "", authorization = "" } = headers;
  return { account, time, authorization: authorization.trim() };
}

/** Throws INVALID_TIMESTAMP where the time is missing, is none, or is off by more than 30 minutes. */
export function checkTime({ time }: Credentials, nowSeconds: number): void {
  if (!/^\d{1,12}$/.test(time)) throw refusal("INVALID_TIMESTAMP", "Time: must be Unix seconds");
  if (Math.abs(Number(time) - nowSeconds) > SKEW_SECONDS) {
    throw refusal("INVALID_TIMESTAMP", "Time: is off by more than 30 minutes");
  }
}

/**
 * Throws AUTH_FAIL where the signature is not the one that the token makes; `body` is undefined where a request has no bytes of
 * its own, as over gRPC.
 */
export function checkSignature(
  credentials: Credentials,
  token: string,
  kind: SignatureKind,
  body: Uint8Array | undefined,
): void {
  const { authorization } = credentials;
  if (authorization === "") throw refusal("INVALID_SIGNATURE", "Authorization: is missing");
  const signsBody = HMAC.test(authorization);
  if (signsBody && !body)
    throw refusal("AUTH_FAIL", "Authorization: HMAC-SHA256 signs an HTTP body, and gRPC has none");
  if (!signsBody && kind === "hmac-sha256") {
    throw refusal("AUTH_FAIL", "Authorization: the account takes HMAC-SHA256 only");
  }
  const expected = signsBody ? hmacOf(credentials, token, body!) : md5Of(credentials, token);
  if (!equal(authorization.replace(HMAC, ""), expected)) {
    throw refusal("AUTH_FAIL", "Authorization: is not the signature of this request");
  }
}

/** As the public contract has it; it signs no body. */
export function md5Of({ account, time }: Pick<Credentials, "account" | "time">, token: string): string {
  return createHash("md5").update(`${account}${token}${time}`).digest("hex");
}

export function hmacOf(
  { account, time }: Pick<Credentials, "account" | "time">,
  token: string,
  body: Uint8Array,
): string {
  return createHmac("sha256", token).update(`${account}\n${time}\n`).update(body).digest("hex");
}

/** In a time that tells nothing of where they differ. */
function equal(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text.toLowerCase()).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
