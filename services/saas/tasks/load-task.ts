/**
 * A bulk load and the rules of its life, with no store in it.
 *
 *     WAITING -> READY -> QUEUED -> RUNNING -> SUCCESS | FAIL
 *
 * WAITING for blocks; QUEUED behind another load of the account, which clients know as RUNNING too. DELETED in any of them:
 * what is left of it is being removed.
 */
import { refusal } from "../refusal.ts";
import type { TaskMessage } from "../wire.ts";
import { decodeTask } from "../wire.ts";

export type State = "WAITING" | "READY" | "QUEUED" | "RUNNING" | "SUCCESS" | "FAIL" | "DELETED";

export interface LoadTask {
  /** See idOf. */
  _id: string;
  account: string;
  /** The client's name of it. */
  sha256: string;
  /** Names this one, also where another of the same name comes after it. */
  run: string;
  space: string;
  /** Empty where the data space knows no apps. */
  app: string;
  state: State;
  /** The Task as it was asked for, in protobuf, without its files and what only answers hold. */
  task: Buffer;
  /** Bytes of all files. */
  size: number;
  createTime: Date;
  /** Since when it waits to run. */
  queueTime?: Date;
  runTime?: Date;
  finishTime?: Date;
  /** How it ended, for clients. */
  status: string;
  /** When something is to be done about it, whatever else happens. */
  due: Date;
}

/** With its files, which are up to 800 KB: they are read for one task at a time. */
export interface WholeTask extends LoadTask {
  /** In protobuf, a Task that holds nothing else. */
  files: Buffer;
}

const DAY_MS = 86_400_000;
/** So long a load may wait to be run, and so long its end is told of. */
export const KEPT_MS = 7 * DAY_MS;

export const OPEN_STATES: readonly State[] = ["WAITING", "READY", "QUEUED", "RUNNING"];

/** Of the filter of a TaskList: ALL has none. */
export const STATES_OF_FILTER: Record<string, readonly State[]> = {
  WAITING: ["WAITING"],
  READY: ["READY"],
  RUNNING: ["QUEUED", "RUNNING"],
  SUCCESS: ["SUCCESS"],
  FAIL: ["FAIL"],
  DELETED: [],
};

export function idOf(account: string, sha256: string): string {
  return `${account}/${sha256}`;
}

/** The HashCode of its task in the queue. */
export function hashOf(run: string): string {
  return `saas.${run}`;
}

/** Of such a HashCode; undefined for another. */
export function runOfHash(hash: string): string | undefined {
  return /^saas\.([0-9a-f-]{36})$/.exec(hash)?.[1];
}

/** Throws why a load that is not READY cannot be run. */
export function demandReady({ state, status }: LoadTask): void {
  switch (state) {
    case "WAITING":
      throw refusal("TASK_IS_WATING", "task_run: blocks of the task are still to be uploaded");
    case "QUEUED":
    case "RUNNING":
      throw refusal("TASK_IS_RUNNING", "task_run: the task runs, or waits for its turn to");
    case "FAIL":
      throw refusal("TASK_FAILED", `task_run: the task has failed: ${status}`);
    case "SUCCESS":
      throw refusal("TASK_FINISHED", "task_run: the task has been done");
    case "READY":
    case "DELETED":
  }
}

/** A block as a task names it. */
export interface Block {
  sha256: string;
  length: number;
}

/** A block in the store of an account: blocks of the same name and another length are others. */
export function blockId(account: string, { sha256, length }: Block): string {
  return `${account}/${sha256}-${length}`;
}

export interface FileBlocks {
  name: string;
  blocks: Block[];
}

export function filesOf({ files }: WholeTask): FileBlocks[] {
  return decodeTask(files).task_file_infos.map(({ file_name, file_blocks }) => ({
    name: file_name,
    blocks: file_blocks.map(({ block_sha256, block_length }) => ({
      sha256: block_sha256,
      length: Number(block_length),
    })),
  }));
}

/** Each once. */
export function blockIds(task: WholeTask): string[] {
  const ids = filesOf(task).flatMap(({ blocks }) => blocks.map((block) => blockId(task.account, block)));
  return [...new Set(ids)];
}

/** As clients have it, without its files. */
export function taskMessage({ state, task, createTime, runTime, finishTime }: LoadTask): TaskMessage {
  return {
    ...decodeTask(task),
    create_time: createTime.toISOString(),
    run_time: runTime?.toISOString() ?? "",
    finish_time: finishTime?.toISOString() ?? "",
    status: state === "QUEUED" ? "RUNNING" : state,
  };
}

/** With its files, and whether their blocks are there. */
export function wholeMessage(task: WholeTask, uploaded: ReadonlyMap<string, unknown>): TaskMessage {
  const task_file_infos = decodeTask(task.files).task_file_infos.map((file) => ({
    ...file,
    file_blocks: file.file_blocks.map((block) => {
      const id = blockId(task.account, { sha256: block.block_sha256, length: Number(block.block_length) });
      return { ...block, uploaded: uploaded.has(id) };
    }),
  }));
  return { ...taskMessage(task), task_file_infos };
}
