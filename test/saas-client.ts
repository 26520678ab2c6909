/** A client of the user-data space: over HTTP as protobuf or protobuf JSON, signed as the public contract has it. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import protobuf from "protobufjs";

export const SAAS_PROTO = join(import.meta.dirname, "..", "proto", "saasapi", "saasapi.proto");

const contract = new protobuf.Root().loadSync(SAAS_PROTO, { keepCase: true });
const SaasReq = contract.lookupType("saasapi.SaasReq");
const SaasRes = contract.lookupType("saasapi.SaasRes");

export interface FlagMessage {
  flag: boolean;
  default_flag: boolean;
  expire: number;
}

export interface ValueMessage {
  cmd_index: number;
  cmd_code: string;
  bytes: Buffer;
  uint32s: number[];
  flags_with_expire: FlagMessage[];
  last_modify_time: number;
}

export interface TaskMessage {
  dataspace_id: string;
  appid: string;
  task_sha256: string;
  task_description: string;
  task_file_infos: {
    file_name: string;
    file_size: string;
    file_blocks: { block_sha256: string; block_length: string; uploaded: boolean }[];
  }[];
  task_block_size: string;
  task_size: string;
  create_time: string;
  run_time: string;
  finish_time: string;
  status: string;
}

export interface Answer {
  http: number;
  code: string;
  status: string;
  task_create_res?: TaskMessage;
  task_list_res?: { tasks: TaskMessage[] };
  task_run_res?: TaskMessage;
  task_delete_res?: TaskMessage;
  task_info_res?: TaskMessage;
  read_res?: { succ_cmd_count: number; fail_cmd_count: number; cmd_res: ValueMessage[] };
  write_res?: { failed_userid: string[] };
}

export interface Identity {
  account: string;
  token: string;
}

/** What SAAS_DEMO makes. */
export const DEMO: Identity = { account: "2000", token: "ABCDEF" };

export function signed({ account, token }: Identity, time = Math.floor(Date.now() / 1_000)): Record<string, string> {
  const authorization = createHash("md5").update(`${account}${token}${time}`).digest("hex");
  return { account, time: String(time), authorization };
}

/** Of the columns. */
export function bitmap(columns: readonly number[]): string {
  return columns.reduce((bits, column) => bits | (1n << BigInt(column)), 0n).toString();
}

export function sha256Of(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

export function encode(request: object): Buffer {
  return SaasReq.encode(SaasReq.fromObject(request)).finish() as Buffer;
}

export function decode(bytes: Uint8Array): Omit<Answer, "http"> {
  const options = { enums: String, longs: String, defaults: true, arrays: true };
  return SaasRes.toObject(SaasRes.decode(bytes), options) as Omit<Answer, "http">;
}

export class SaasClient {
  readonly #http: string;
  readonly #identity: Identity;

  constructor(http: string, identity = DEMO) {
    this.#http = http;
    this.#identity = identity;
  }

  /** The answer, whatever it is; headers replace those that would be sent. */
  async send(path: string, body: Uint8Array | string, headers: Record<string, string> = {}): Promise<Answer> {
    const all = { "content-type": "application/x-protobuf", ...signed(this.#identity), ...headers };
    const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ""));
    const response = await fetch(this.#http + path, { method: "POST", body: body as string, headers: given });
    const bytes = Buffer.from(await response.arrayBuffer());
    const json = response.headers.get("content-type")?.startsWith("application/json");
    return { http: response.status, ...(json ? (JSON.parse(bytes.toString()) as Answer) : decode(bytes)) };
  }

  post(path: string, request: object, headers: Record<string, string> = {}): Promise<Answer> {
    return this.send(path, encode(request), headers);
  }

  /** Sends a block as it is, gzip by default. */
  upload(content: Uint8Array, headers: Record<string, string> = {}, sha256 = sha256Of(content)): Promise<Answer> {
    const type = { "content-type": "application/octet-stream", "content-encoding": "gzip" };
    return this.send(`/saas/task/upload?block_sha256=${sha256}`, gzipSync(content), { ...type, ...headers });
  }

  async read(space: string, userids: readonly string[], appid = ""): Promise<ValueMessage[]> {
    const read = { dataspace_id: space, appid, read_items: userids.map((userid) => ({ userid })) };
    return demandDone(await this.post("/saas/read", { read })).read_res!.cmd_res;
  }

  async write(space: string, write_items: object[], more: object = {}): Promise<string[]> {
    const write = { dataspace_id: space, write_items, ...more };
    return demandDone(await this.post("/saas/write", { write })).write_res!.failed_userid;
  }

  async writeColumns(space: string, regions: object): Promise<void> {
    demandDone(await this.post("/saas/column_write", { column_write: { dataspace_id: space, ...regions } }));
  }
}

export function demandDone(answer: Answer): Answer {
  if (answer.http !== 200 || answer.code !== "SUCC") throw new Error(`${answer.http} ${answer.code} ${answer.status}`);
  return answer;
}
