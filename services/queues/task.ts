/**
 * A task and the rules of its life, with no store and no wire in it.
 *
 *     READY | DELAYED | CHAINED  ->  RUNNING  ->  SUCCESS | FAILURE | CANCEL
 *
 * READY can be claimed; DELAYED waits for `availableAt`; CHAINED waits for its predecessor. Clients know these three as
 * WAITING, and RUNNING as PROCEEDING.
 */
import type { ErrorType } from "../../lib/errors.ts";
import { failedPrecondition, invalidArgument } from "../../lib/errors.ts";
import { checkText } from "./task-request.ts";

export type WaitingState = "READY" | "DELAYED" | "CHAINED";
export type EndState = "SUCCESS" | "FAILURE" | "CANCEL";
/** As the contract names it. */
export type PublicState = "WAITING" | "PROCEEDING" | EndState;
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
  /** Since when it can be claimed: among equal priorities the earliest is served first. DELAYED: the place that it will have. */
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
  retryPolicy?: RetryPolicy;
  retries: number;
  /** Since it was made, or driven again. */
  losses: number;
  attempts: number;
  /** An attempt that takes longer fails. */
  maxRunMs?: number;
  /** When it ends FAILURE, whatever its state; while it has not ended. */
  deadline?: Date;
  tags?: Record<string, string>;
  /** In its channel owners take turns. */
  fair?: true;
  /** The number of the last line of its log. */
  logged?: number;
  /** Percent. */
  progress?: number;
  /** How much of it is done, and how much there is to do, in what its worker counts; 0 and missing: not told. */
  doneUnits?: number;
  totalUnits?: number;
  /** FAILURE: of what kind, where that is known. What a client's worker reports is of none. */
  errorType?: ErrorType;
  /** Deleted as an operation: as such nobody is told of it any more. */
  forgotten?: true;
  /** Made by a service of Longshore: what it was asked to do is nobody else's to see or to take. */
  internal?: true;
  /** Groups the tasks of an internal job for `list`: `export.user/123`. */
  label?: string;
  createTime: Date;
  updateTime: Date;
  startTime?: Date;
  endTime?: Date;
  /** With `endTime`: when it is removed. */
  expireAt?: Date;
  /** DELAYED: when it becomes READY. CHAINED: not before. */
  availableAt?: Date;
  /** RUNNING: until when it belongs to its holder. */
  leaseUntil?: Date;
  leaseMs?: number;
  /** RUNNING: the worker, or the stream of a worker without a name, that it belongs to. */
  holder?: string;
  /** RUNNING: the receive stream that it went out on, which gives it back when it breaks. */
  stream?: string;
  /** Which of the stream's receives claimed it: one that failed has not brought it. */
  call?: number;
  /** RUNNING: the stream wants to know when the task is not its any more. */
  notices?: true;
  /** RUNNING: of this one claim; every change of a running task is fenced by it. */
  token?: string;
  /** Of its last change but for claims, which have a new token: every change is fenced by it too. */
  mark?: string;
}

/** How long to wait before the retries. */
export interface RetryPolicy {
  /** The most before the first; a random part of it is waited. */
  initialMs: number;
  /** What that grows by from one to the next. */
  multiplier: number;
  maxMs: number;
  /** In place of all that: exactly these, the last of them also for all that follow. */
  delaysMs?: number[];
}

export const WAITING_STATES: readonly WaitingState[] = ["READY", "DELAYED", "CHAINED"];

/** A change of one task: fields to set and fields to remove. */
export interface Transition {
  set: Partial<Task>;
  clear: (keyof Task)[];
  /** Somebody else than its worker ends it or takes it back. */
  taken?: boolean;
}

export type ReportState = EndState | "RUNNING" | "READY";

/** How much is done, and how much there is; 0: not known. */
export interface Units {
  done: number;
  total: number;
}

export interface Report {
  /** RUNNING renews the lease, READY gives the task back. */
  state: ReportState;
  output: string;
  /** Percent, with RUNNING. */
  progress?: number;
  /** With RUNNING and SUCCESS. */
  units?: Units;
  /** With FAILURE: no retry follows. */
  nonRetryable?: boolean;
  /** With FAILURE: of what kind. */
  errorType?: ErrorType;
  /** Who reports; none is accepted from anyone. */
  worker?: string;
  /** Which of the task's attempts it is about: a worker may have got the task again, while it is still at it. */
  attempt?: number;
}

export const DEFAULT_LEASE_SECONDS = 60;
const DEFAULT_RETRY: RetryPolicy = { initialMs: 1_000, multiplier: 2, maxMs: 10 * 60_000 };
/** What is waited after a loss from the second one on. */
const LOSS_DELAY: RetryPolicy = { initialMs: 1_000, multiplier: 2, maxMs: 60_000 };
const PROGRESS_FIELDS: (keyof Task)[] = ["progress", "doneUnits", "totalUnits"];
const LEASE_FIELDS: (keyof Task)[] = ["leaseUntil", "leaseMs", "holder", "stream", "call", "notices", "token"];

