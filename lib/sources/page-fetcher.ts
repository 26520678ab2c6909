import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { gunzip as gunzipCallback } from "node:zlib";
import type { Dispatcher } from "undici";
import { LongshoreError, failedPrecondition, unavailable } from "../errors.ts";
import { askHttp, type HttpAnswer } from "./http-answer.ts";
import { checkUrl } from "./outbound.ts";
import type { FetchLimits, PagedRequest } from "./paged-request.ts";

const gunzip = promisify<Buffer, object, Buffer>(gunzipCallback);

/** A failure that another try may mend. */
class Passing extends Error {
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs = 0) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Ours to set, whatever the author of the request says. */
const OWN_HEADERS = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "te",
  "transfer-encoding",
  "upgrade",
  "xt-export-taskid",
]);

/** Of an answer that is no page: enough to say what it was. */
const EXCERPT_BYTES = 2_048;

/** Fetches pages by their number, with tries, redirects and limits; every error names the page. */
export class PageFetcher {
  readonly #request: PagedRequest;
  readonly #url: URL;
  readonly #agent: Pick<Dispatcher, "dispatch">;
  readonly #limits: FetchLimits;
  readonly #signal: AbortSignal;

  constructor(request: PagedRequest, agent: Pick<Dispatcher, "dispatch">, limits: FetchLimits, signal: AbortSignal) {
    this.#request = request;
    this.#url = checkUrl(request.url, "url");
    this.#agent = agent;
    this.#limits = limits;
    this.#signal = signal;
  }

