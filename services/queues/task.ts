/**
 * A task and the rules of its life, with no store and no wire in it.
 *
 *     READY | DELAYED | CHAINED  ->  RUNNING  ->  SUCCESS | FAILURE | CANCEL
 *
 * READY can be claimed; DELAYED waits for `availableAt`; CHAINED waits for its predecessor. Clients know these three as
 * WAITING, and RUNNING as PROCEEDING.
 */
import { randomBytes } from "node:crypto";
import { failedPrecondition, invalidArgument } from "../../lib/errors.ts";

export type WaitingState = "READY" | "DELAYED" | "CHAINED";
export type EndState = "SUCCESS" | "FAILURE" | "CANCEL";
export type TaskState = WaitingState | "RUNNING" | EndState;

export interface Task {
  /** The task's ID: a positive safe integer. */
  _id: number;
  channel: string;
  /** A uint64 in decimal. */
  owner: string;
  /** The public handle, unique. */
  hash: string;
  state: TaskState;
  /** Higher is served first. */
  priority: number;
  /** Since when it can be claimed: among equal priorities the earliest is served first. */
  readyAt: Date;
  input: string;
  output: string;
  /** The predecessor's ID (the contract calls it Next). */
  next?: number;
  /** The successor's ID (the contract calls it Prior). */
  prior?: number;
  /** The input is the predecessor's output. */
  inherits?: boolean;
  /** Follows its predecessor however that ends; without it, only a success. */
  always?: boolean;
  retryMax: number;
  retries: number;
  losses: number;
  attempts: number;
  /** Percent. */
  progress?: number;
  /** Made by a service of Longshore: what it was asked to do is nobody else's to see or to take. */
  internal?: true;
  /** Groups the tasks of an internal job for `list`: `export.user/123`. */
  label?: string;
  createTime: Date;
  updateTime: Date;
  startTime?: Date;
  endTime?: Date;
  /** DELAYED: when it becomes READY. */
  availableAt?: Date;
  /** RUNNING: until when it belongs to its holder. */
  leaseUntil?: Date;
  leaseMs?: number;
  /** RUNNING: the worker, or the stream of a worker without a name, that it belongs to. */
  holder?: string;
  /** RUNNING: the receive stream that it went out on, which gives it back when it breaks. */
  stream?: string;
  /** RUNNING: of this one claim; every change of a running task is fenced by it. */
  token?: string;
}

/** A change of one task: fields to set and fields to remove. */
export interface Transition {
  set: Partial<Task>;
  clear: (keyof Task)[];
}

export interface TaskRequest {
  channel: string;
  owner?: string;
  hash?: string;
  input?: string;
  /** The predecessor's ID, 0 for none. */
  next?: number;
  /** With `next`: run after it however it ends. */
  always?: boolean;
  retryMax?: number;
  internal?: true;
  label?: string;
}

export type ReportState = EndState | "RUNNING" | "READY";

export interface Report {
  /** RUNNING renews the lease, READY gives the task back. */
  state: ReportState;
  output: string;
  /** Percent, with RUNNING. */
  progress?: number;
  /** Who reports; none is accepted from anyone. */
  worker?: string;
  /** Which of the task's attempts it is about: a worker may have got the task again, while it is still at it. */
  attempt?: number;
}

export const MAX_TEXT_BYTES = 512 * 1024;
export const DEFAULT_LEASE_SECONDS = 60;
export const MAX_LEASE_SECONDS = 43_200;
const RETRY_BASE_MS = 1_000;
const RETRY_CAP_MS = 10 * 60_000;
const HASH = /^[0-9A-Za-z._~-]{1,128}$/;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LEASE_FIELDS: (keyof Task)[] = ["leaseUntil", "leaseMs", "holder", "stream", "token"];

export function isEnded(state: TaskState): state is EndState {
  return state === "SUCCESS" || state === "FAILURE" || state === "CANCEL";
}

/** The state as the contract names it. */
export function publicState(state: TaskState): "WAITING" | "PROCEEDING" | EndState {
  if (isEnded(state)) return state;
  return state === "RUNNING" ? "PROCEEDING" : "WAITING";
}

/** Throws where a channel's name is not one; `field` is the name that the client knows it by. */
export function checkChannel(field: string, channel: string): void {
  if (channel === "") throw invalidArgument(field, "must not be empty");
  if ([...channel].length > 128) throw invalidArgument(field, "must be at most 128 characters");
  if (/[\u0000-\u001f\u007f-\u009f:/]/.test(channel) || !channel.isWellFormed()) {
    throw invalidArgument(field, 'must hold no control character, ":" or "/"');
  }
}