export function isEnded(state: TaskState): state is EndState {
  return state === "SUCCESS" || state === "FAILURE" || state === "CANCEL";
}

/** The state as the contract names it. */
export function publicState(state: TaskState): PublicState {
  if (isEnded(state)) return state;
  return state === "RUNNING" ? "PROCEEDING" : "WAITING";
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
  // The same FAILURE again, after it has led to a retry: a lost task has kept its place, a retried one has that of its time.
  const retried = task.state === "DELAYED" && task.availableAt && task.readyAt >= task.availableAt;
  if (retried && said.state === "FAILURE" && task.output === said.output) return null;
  if (task.state !== "RUNNING") {
    throw failedPrecondition(`task ${task._id} is not being worked on: its state is WAITING`);
  }
  const stranger = said.worker !== undefined && said.worker !== task.holder;
  if (stranger || (said.attempt !== undefined && said.attempt !== task.attempts)) {
    throw failedPrecondition(`task ${task._id} belongs to another worker`);
  }
  // A lease that has run out is still its holder's until somebody takes the task away; the time of an attempt is not.
  if (runEnd(task, now) < now.getTime()) throw failedPrecondition(`task ${task._id}: ${tookTooLong(task)}`);
  switch (said.state) {
    case "RUNNING":
      return renew(task, said, now);
    case "READY":
      return giveBack(now);
    case "SUCCESS":
      return succeed(said, now);
    case "CANCEL":
      return end("CANCEL", said.output, now);
    case "FAILURE":
      if (said.nonRetryable) return fail(said.output, said.errorType, now);
      return failAttempt(task, said.output, said.errorType, now, random);
    default:
      return said.state satisfies never;
  }
}

function succeed(said: Report, now: Date): Transition {
  const ended = end("SUCCESS", said.output, now);
  return said.units ? withSet(ended, counted(said)) : ended;
}

function renew(task: Task, said: Report, now: Date): Transition {
  const progress = said.progress ?? 0;
  if (!Number.isInteger(progress) || progress < 0 || progress > 100) {
    throw invalidArgument("Progress", "must be a percentage, 0 to 100");
  }
  return {
    set: { output: said.output, progress, ...counted(said), leaseUntil: leaseEnd(task, now), updateTime: now },
    clear: [],
  };
}

/** Until when a renewed or new lease holds. */
export function leaseEnd({ leaseMs, maxRunMs, startTime }: Task, now: Date): Date {
  const lease = now.getTime() + (leaseMs ?? DEFAULT_LEASE_SECONDS * 1_000);
  return new Date(Math.min(lease, runEnd({ maxRunMs, startTime }, now)));
}

/** In milliseconds. */
function runEnd({ maxRunMs, startTime }: Pick<Task, "maxRunMs" | "startTime">, now: Date): number {
  return maxRunMs === undefined ? Infinity : (startTime ?? now).getTime() + maxRunMs;
}

function tookTooLong({ maxRunMs = 0 }: Task): string {
  return `the attempt took longer than ${maxRunMs / 1_000} seconds (MaxRunSeconds)`;
}

/** An attempt has failed: another follows, if there is one left. */
function failAttempt(
  task: Task,
  output: string,
  errorType: ErrorType | undefined,
  now: Date,
  random: () => number,
): Transition {
  if (task.retries >= task.retryMax) return fail(output, errorType, now);
  const availableAt = new Date(now.getTime() + retryDelay(task.retryPolicy ?? DEFAULT_RETRY, task.retries, random));
  return {
    set: { state: "DELAYED", output, retries: task.retries + 1, availableAt, readyAt: availableAt, updateTime: now },
    clear: [...LEASE_FIELDS, ...PROGRESS_FIELDS],
  };
}

/** In milliseconds; without given delays exponential back-off with full jitter. */
export function retryDelay(policy: RetryPolicy, retries: number, random: () => number): number {
  const { initialMs, multiplier, maxMs, delaysMs } = policy;
  if (delaysMs?.length) return delaysMs[Math.min(retries, delaysMs.length - 1)] ?? 0;
  return Math.floor(random() * Math.min(maxMs, initialMs * multiplier ** retries));
}

export function end(state: EndState, output: string, now: Date): Transition {
  const clear: (keyof Task)[] = [...LEASE_FIELDS, "availableAt", "deadline"];
  return { set: { state, output, endTime: now, updateTime: now }, clear };
}

function fail(output: string, errorType: ErrorType | undefined, now: Date): Transition {
  const failed = end("FAILURE", output, now);
  return errorType ? withSet(failed, { errorType }) : failed;
}

function withSet(transition: Transition, more: Partial<Task>): Transition {
  return { ...transition, set: { ...transition.set, ...more } };
}

function counted({ units }: Report): Partial<Task> {
  return units ? { doneUnits: units.done, totalUnits: units.total } : {};
}

/** Back to where it stood in its channel, nothing lost. */
export function giveBack(now: Date): Transition {
  return { set: { state: "READY", updateTime: now }, clear: LEASE_FIELDS };
}

