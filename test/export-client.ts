/** A client of export's REST, and what tests ask of an export's file. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { UnpackedFile } from "./table-files.ts";
import { unpack } from "./table-files.ts";
import { withTempDir } from "./temp-dir.ts";
import { waitFor } from "./wait-for.ts";

export interface Envelope<T> {
  errcode: number;
  msg: string;
  data: T;
  request_id: string;
  next_page_token?: string;
}

export interface ExportSummary {
  created_at: string;
  ext_type: string;
  fail_reason: string;
  hash_key: string;
  id: number;
  source_type: string;
  status: number;
  title: string;
}

export interface ExportDetail extends ExportSummary {
  down_url: string;
  progress: number;
  pages: number;
  total_pages: number;
  rows: number;
  total_rows: number;
  bytes: number;
  sha256: string;
  callback: { state: string; tries: number; fail_reason: string } | null;
  rows_per_second: number;
  seconds_left: number | null;
  operation: string;
}

/** Server-sent events, until their stream ends. */
export async function* eventsOf(url: string): AsyncGenerator<{ id: string; data: ExportDetail }> {
  const response = await fetch(url);
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const events = text.split("\n\n");
    text = events.pop()!;
    for (const event of events) {
      const [, id = "", data = ""] = /^id: (.*)\ndata: (.*)$/.exec(event) ?? [];
      if (data) yield { id, data: JSON.parse(data) as ExportDetail };
    }
  }
}

export interface Answer<T> {
  status: number;
  body: Envelope<T>;
}

export class ExportClient {
  readonly #http: string;

  constructor(http: string) {
    this.#http = http;
  }

  /** A body that is text goes as it is. */
  async call<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<T>> {
    const response = await fetch(this.#http + path, {
      method,
      headers: { "content-type": "application/json", ...headers },
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Envelope<T> };
  }

  /** Asks for an export and answers its key. */
  async submit(kind: "http" | "raw", body: unknown): Promise<string> {
    const { body: answer } = await this.call<{ hash_key: string }>("POST", `/v1/export/${kind}`, body);
    if (answer.errcode !== 0) throw new Error(`${answer.errcode} ${answer.msg}`);
    return answer.data.hash_key;
  }

  async detail(key: string): Promise<ExportDetail> {
    const { body } = await this.call<ExportDetail>("GET", `/v1/export/detail?key=${key}`);
    if (body.errcode !== 0) throw new Error(`${body.errcode} ${body.msg}`);
    return body.data;
  }

  async history(user: string): Promise<ExportSummary[]> {
    return (await this.call<ExportSummary[]>("GET", `/v1/export/history?user_id=${user}`)).body.data;
  }

  /** The detail of an export that has ended, in whatever way; asks again where a node that just went was asked. */
  async ended(key: string): Promise<ExportDetail> {
    return waitFor(async () => {
      const { body } = await this.call<ExportDetail>("GET", `/v1/export/detail?key=${key}`);
      if (body.errcode === 503 || body.errcode === 504) return undefined;
      if (body.errcode !== 0) throw new Error(`${body.errcode} ${body.msg}`);
      return body.data.status === 1 ? undefined : body.data;
    });
  }

  /** The same of one that must succeed. */
  async done(key: string): Promise<ExportDetail> {
    const detail = await this.ended(key);
    if (detail.status !== 2) throw new Error(`status ${detail.status}: ${detail.fail_reason}`);
    return detail;
  }

  /** Follows a download link through this client's gateway, whichever node made the link. */
  download(link: string, init: RequestInit = {}): Promise<Response> {
    const { pathname, search } = new URL(link);
    return fetch(this.#http + pathname + search, init);
  }

  /** The files within the zip that a link leads to. */
  async unzip(link: string): Promise<UnpackedFile[]> {
    const response = await this.download(link);
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    const bytes = Buffer.from(await response.arrayBuffer());
    return withTempDir(async (directory) => {
      const path = join(directory, "export.zip");
      await writeFile(path, bytes);
      return unpack(path);
    });
  }
}