/** Throws where a text is longer than a task may carry or is not valid Unicode. */
export function checkText(field: string, text: string): void {
  // A UTF-16 unit is at most 3 bytes of UTF-8: short texts need no count.
  if (text.length * 3 > MAX_TEXT_BYTES) {
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_TEXT_BYTES) {
      throw invalidArgument(field, `must be at most ${MAX_TEXT_BYTES} bytes (512 KiB), it is ${bytes}`);
    }
  }
  if (!text.isWellFormed()) throw invalidArgument(field, "must be valid Unicode, it holds a lone surrogate");
}

export function checkHash(field: string, hash: string): void {
  if (!HASH.test(hash) || hash === "." || hash === "..") {
    throw invalidArgument(field, 'must be 1 to 128 of [0-9A-Za-z._~-], and not "." or ".."');
  }
}

export function checkLeaseSeconds(field: string, seconds: number): void {
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > MAX_LEASE_SECONDS) {
    throw invalidArgument(field, `must be 1 to ${MAX_LEASE_SECONDS} seconds`);
  }
}

/** A new task but for its ID and its times, which the store gives. Field names in errors are the contract's. */
export function newTask(request: TaskRequest): Omit<Task, "_id" | "readyAt" | "createTime" | "updateTime"> {
  checkChannel("Task.Channel", request.channel);
  const input = request.input ?? "";
  checkText("Task.Input", input);
  const hash = request.hash || randomHash();
  checkHash("Task.HashCode", hash);
  return {
    channel: request.channel,
    owner: request.owner ?? "0",
    hash,
    state: request.next ? "CHAINED" : "READY",
    priority: 0,
    input,
    output: "",
    ...(request.next ? { next: request.next, inherits: input === "", always: request.always === true } : {}),
    retryMax: request.retryMax ?? 0,
    retries: 0,
    losses: 0,
    attempts: 0,
    ...(request.internal ? { internal: true } : {}),
    ...(request.label ? { label: request.label } : {}),
  };
}

/** 20 random characters of [0-9A-Za-z]: 119 bits. */
export function randomHash(): string {
  let hash = "";
  while (hash.length < 20) {
    for (const byte of randomBytes(32)) {
      // 248 is the largest multiple of 62 in a byte: taking only what is below it keeps the characters equally likely.
      if (byte < 248 && hash.length < 20) hash += ALPHABET[byte % 62];
    }
  }
  return hash;
}

/** Whether a create with a known HashCode asks for the task that is there. */
export function sameRequest(existing: Task, request: Pick<Task, "channel" | "owner" | "input">): boolean {
  const input = existing.inherits ? "" : existing.input;
  return existing.channel === request.channel && existing.owner === request.owner && input === request.input;
}

/** Throws where no task may follow this one. */
export function checkPredecessor(predecessor: Task, { always, internal }: TaskRequest): void {
  // It has room for one successor, which its service may need; and its output is not for others to take over.
  if (predecessor.internal && !internal) {
    throw failedPrecondition(`Task.Next: task ${predecessor._id} belongs to a service of Longshore`);
  }
  if (always) return;
  if (predecessor.state === "FAILURE" || predecessor.state === "CANCEL") {
    throw failedPrecondition(`Task.Next: task ${predecessor._id} ended ${predecessor.state}, nothing can follow it`);
  }
}

/**
 * What a report does to a task; null where it says again what already stands. Throws where the task is not the
 * reporter's or has ended otherwise.
 */
export function report(task: Task, said: Report, now: Date, random: () => number = Math.random): Transition | null {
  checkText("Output", said.output);
  if (isEnded(task.state)) {
    if (task.state === said.state && task.output === said.output) return null;
    throw failedPrecondition(`task ${task._id} has ended: its state is ${task.state}`);
  }
  // The same FAILURE again, after it has led to a retry.
  if (task.state === "DELAYED" && said.state === "FAILURE" && task.output === said.output) return null;
  if (task.state !== "RUNNING") {
    throw failedPrecondition(`task ${task._id} is not being worked on: its state is WAITING`);
  }
  const stranger = said.worker !== undefined && said.worker !== task.holder;
  if (stranger || (said.attempt !== undefined && said.attempt !== task.attempts)) {
    throw failedPrecondition(`task ${task._id} belongs to another worker`);
  }
  if (task.leaseUntil && task.leaseUntil < now) {
    throw failedPrecondition(`the lease of task ${task._id} has run out`);
  }
  switch (said.state) {
    case "RUNNING":
      return renew(task, said, now);
    case "READY":
      return giveBack(now);
    case "SUCCESS":
    case "CANCEL":
      return end(said.state, said.output, now);
    case "FAILURE":
      return task.retries < task.retryMax ? retry(task, said.output, now, random) : end("FAILURE", said.output, now);
    default:
      return said.state satisfies never;
  }
}

