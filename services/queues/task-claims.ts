/** Claims: which ready tasks go to which receivers. */
import type { AnyBulkWriteOperation, Collection } from "../../lib/datastore/datastore.ts";
import type { ReadAhead } from "./read-ahead.ts";
import { nextFence } from "./fence.ts";
import type { OwnerTurns } from "./owner-turns.ts";
import { takeWithin, withinAnswer } from "./task-size.ts";
import type { Task } from "./task.ts";
import { leaseEnd } from "./task.ts";

/** One receiver's part of a claim. */
export interface ClaimRequest {
  max: number;
  holder: string;
  stream?: string;
  /** The number of the receive on its stream. */
  call?: number;
  /** The stream wants to be told when a task is not its any more. */
  notices?: true;
  leaseMs: number;
}

export interface ClaimOptions {
  /** Tasks of all receivers together. */
  most?: number;
  /** Owners take turns in this channel. */
  turns?: OwnerTurns;
}

/** Tasks of one claim. */
export const MAX_CLAIM = 500;
const MAX_CLAIM_BYTES = 8 * 1024 * 1024;

/**
 * Claims up to the sum of what the receivers want, the first receivers' first. Another node may claim at the same time:
 * each task goes to one of the two.
 */
export async function claimTasks(
  tasks: Collection<Task>,
  ahead: ReadAhead,
  now: () => Date,
  channel: string,
  requests: ClaimRequest[],
  { most = MAX_CLAIM, turns }: ClaimOptions = {},
): Promise<Task[][]> {
  const wanted = Math.min(most, MAX_CLAIM, wantedBy(requests));
  const found = (await turns?.next(channel, wanted)) ?? (await nextTasks(tasks, ahead, channel, wanted));
  if (found.length === 0) return requests.map(() => []);
  const claimedAt = now();
  const operations: AnyBulkWriteOperation<Task>[] = [];
  let taken = 0;
  const shares = requests.map((request) => {
    const share = withinAnswer(found.slice(taken, taken + request.max));
    taken += share.length;
    if (share.length === 0) return share;
    const claim = claimOf(request, claimedAt);
    for (const task of share) Object.assign(task, claim, { attempts: task.attempts + 1 });
    const alike: number[] = [];
    for (const task of share) {
      task.leaseUntil = leaseEnd(task, claimedAt);
      if (task.maxRunMs === undefined) alike.push(task._id);
      else operations.push(claimUpdate([task._id], { ...claim, leaseUntil: task.leaseUntil }));
    }
    if (alike.length) operations.push(claimUpdate(alike, claim));
    return share;
  });
  // What was read for this claim and did not fit into an answer comes before what was read ahead.
  if (taken < found.length) ahead.forget(channel);
  const result = await tasks.bulkWrite(operations, { ordered: false });
  if (result.modifiedCount === taken) return shares;
  ahead.forget(channel);
  const owned = await ownedOf(tasks, shares);
  if (owned.some((share) => share.length > 0)) return owned;
  // Another node took all of them: there may be more, which nobody would tell of.
  return claimTasks(tasks, ahead, now, channel, requests, { most, turns });
}

export function wantedBy(requests: ClaimRequest[]): number {
  return requests.reduce((sum, request) => sum + request.max, 0);
}

/** The first ready tasks of the channel: highest priority, then the longest ready. */
async function nextTasks(tasks: Collection<Task>, ahead: ReadAhead, channel: string, wanted: number): Promise<Task[]> {
  const known = ahead.take(channel, wanted);
  if (known) return known;
  const size = ahead.size(channel, wanted);
  const options = { sort: { priority: -1, readyAt: 1, _id: 1 }, limit: size } as const;
  const read = await takeWithin(tasks.find({ channel, state: "READY" }, options), MAX_CLAIM_BYTES);
  const rest = read.slice(wanted);
  // Of those below 0 none is kept: a task that is made without a priority comes before them.
  const kept = rest.filter(({ priority }) => priority >= 0);
  ahead.keep(channel, kept, size - rest.length + kept.length);
  return read.slice(0, wanted);
}

function claimUpdate(ids: number[], claim: ReturnType<typeof claimOf>): AnyBulkWriteOperation<Task> {
  const filter = { _id: { $in: ids }, state: "READY" as const };
  return { updateMany: { filter, update: { $set: claim, $inc: { attempts: 1 } } } };
}

/** What a claim makes of a task, but for its number of attempts. */
export function claimOf({ holder, stream, call, notices, leaseMs }: ClaimRequest, now: Date) {
  return {
    state: "RUNNING" as const,
    holder,
    ...(stream ? { stream } : {}),
    ...(call === undefined ? {} : { call }),
    ...(notices ? { notices } : {}),
    token: nextFence(),
    leaseMs,
    leaseUntil: new Date(now.getTime() + leaseMs),
    startTime: now,
    updateTime: now,
  };
}

/** Of the tasks that a claim aimed at, those that another node did not take first. */
async function ownedOf(tasks: Collection<Task>, shares: Task[][]): Promise<Task[][]> {
  const ids = shares.flat().map((task) => task._id);
  const stored = await tasks.find({ _id: { $in: ids } }, { projection: { token: 1 } }).toArray();
  const tokens = new Map(stored.map((task) => [task._id, task.token]));
  return shares.map((share) => share.filter((task) => tokens.get(task._id) === task.token));
}
