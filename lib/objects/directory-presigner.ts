/** URLs of the gateway that carry what they are for, an expiry and an HMAC. */
import { LongshoreError } from "../errors.ts";
import { checkKey } from "./object-store.ts";
import type { GetTerms, PresignedRequest, Presigner, PutTerms } from "./presigner.ts";
import type { Claims } from "./signed-url.ts";
import { signPath, verifyPath } from "./signed-url.ts";

/** Where the gateway serves objects; the rest of the path is the key. */
export const OBJECTS_PATH = "/v1/objects/";

const CLAIMS = ["method", "size", "sha256", "file_name", "content_type"];

/** A request's query as it came. */
type Query = Record<string, unknown>;

export class DirectoryPresigner implements Presigner {
  readonly #baseUrl: () => string;
  readonly #secret: Buffer;

  /** `baseUrl` is what URLs begin with, and may be known only once the gateway listens. */
  constructor(baseUrl: () => string, secret: Buffer) {
    this.#baseUrl = baseUrl;
    this.#secret = secret;
  }

  put(key: string, { size, sha256 }: PutTerms, expiresAt: Date): Promise<PresignedRequest> {
    const claims = { ...(size !== undefined && { size: String(size) }), ...(sha256 !== undefined && { sha256 }) };
    return Promise.resolve(this.#presign("PUT", key, claims, expiresAt));
  }

  get(key: string, { fileName, contentType }: GetTerms, expiresAt: Date): Promise<PresignedRequest> {
    const claims = { file_name: fileName.toWellFormed(), content_type: contentType };
    return Promise.resolve(this.#presign("GET", key, claims, expiresAt));
  }

  /**
   * Checks that a request's query was made here, for this key and a method that is one of `methods`, and is good still;
   * PERMISSION_DENIED says what is wrong.
   */
  verify(methods: string[], key: string, query: Query): void {
    const claims = claimsOf(query);
    const signed = { expires: text(query["expires"]), signature: text(query["signature"]) };
    const state = verifyPath(OBJECTS_PATH + key, signed, this.#secret, Date.now(), claims);
    if (state === "forged") throw denied("the URL is not one of ours, or was altered");
    if (state === "expired") throw denied("the URL has expired");
    const { method = "" } = claims;
    if (!methods.includes(method)) throw denied(`the URL is for ${method} and no other method`);
  }

  #presign(method: "GET" | "PUT", key: string, claims: Claims, expiresAt: Date): PresignedRequest {
    checkKey(key);
    const path = signPath(OBJECTS_PATH + key, expiresAt, this.#secret, { method, ...claims });
    return { url: this.#baseUrl() + path, method, headers: {}, expiresAt };
  }
}

/** The terms in the query of a PUT that was verified. */
export function putTermsOf(query: Query): PutTerms {
  const { size, sha256 } = claimsOf(query);
  return { ...(size !== undefined && { size: Number(size) }), ...(sha256 !== undefined && { sha256 }) };
}

/** The terms in the query of a GET that was verified. */
export function getTermsOf(query: Query): GetTerms {
  const { file_name: fileName = "", content_type: contentType = "" } = claimsOf(query);
  return { fileName, contentType };
}

function claimsOf(query: Query): Claims {
  return Object.fromEntries(CLAIMS.flatMap((name) => (name in query ? [[name, text(query[name])]] : [])));
}

/** A parameter that was given twice is no claim of ours. */
function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function denied(message: string): LongshoreError {
  return new LongshoreError("PERMISSION_DENIED", message);
}
