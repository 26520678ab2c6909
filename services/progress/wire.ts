/** Data tasks as the messages of woxqaq.v1, and those from and to protobuf JSON. */
import { fromJson } from "../../lib/protobuf/from-json.ts";
import { toJson } from "../../lib/protobuf/json.ts";
import { loadProto, readProto } from "../../lib/protobuf/proto-source.ts";
import type { Step } from "./audit.ts";
import type { DataTask, Kind, Told } from "./data-task.ts";
import type { Params } from "./request.ts";

export type Message = Record<string, unknown>;

export const PROTO = "woxqaq/v1/progress.proto";
export const DETAIL_MESSAGE = "woxqaq.v1.GetTaskDetailResponse";

const root = loadProto(readProto(PROTO));

type MessageName =
  | "SubmitTaskRequest"
  | "SubmitTaskResponse"
  | "GetTaskDetailRequest"
  | "GetTaskDetailResponse"
  | "ApproveRequest"
  | "StartRequest"
  | "CancelRequest"
  | "ListTasksRequest"
  | "ListTasksResponse";

/** REST's parameters as the message's. */
export function fromRest(name: MessageName, params: Params): Message {
  return fromJson(root.lookupType(`woxqaq.v1.${name}`), params);
}

export function toRest(name: MessageName, message: Message): object {
  return toJson(root.lookupType(`woxqaq.v1.${name}`), message);
}

/** What is told of a task beside itself. */
export interface Beside {
  url: string;
  reportUrl: string;
  /** Percent, and rows and bytes so far, of one that runs. */
  running?: { progress: number; rows: number; bytes: number };
  nextTime?: string;
}

/** The last ones: all that can be would not fit into a message. */
const SHOWN_STEPS = 100;

const DETAIL_FIELDS: Record<Kind, string> = { EXPORT: "ded", IMPORT: "did", GENERATE: "dgd" };

export function detailMessage(task: DataTask, told: Told, steps: readonly Step[], beside: Beside): Message {
  const { result } = told;
  const { running } = beside;
  return {
    ok: true,
    [DETAIL_FIELDS[task.kind]]: JSON.parse(task.detail) as Message,
    state: told.state,
    reason: told.reason,
    url: beside.url,
    rows: result?.rows ?? running?.rows ?? 0,
    bytes: result?.bytes ?? running?.bytes ?? 0,
    unmappable: result?.unmappable ?? 0,
    operation: hasBegun(steps) ? `operations/${runHash(task._id)}` : "",
    steps: steps.slice(-SHOWN_STEPS).map(stepMessage),
    ...taskFields(task),
    ...(told.rows !== undefined && { estimated_rows: told.rows }),
    approvers: told.terms.approvers,
    refused: result?.refused ?? 0,
    report_url: beside.reportUrl,
    progress: told.state === "SUCCESS" ? 100 : (running?.progress ?? 0),
    update_time: told.updateTime.toISOString(),
    next_time: beside.nextTime ?? "",
  };
}

/** As lists have it. */
export function summaryMessage(task: DataTask): Message {
  return {
    ok: true,
    [DETAIL_FIELDS[task.kind]]: JSON.parse(task.detail) as Message,
    state: task.state,
    ...taskFields(task),
    update_time: task.updateTime.toISOString(),
  };
}

function taskFields({ _id, name, submitter, dsn, createTime, parent }: DataTask): Message {
  return { task_id: _id, name, submitter, dsn, create_time: createTime.toISOString(), parent_id: parent ?? "" };
}

function stepMessage({ time, actor, action, state, comment, hash }: Step): Message {
  return { time: time.toISOString(), actor, action, state, comment, hash };
}

/** The HashCode of the task in the queue that does a data task's work. */
export function runHash(id: string): string {
  return `progress.${id}`;
}

export function checkHash(id: string): string {
  return `${runHash(id)}.check`;
}

/** The data task of such a HashCode; undefined for another. */
export function idOfHash(hash: string): string | undefined {
  return /^progress\.(\d{1,20})(?:\.check)?$/.exec(hash)?.[1];
}

function hasBegun(steps: readonly Step[]): boolean {
  return steps.some(({ action }) => action === "START");
}
