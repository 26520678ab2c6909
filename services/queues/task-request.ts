/** What a task may be asked to be: the checks of a request, and the new task that it makes. */
import { randomBytes } from "node:crypto";
import { failedPrecondition, invalidArgument } from "../../lib/errors.ts";
import type { RetryPolicy, Task } from "./task.ts";

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
  retryPolicy?: RetryPolicy;
  /** Higher is served first. */
  priority?: number;
  /** Not before so long from now, or not before `startAt`. */
  delayMs?: number;
  startAt?: Date;
  deadline?: Date;
  maxRunMs?: number;
  tags?: Record<string, string>;
  internal?: true;
  label?: string;
}

export type NewTask = Omit<Task, "_id" | "readyAt" | "createTime" | "updateTime">;

export const MAX_TEXT_BYTES = 512 * 1024;
export const MAX_LEASE_SECONDS = 43_200;
const MAX_PRIORITY = 1_000;
const MAX_RUN_SECONDS = 604_800;
const YEAR_SECONDS = 31_536_000;
const MAX_TAGS = 16;
const MAX_TAG_VALUE = 256;
const TAG_NAME = /^[0-9A-Za-z._-]{1,64}$/;
const HASH = /^[0-9A-Za-z._~-]{1,128}$/;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

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

/** Throws what is wrong with a request, if anything; `now` decides on its times. */
export function checkRequest(request: TaskRequest, now: Date): void {
  checkChannel("Task.Channel", request.channel);
  checkText("Task.Input", request.input ?? "");
  if (request.hash) checkHash("Task.HashCode", request.hash);
  const { priority, delayMs, startAt, deadline, maxRunMs, retryPolicy, tags } = request;
  if (priority !== undefined) checkInteger("Task.Priority", priority, -MAX_PRIORITY, MAX_PRIORITY);
  if (delayMs !== undefined) checkWithin("Task.DelaySeconds", delayMs / 1_000, 0, YEAR_SECONDS);
  if (startAt) {
    if (delayMs) throw invalidArgument("Task.StartTime", "must not be given together with DelaySeconds");
    if (startAt.getTime() > now.getTime() + YEAR_SECONDS * 1_000) {
      throw invalidArgument("Task.StartTime", "must be at most a year ahead");
    }
  }
  if (deadline && deadline <= now) throw invalidArgument("Task.Deadline", "must be in the future");
  if (deadline && deadline.getTime() > now.getTime() + 2 * YEAR_SECONDS * 1_000) {
    throw invalidArgument("Task.Deadline", "must be at most two years ahead");
  }
  if (maxRunMs !== undefined) checkInteger("Task.MaxRunSeconds", maxRunMs / 1_000, 1, MAX_RUN_SECONDS);
  if (retryPolicy) checkRetryPolicy(retryPolicy);
  if (tags) checkTags("Task.Tags", tags);
}

/** A new task but for its ID and its times, which the store gives. Field names in errors are the contract's. */
export function newTask(request: TaskRequest, now: Date): NewTask {
  checkRequest(request, now);
  const input = request.input ?? "";
  const availableAt = request.startAt ?? new Date(now.getTime() + (request.delayMs ?? 0));
  const delayed = availableAt > now;
  const task: NewTask = {
    channel: request.channel,
    owner: request.owner ?? "0",
    hash: request.hash || newHash(now),
    state: request.next ? "CHAINED" : delayed ? "DELAYED" : "READY",
    priority: request.priority ?? 0,
    input,
    output: "",
    retryMax: request.retryMax ?? 0,
    retries: 0,
    losses: 0,
    attempts: 0,
  };
  if (request.next)
    Object.assign(task, { next: request.next, inherits: input === "", always: request.always === true });
  if (delayed) task.availableAt = availableAt;
  if (request.deadline) task.deadline = request.deadline;
  if (request.maxRunMs) task.maxRunMs = request.maxRunMs;
  if (request.retryPolicy) task.retryPolicy = request.retryPolicy;
  if (request.tags && Object.keys(request.tags).length > 0) task.tags = request.tags;
  if (request.internal) task.internal = true;
  if (request.label) task.label = request.label;
  return task;
}

/** Throws where these cannot be a task's tags. */
export function checkTags(field: string, tags: Record<string, string>): void {
  const entries = Object.entries(tags);
  if (entries.length > MAX_TAGS)
    throw invalidArgument(field, `must be at most ${MAX_TAGS} tags, not ${entries.length}`);
  for (const [name, value] of entries) {
    if (!TAG_NAME.test(name) || name === "__proto__") {
      const shown = name.length > 64 ? `${name.slice(0, 64)}…` : name;
      throw invalidArgument(field, `the name ${JSON.stringify(shown)} must be 1 to 64 of [0-9A-Za-z._-]`);
    }
    if ([...value].length > MAX_TAG_VALUE || !value.isWellFormed()) {
      throw invalidArgument(`${field}.${name}`, `must be at most ${MAX_TAG_VALUE} characters of valid Unicode`);
    }
  }
}

function checkRetryPolicy({ initialMs, multiplier, maxMs, delaysMs }: RetryPolicy): void {
  checkWithin("Task.RetryPolicy.InitialSeconds", initialMs / 1_000, 0.001, 86_400);
  checkWithin("Task.RetryPolicy.Multiplier", multiplier, 1, 100);
  checkWithin("Task.RetryPolicy.MaxSeconds", maxMs / 1_000, 0.001, MAX_RUN_SECONDS);
  if (!delaysMs) return;
  if (delaysMs.length > 100) throw invalidArgument("Task.RetryPolicy.DelaySeconds", "must be at most 100 delays");
  for (const [index, delay] of delaysMs.entries()) {
    checkWithin(`Task.RetryPolicy.DelaySeconds[${index}]`, delay / 1_000, 0, MAX_RUN_SECONDS);
  }
}

function checkWithin(field: string, value: number, min: number, max: number): void {
  if (!(value >= min && value <= max)) throw invalidArgument(field, `must be ${min} to ${max}`);
}

function checkInteger(field: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value)) throw invalidArgument(field, "must be a whole number");
  checkWithin(field, value, min, max);
}

/** Random bytes in store, for asking for them costs more than making them. */
let random = Buffer.alloc(0);
let used = 0;

/**
 * 20 characters of [0-9A-Za-z]: 6 of the time and 14 random ones, 83 bits. Hashes of one moment are neighbours in their index:
 * it changes a few pages where it would change one a task.
 */
export function newHash(now: Date): string {
  let hash = timePrefix(now);
  while (hash.length < 20) {
    if (used === random.length) {
      random = randomBytes(4_096);
      used = 0;
    }
    const byte = random[used++] ?? 0;
    // 248 is the largest multiple of 62 in a byte: taking only what is below it keeps the characters equally likely.
    if (byte < 248) hash += ALPHABET[byte % 62];
  }
  return hash;
}

let lastTick = 0;
let lastPrefix = "";

/** Grows every 64 ms, and begins anew after 115 years. */
function timePrefix(now: Date): string {
  const tick = Math.floor(now.getTime() / 64);
  if (tick === lastTick) return lastPrefix;
  lastTick = tick;
  lastPrefix = "";
  for (let rest = tick; lastPrefix.length < 6; rest = Math.floor(rest / 62))
    lastPrefix = (ALPHABET[rest % 62] ?? "") + lastPrefix;
  return lastPrefix;
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
