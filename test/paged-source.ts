import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";

/** What the source was asked. */
export interface PageRequest {
  page: number;
  limit: number;
  method: string;
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
  /** The JSON body of a POST. */
  body: Record<string, unknown>;
  /** How often this page was asked for, this time included. */
  attempt: number;
}

export interface PagedSourceOptions {
  /** Rows of the whole; may change while it is read. */
  total: () => number;
  row: (index: number) => unknown;
  header: unknown;
  /** Answers in place of the source; true if it did. */
  intercept?: (request: PageRequest, response: ServerResponse) => boolean | Promise<boolean>;
}

export interface PagedSource {
  url: string;
  requests: PageRequest[];
  /** The most requests that were under way at once. */
  peak: () => number;
}

/** Runs `body` with an HTTP server that serves rows by pages, as the export's contract has it. */
export async function withPagedSource<T>(
  options: PagedSourceOptions,
  body: (source: PagedSource) => Promise<T>,
): Promise<T> {
  const requests: PageRequest[] = [];
  let underWay = 0;
  let peak = 0;
  const server = createServer((message, response) => {
    peak = Math.max(peak, ++underWay);
    response.on("close", () => underWay--);
    void answer(options, requests, message, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    return await body({ url: `http://127.0.0.1:${port}/page`, requests, peak: () => peak });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

async function answer(
  options: PagedSourceOptions,
  requests: PageRequest[],
  message: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { searchParams: query } = new URL(message.url ?? "/", "http://source");
  const { method = "GET", headers } = message;
  const body = method === "POST" ? ((await json(message)) as Record<string, unknown>) : {};
  const page = Number(query.get("page") ?? body["page"] ?? 1);
  const limit = Number(query.get("limit") ?? body["limit"] ?? 10);
  const attempt = requests.filter((request) => request.page === page).length + 1;
  const request: PageRequest = { page, limit, method, query, headers, body, attempt };
  requests.push(request);
  if (await options.intercept?.(request, response)) return;
  const total = options.total();
  const count = Math.max(0, Math.min(limit, total - (page - 1) * limit));
  const rows = Array.from({ length: count }, (_, index) => options.row((page - 1) * limit + index));
  const pagetag = { page, limit, total, total_page: Math.ceil(total / limit) };
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ errcode: 0, msg: "", data: { data: [options.header, ...rows], pagetag } }));
}