  /** The bytes of a page's answer. */
  async fetch(page: number): Promise<Buffer> {
    for (let attempt = 1; ; attempt++) {
      this.#signal.throwIfAborted();
      try {
        return await this.#attempt(page);
      } catch (error) {
        this.#signal.throwIfAborted();
        if (!(error instanceof Passing)) throw error;
        if (attempt >= this.#limits.tries) {
          throw unavailable(`page ${page}: ${error.message} (${attempt} tries)`, error.cause);
        }
        const backoff = this.#limits.backoffMs * 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
        await delay(Math.max(backoff, error.retryAfterMs), undefined, { signal: this.#signal });
      }
    }
  }

  async #attempt(page: number): Promise<Buffer> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), this.#limits.pageTimeoutMs);
    const onAbort = () => timeout.abort();
    this.#signal.addEventListener("abort", onAbort);
    try {
      return await this.#follow(page, timeout.signal);
    } catch (error) {
      if (error instanceof Passing) throw error;
      if (timeout.signal.aborted) throw new Passing(`no answer within ${this.#limits.pageTimeoutMs / 1000} s`);
      throw explainTransport(error, page);
    } finally {
      clearTimeout(timer);
      this.#signal.removeEventListener("abort", onAbort);
    }
  }

  async #follow(page: number, signal: AbortSignal): Promise<Buffer> {
    let url = this.#pageUrl(page);
    let method: Dispatcher.HttpMethod = this.#request.method;
    const maxBytes = (status: number) => (isSuccess(status) ? this.#limits.maxPageBytes : EXCERPT_BYTES);
    for (let redirects = 0; ; redirects++) {
      const request = {
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: this.#headers(url, method),
        body: method === "POST" ? JSON.stringify({ ...this.#request.param, page }) : undefined,
      };
      const answer = await askHttp(this.#agent, request, { maxBytes, signal });
      const location = redirectTarget(answer);
      if (location === undefined) return await this.#read(answer, page);
      if (redirects === this.#limits.maxRedirects) {
        throw failedPrecondition(`page ${page}: more than ${redirects} redirects`);
      }
      url = checkedTarget(location, url, page);
      // As browsers do: only 307 and 308 promise that the request is sent again as it was.
      if (answer.status < 307) method = "GET";
    }
  }

  #pageUrl(page: number): URL {
    const url = new URL(this.#url);
    if (this.#request.method === "POST") return url;
    for (const [name, value] of Object.entries(this.#request.param)) {
      if (value === null || value === undefined) continue;
      url.searchParams.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
    }
    url.searchParams.set("page", String(page));
    return url;
  }

  #headers(url: URL, method: string): Record<string, string> {
    const headers: Record<string, string> = {
      accept: "application/json",
      "accept-encoding": "gzip",
      "user-agent": "longshore",
    };
    // They may hold a token, which is for the host that the author named and for no other.
    if (url.hostname === this.#url.hostname && (url.protocol === "https:" || this.#url.protocol === "http:")) {
      for (const [name, value] of Object.entries(this.#request.header)) {
        if (!OWN_HEADERS.has(name.toLowerCase())) headers[name.toLowerCase()] = value;
      }
    }
    if (method === "POST") headers["content-type"] = "application/json";
    headers["xt-export-taskId"] = this.#request.taskId;
    return headers;
  }

  async #read({ status, headers, body, whole }: HttpAnswer, page: number): Promise<Buffer> {
    if (!isSuccess(status)) {
      const text = excerpt(body);
      const problem = `the source answered ${status}${text === "" ? "" : `: ${text}`}`;
      if (status !== 429 && status < 500) throw failedPrecondition(`page ${page}: ${problem}`);
      throw new Passing(problem, Math.min(retryAfter(headers["retry-after"]), this.#limits.maxRetryAfterMs));
    }
    const encoding = (headers["content-encoding"] ?? "identity").toLowerCase();
    if (encoding !== "identity" && encoding !== "gzip") {
      throw failedPrecondition(`page ${page}: the source compressed its answer (${encoding}), which was not asked for`);
    }
    if (!whole) throw this.#tooLarge(page);
    return encoding === "gzip" ? await this.#unpack(body, page) : body;
  }

  /** Stops at the limit: a few bytes may unpack to gigabytes. */
  async #unpack(bytes: Buffer, page: number): Promise<Buffer> {
    try {
      return await gunzip(bytes, { maxOutputLength: this.#limits.maxPageBytes });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "ERR_BUFFER_TOO_LARGE") throw this.#tooLarge(page);
      throw new Passing(`the answer cannot be unpacked: ${message}`);
    }
  }

  #tooLarge(page: number): LongshoreError {
    const message = `page ${page}: the answer is larger than ${this.#limits.maxPageBytes} bytes; ask for fewer rows a page`;
    return new LongshoreError("RESOURCE_EXHAUSTED", message);
  }
}

function isSuccess(status: number): boolean {
  return status >= 200 && status <= 299;
}

function redirectTarget({ status, headers }: HttpAnswer): string | undefined {
  return [301, 302, 303, 307, 308].includes(status) ? headers.location : undefined;
}

function checkedTarget(location: string, from: URL, page: number): URL {
  const target = URL.canParse(location, from.href) ? new URL(location, from).href : location;
  try {
    return checkUrl(target, "the redirect's target");
  } catch (error) {
    throw failedPrecondition(`page ${page}: ${(error as Error).message}`);
  }
}

function retryAfter(header: string | undefined): number {
  if (header === undefined) return 0;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return ms > 0 ? ms : 0;
}

/** Refusals of our own go on as they are; what undici says of its arguments is the request's fault; the rest may pass. */
function explainTransport(error: unknown, page: number): unknown {
  if (error instanceof LongshoreError) {
    return error.type === "PERMISSION_DENIED"
      ? new LongshoreError(error.type, `page ${page}: ${error.message}`, error.data)
      : error;
  }
  const { code = "", message } = error as { code?: string; message: string };
  if (code === "UND_ERR_INVALID_ARG") return failedPrecondition(`page ${page}: the request cannot be sent: ${message}`);
  return new Passing(
    `the source cannot be reached: ${code === "" || message.includes(code) ? message : `${code}, ${message}`}`,
  );
}

/** The beginning of what a source said, on one line. */
export function excerpt(bytes: Buffer): string {
  const text = bytes
    .subarray(0, EXCERPT_BYTES)
    .toString("utf8")
    .replace(/[\s\p{Cc}\ufffd]+/gu, " ")
    .trim();
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}