/**
 * The worker vanished: again from the start, or FAILURE after too many of these. What is lost again may be what kills its
 * workers, or was in hand with that: after a random time each such task meets another worker, and others beside it.
 */
export function lose(
  task: Task,
  why: string,
  maxLost: number,
  now: Date,
  random: () => number = Math.random,
): Transition {
  const losses = task.losses + 1;
  if (losses >= maxLost) {
    const output = `lost ${losses} times (MAX_LOST ${maxLost}), the last time: ${why}`;
    const failed = fail(output, "DEADLINE_EXCEEDED", now);
    return { ...failed, set: { ...failed.set, losses } };
  }
  if (losses === 1) return { set: { state: "READY", losses, updateTime: now }, clear: LEASE_FIELDS };
  const availableAt = new Date(now.getTime() + retryDelay(LOSS_DELAY, losses - 2, random));
  return { set: { state: "DELAYED", losses, availableAt, updateTime: now }, clear: LEASE_FIELDS };
}

/** Its lease has run out: its worker vanished, or took longer than it may. Null where it has not. */
export function lapse(task: Task, maxLost: number, now: Date, random: () => number = Math.random): Transition | null {
  if (task.state !== "RUNNING" || !task.leaseUntil || task.leaseUntil >= now) return null;
  if (now.getTime() < runEnd(task, now))
    return { ...lose(task, "its lease ran out", maxLost, now, random), taken: true };
  return { ...failAttempt(task, tookTooLong(task), "DEADLINE_EXCEEDED", now, random), taken: true };
}

/** Its deadline has passed. Null where it has ended before, or has none. */
export function miss(task: Task, now: Date): Transition | null {
  if (isEnded(task.state) || !task.deadline || task.deadline > now) return null;
  const why = `the task had not ended by its deadline, ${task.deadline.toISOString()}`;
  return { ...fail(why, "DEADLINE_EXCEEDED", now), taken: true };
}

/** A task that failed for good begins anew, with all its retries. Throws for one that did not. */
export function redrive(task: Task, now: Date): Transition {
  if (task.state !== "FAILURE") {
    throw failedPrecondition(`task ${task._id} has not failed: its state is ${publicState(task.state)}`);
  }
  return {
    set: { state: "READY", readyAt: now, updateTime: now, retries: 0, losses: 0, output: "" },
    clear: ["endTime", "expireAt", "errorType", ...PROGRESS_FIELDS],
  };
}

/** Deletes it as an operation; null where it has been. Its work goes on. */
export function forget(task: Task): Transition | null {
  return task.forgotten ? null : { set: { forgotten: true }, clear: [] };
}

/** Throws for a task that has ended. */
export function cancel(task: Task, output: string, now: Date): Transition {
  if (isEnded(task.state)) throw failedPrecondition(`task ${task._id} has ended: its state is ${task.state}`);
  return { ...end("CANCEL", output, now), taken: true };
}

/** What the end of its predecessor does to a chained task; null where that has been done. */
export function follow(task: Task, predecessor: Task, now: Date): Transition | null {
  if (task.state !== "CHAINED") return null;
  if (predecessor.state === "SUCCESS" || task.always) {
    const input = task.inherits ? { input: predecessor.output } : {};
    if (task.availableAt && task.availableAt > now) {
      return { set: { state: "DELAYED", readyAt: task.availableAt, updateTime: now, ...input }, clear: [] };
    }
    return { set: { state: "READY", readyAt: now, updateTime: now, ...input }, clear: ["availableAt"] };
  }
  return end("CANCEL", `task ${predecessor._id}, which comes before it, ended ${predecessor.state}`, now);
}

/** A delayed task is due; null where it is not. */
export function promote(task: Task, now: Date): Transition | null {
  if (task.state !== "DELAYED" || !task.availableAt || task.availableAt > now) return null;
  return { set: { state: "READY", updateTime: now }, clear: ["availableAt"] };
}

/** A task as the other services see it; times are RFC 3339. */
export interface TaskView {
  id: number;
  hash: string;
  channel: string;
  owner: string;
  state: PublicState;
  input: string;
  output: string;
  progress: number;
  attempts: number;
  retries: number;
  createTime: string;
  updateTime: string;
  startTime?: string;
  endTime?: string;
  doneUnits?: number;
  totalUnits?: number;
  errorType?: ErrorType;
  internal?: true;
  forgotten?: true;
}

export function viewTask(task: Task): TaskView {
  return {
    id: task._id,
    hash: task.hash,
    channel: task.channel,
    owner: task.owner,
    state: publicState(task.state),
    // It is not always read.
    input: task.input ?? "",
    output: task.output,
    progress: task.state === "SUCCESS" ? 100 : (task.progress ?? 0),
    attempts: task.attempts,
    retries: task.retries,
    createTime: task.createTime.toISOString(),
    updateTime: task.updateTime.toISOString(),
    startTime: task.startTime?.toISOString(),
    endTime: task.endTime?.toISOString(),
    doneUnits: task.doneUnits,
    totalUnits: task.totalUnits,
    errorType: task.errorType,
    internal: task.internal,
    forgotten: task.forgotten,
  };
}
