/** Requests and answers of the contract, as protobuf and as protobuf JSON. */
import { LongshoreError, viewError } from "../../lib/errors.ts";
import { fromJson } from "../../lib/protobuf/from-json.ts";
import { toJson } from "../../lib/protobuf/json.ts";
import { loadProto, readProto } from "../../lib/protobuf/proto-source.ts";
import type { Regions } from "./change.ts";
import { RecordsRead } from "./records-read.ts";
import { refusal } from "./refusal.ts";

export const PROTO = "saasapi/saasapi.proto";

const contract = loadProto(readProto(PROTO));
const SaasReq = contract.lookupType("saasapi.SaasReq");
const SaasRes = contract.lookupType("saasapi.SaasRes");
const Task = contract.lookupType("saasapi.Task");

export const COMMANDS = [
  "read",
  "write",
  "column_write",
  "task_create",
  "task_list",
  "task_run",
  "task_delete",
  "task_info",
  "debug",
] as const;

export type Command = (typeof COMMANDS)[number];

export interface ReadCommand {
  dataspace_id: string;
  appid: string;
  read_items: { userid: string }[];
}

export interface WriteCommand {
  dataspace_id: string;
  appid: string;
  is_clear_all_first: boolean;
  write_items: (Regions & { userid: string })[];
}

export interface ColumnWriteCommand extends Regions {
  dataspace_id: string;
  is_clear_all_first: boolean;
}

export interface DebugCommand {
  lua_script: string;
  use_server_data: boolean;
  server_did: string;
  appid: string;
  server_openid: string;
  local_did_data?: Regions | null;
  local_openid_data?: Regions | null;
}

/** A uint64, as it is decoded or as it is to be encoded. */
type Uint64Field = number | { toString(): string };

export interface TaskMessage {
  dataspace_id: string;
  appid: string;
  task_sha256: string;
  task_description: string;
  task_file_infos: {
    file_name: string;
    file_size: Uint64Field;
    file_blocks: { block_sha256: string; block_length: Uint64Field; uploaded: boolean }[];
  }[];
  task_block_size: Uint64Field;
  source_path: string;
  task_size: Uint64Field;
  create_time?: string;
  run_time?: string;
  finish_time?: string;
  status?: string;
}

/** A command about a task that is there. */
export interface TaskNamed {
  task_sha256: string;
}

/** A decoded request: of the commands at most one is there. */
export interface SaasRequest {
  cmd?: Command;
  read: ReadCommand;
  write: WriteCommand;
  column_write: ColumnWriteCommand;
  debug: DebugCommand;
  task_create: TaskMessage;
  task_list: { status_filter: number };
  task_run: TaskNamed;
  task_delete: TaskNamed;
  task_info: TaskNamed;
}

/** A SaasRes. */
export type SaasAnswer = Record<string, unknown> | RecordsRead;

export type Format = "protobuf" | "json";

export const MEDIA_TYPES: Record<Format, string> = {
  protobuf: "application/x-protobuf",
  json: "application/json",
};

/** Undefined for a media type that is none of the contract's. */
export function formatOf(contentType: string): Format | undefined {
  const type = contentType.split(";", 1)[0]!.trim().toLowerCase();
  return (["protobuf", "json"] as const).find((format) => MEDIA_TYPES[format] === type);
}

/** Throws DECODE_BODY. */
export function decodeRequest(body: Uint8Array, format: Format): SaasRequest {
  try {
    if (format === "protobuf") return SaasReq.decode(body) as unknown as SaasRequest;
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    const json: unknown = JSON.parse(text);
    if (typeof json !== "object" || json === null || Array.isArray(json)) throw new Error("must be an object");
    return readMessage(fromJson(SaasReq, json as Record<string, unknown>));
  } catch (error) {
    const { message } = error instanceof LongshoreError ? viewError(error) : (error as Error);
    throw refusal("DECODE_BODY", `the body is not a SaasReq: ${message.slice(0, 300)}`);
  }
}

/** A request as the gateway decodes it of gRPC: the names of the proto, 64-bit integers as text. */
export function readMessage(message: Record<string, unknown>): SaasRequest {
  return SaasReq.fromObject(message) as unknown as SaasRequest;
}

export function messageOf(answer: SaasAnswer): Record<string, unknown> {
  return answer instanceof RecordsRead ? answer.toMessage() : answer;
}

export function encodeAnswer(answer: SaasAnswer, format: Format): Buffer {
  if (format === "json") return Buffer.from(JSON.stringify(toJson(SaasRes, messageOf(answer))));
  if (answer instanceof RecordsRead) return answer.encode();
  return SaasRes.encode(SaasRes.fromObject(answer)).finish() as Buffer;
}

export function encodeTask(task: Partial<TaskMessage>): Buffer {
  return Task.encode(Task.fromObject(task)).finish() as Buffer;
}

export function decodeTask(bytes: Uint8Array): TaskMessage {
  return Task.toObject(Task.decode(bytes), { longs: Number, arrays: true, defaults: true }) as TaskMessage;
}

/** Names of TaskStatus. */
export function statusName(value: number): string | undefined {
  return contract.lookupEnum("saasapi.TaskStatus").valuesById[value];
}
