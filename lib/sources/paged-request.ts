/** A paged query as an export request names it. */
export interface PagedRequest {
  url: string;
  method: "GET" | "POST";
  /** Headers of the request's author; never told in an error. */
  header: Readonly<Record<string, string>>;
  /** Sent with every page, beside `page`: in the query of a GET, in the JSON body of a POST. */
  param: Readonly<Record<string, unknown>>;
  /** The header `xt-export-taskId`, by which a source knows one export from another. */
  taskId: string;
}

export interface FetchLimits {
  /** A page that is not here after so long has failed its try. */
  pageTimeoutMs: number;
  /** Tries of a page, the first included; only transport errors, 429 and 5xx are tried again. */
  tries: number;
  /** The wait before the second try; doubles with every further one. */
  backoffMs: number;
  /** The longest wait that a source may ask for with Retry-After. */
  maxRetryAfterMs: number;
  maxPageBytes: number;
  maxRedirects: number;
}

export const FETCH_LIMITS: FetchLimits = {
  pageTimeoutMs: 30_000,
  tries: 3,
  backoffMs: 500,
  maxRetryAfterMs: 30_000,
  maxPageBytes: 64 * 1024 * 1024,
  maxRedirects: 5,
};
