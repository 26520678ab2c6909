/** The trail of what was done: steps that are only ever added, each with the hash of the one before it. */
import { createHash } from "node:crypto";
import type { State } from "./states.ts";

export type Action =
  "SUBMIT" | "CHECK" | "APPROVE" | "REJECT" | "START" | "CANCEL" | "END" | "DOWNLOAD" | "REMIND" | "EXPIRE";

/** What somebody did, before it has its place in the trail. */
export interface Draft {
  action: Action;
  /** The state after it. */
  state: State;
  /** Who did it; empty: Longshore. */
  actor: string;
  comment: string;
  /** What is known from then on, in JSON; see `tell`. */
  data?: string;
}

export interface Step extends Draft {
  /** The place in the trail of all tasks, from 1. */
  _id: number;
  /** The task, and the place among its steps, from 1. */
  task: string;
  number: number;
  time: Date;
  hash: string;
}

/** Of no step: what the first one follows. */
export const NO_HASH = "0".repeat(64);

export function hashStep(before: string, step: Omit<Step, "hash">): string {
  const { _id, task, number, time, action, state, actor, comment, data = "" } = step;
  const told = [before, _id, task, number, time.toISOString(), action, state, actor, comment, data];
  return createHash("sha256").update(JSON.stringify(told)).digest("hex");
}

export interface Verdict {
  steps: number;
  /** Of the last step: whoever keeps it can tell later whether the trail was made anew. */
  hash: string;
  /** The first step that is missing, or that is not as it was written. */
  broken?: number;
}

/** Reads a trail in its order and says whether it is whole. */
export async function verifyTrail(steps: AsyncIterable<Step>): Promise<Verdict> {
  let hash = NO_HASH;
  let count = 0;
  for await (const step of steps) {
    count += 1;
    if (step._id !== count || hashStep(hash, step) !== step.hash) return { steps: count - 1, hash, broken: count };
    hash = step.hash;
  }
  return { steps: count, hash };
}
