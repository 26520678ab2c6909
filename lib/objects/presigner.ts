/** A request that who has it may send without any other credential, until it expires. */
export interface PresignedRequest {
  url: string;
  method: "GET" | "PUT";
  /** Headers that the request must have. */
  headers: Record<string, string>;
  expiresAt: Date;
}

/** What the body of a presigned PUT must be. */
export interface PutTerms {
  /** Bytes. */
  size?: number;
  /** Hex digest. */
  sha256?: string;
}

/** How a presigned download is sent. */
export interface GetTerms {
  /** What the browser shall call it; any characters. */
  fileName: string;
  contentType: string;
}

/** Presigns requests for objects, at the gateway or at S3. It does not ask whether there is such an object. */
export interface Presigner {
  /** A PUT that writes the object. A body that is not as the terms say is refused. */
  put(key: string, terms: PutTerms, expiresAt: Date): Promise<PresignedRequest>;
  /** A GET, or a HEAD, of the object; with Range. */
  get(key: string, terms: GetTerms, expiresAt: Date): Promise<PresignedRequest>;
}