function renew(task: Task, said: Report, now: Date): Transition {
  const progress = said.progress ?? 0;
  if (!Number.isInteger(progress) || progress < 0 || progress > 100) {
    throw invalidArgument("Progress", "must be a percentage, 0 to 100");
  }
  return {
    set: { output: said.output, progress, leaseUntil: leaseEnd(task, now), updateTime: now },
    clear: [],
  };
}

function leaseEnd(task: Task, now: Date): Date {
  return new Date(now.getTime() + (task.leaseMs ?? DEFAULT_LEASE_SECONDS * 1_000));
}

/** Exponential back-off with full jitter. */
function retry(task: Task, output: string, now: Date, random: () => number): Transition {
  const ceiling = Math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ** Math.min(task.retries, 30));
  const availableAt = new Date(now.getTime() + Math.floor(random() * ceiling));
  return {
    set: { state: "DELAYED", output, retries: task.retries + 1, availableAt, updateTime: now },
    clear: [...LEASE_FIELDS, "progress"],
  };
}

export function end(state: EndState, output: string, now: Date): Transition {
  return { set: { state, output, endTime: now, updateTime: now }, clear: [...LEASE_FIELDS, "availableAt"] };
}

/** Back to where it stood in its channel, nothing lost. */
export function giveBack(now: Date): Transition {
  return { set: { state: "READY", updateTime: now }, clear: LEASE_FIELDS };
}

/** The worker vanished: again from the start, or FAILURE after too many of these. */
export function lose(task: Task, why: string, maxLost: number, now: Date): Transition {
  const losses = task.losses + 1;
  if (losses < maxLost) return { set: { state: "READY", losses, updateTime: now }, clear: LEASE_FIELDS };
  const failed = end("FAILURE", `lost ${losses} times (MAX_LOST ${maxLost}), the last time: ${why}`, now);
  return { ...failed, set: { ...failed.set, losses } };
}

/** Throws for a task that has ended. */
export function cancel(task: Task, output: string, now: Date): Transition {
  if (isEnded(task.state)) throw failedPrecondition(`task ${task._id} has ended: its state is ${task.state}`);
  return end("CANCEL", output, now);
}

/** What the end of its predecessor does to a chained task; null where that has been done. */
export function follow(task: Task, predecessor: Task, now: Date): Transition | null {
  if (task.state !== "CHAINED") return null;
  if (predecessor.state === "SUCCESS" || task.always) {
    const input = task.inherits ? { input: predecessor.output } : {};
    return { set: { state: "READY", readyAt: now, updateTime: now, ...input }, clear: [] };
  }
  return end("CANCEL", `task ${predecessor._id}, which comes before it, ended ${predecessor.state}`, now);
}

export function promote(task: Task, now: Date): Transition | null {
  if (task.state !== "DELAYED" || !task.availableAt || task.availableAt > now) return null;
  return { set: { state: "READY", readyAt: task.availableAt, updateTime: now }, clear: ["availableAt"] };
}

/** A task as the other services see it; times are RFC 3339. */
export interface TaskView {
  id: number;
  hash: string;
  channel: string;
  owner: string;
  state: ReturnType<typeof publicState>;
  input: string;
  output: string;
  progress: number;
  attempts: number;
  retries: number;
  createTime: string;
  updateTime: string;
  startTime?: string;
  endTime?: string;
}

export function viewTask(task: Task): TaskView {
  return {
    id: task._id,
    hash: task.hash,
    channel: task.channel,
    owner: task.owner,
    state: publicState(task.state),
    input: task.input,
    output: task.output,
    progress: task.state === "SUCCESS" ? 100 : (task.progress ?? 0),
    attempts: task.attempts,
    retries: task.retries,
    createTime: task.createTime.toISOString(),
    updateTime: task.updateTime.toISOString(),
    startTime: task.startTime?.toISOString(),
    endTime: task.endTime?.toISOString(),
  };
}
