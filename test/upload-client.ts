/** A client of uploads over REST. */
import type { Readable } from "node:stream";

/** As REST tells it. */
export interface Upload {
  id: string;
  key: string;
  state: string;
  name: string;
  contentType: string;
  size?: string;
  sha256: string;
  partCount: number;
  partSize: string;
  claimedBy: string;
  createTime: string;
  expireTime: string;
  completeTime?: string;
}

export interface PreSigned {
  url: string;
  key: string;
  method: string;
  headers: Record<string, string>;
  expireTime: string;
}

export interface Refused {
  status: number;
  message: string;
}

export class UploadClient {
  readonly #http: string;

  constructor(http: string) {
    this.#http = http;
  }

  /** The answer of a path that must succeed. */
  async call<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await this.#fetch(method, path, body);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${response.status} ${text}`);
    return JSON.parse(text) as T;
  }

  /** The refusal of one that must not. */
  async refused(method: string, path: string, body?: object): Promise<Refused> {
    return refusalOf(await this.#fetch(method, path, body));
  }

  preSign(query: Record<string, string> = {}): Promise<PreSigned> {
    return this.call("GET", `/v1/presign?${new URLSearchParams(query).toString()}`);
  }

  get(key: string): Promise<Upload> {
    return this.call("GET", `/v1/${key}`);
  }

  /** Presigns, puts and answers the upload. */
  async upload(content: string, query: Record<string, string> = {}): Promise<Upload> {
    const { url, headers, key } = await this.preSign(query);
    const response = await put(url, content, headers);
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    return this.get(key);
  }

  /** Follows the URL of the upload's download. */
  async download({ id }: Upload, headers: Record<string, string> = {}): Promise<Response> {
    const { url } = await this.call<PreSigned>("POST", `/v1/uploads/${id}:presign`);
    return fetch(url, { headers });
  }

  #fetch(method: string, path: string, body?: object): Promise<Response> {
    const json = body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    return fetch(this.#http + path, { method, ...json });
  }
}

export function put(
  url: string,
  body: string | Uint8Array | Readable,
  headers: Record<string, string> = {},
): Promise<Response> {
  const init = { method: "PUT", body, headers, duplex: "half" };
  return fetch(url, init as unknown as RequestInit);
}

export async function refusalOf(response: Response): Promise<Refused> {
  const { error } = (await response.json()) as { error: { message: string } };
  return { status: response.status, message: error.message };
}
