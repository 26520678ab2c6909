/** The life of a data task: what may be done to it when, and what is known of it from its steps. Pure. */
import { LongshoreError, failedPrecondition, invalidArgument } from "../../lib/errors.ts";
import type { Draft, Step } from "./audit.ts";
import type { State } from "./states.ts";
import { hasEnded } from "./states.ts";
import type { WorkResult } from "./work.ts";

export type Kind = "EXPORT" | "IMPORT" | "GENERATE";

/** Who starts it once it is approved. */
export type Executor = "AUTO" | "APPROVER" | "COMMITTER";

/** Whose word a task needs. */
export interface Terms {
  /** `any` of the approvers is enough, or `all` must have spoken; `none`: nobody is asked. */
  mode: "none" | "any" | "all";
  approvers: readonly string[];
}

/** What was submitted, and what its last step made of it. The steps are the truth; this is for lists. */
export interface DataTask {
  /** A uint64, in digits. */
  _id: string;
  name: string;
  kind: Kind;
  submitter: string;
  /** Without a password. */
  dsn: string;
  /** The DSN with its password, sealed; absent where `dsn` names a data source of the operator's. */
  sealedDsn?: string;
  /** The detail message of its kind, in JSON. */
  detail: string;
  executor: Executor;
  /** Of a task by CRON. */
  schedule?: { cron: string; timeZone: string };
  /** Of a run of a task by CRON. */
  parent?: string;
  createTime: Date;
  state: State;
  /** The number of its last step. */
  version: number;
  updateTime: Date;
  /** When it must be looked at, whatever happens; absent once it has ended. */
  lookAt?: Date;
}

/** What is known of a task from its steps. */
export interface Told {
  state: State;
  version: number;
  /** Why it has ended, where it did not succeed. */
  reason: string;
  /** What the pre-check found. */
  rows?: number;
  terms: Terms;
  /** Who has approved. */
  approvals: readonly string[];
  result?: WorkResult;
  /** Since when it waits for approval, and when it was last told of. */
  approvingSince?: Date;
  remindedAt?: Date;
  updateTime: Date;
}

const NOBODY: Terms = { mode: "none", approvers: [] };

/** `steps` of one task, in their order, at least one. */
export function tell(steps: readonly Step[]): Told {
  const told: Told = {
    state: "PRE_CHECK",
    version: 0,
    reason: "",
    terms: NOBODY,
    approvals: [],
    updateTime: new Date(0),
  };
  for (const { action, state, actor, comment, data, number, time } of steps) {
    told.state = state;
    told.version = number;
    // Files are kept from the end of the task on, however often they are fetched.
    if (action !== "DOWNLOAD") told.updateTime = time;
    Object.assign(told, data === undefined ? {} : (JSON.parse(data) as Partial<Told>));
    if (action === "APPROVE") told.approvals = [...told.approvals, actor];
    if (action === "REMIND") told.remindedAt = time;
    if (action === "CHECK" && state === "APPROVING") told.approvingSince = time;
    if (hasEnded(state) && state !== "SUCCESS" && action !== "DOWNLOAD") told.reason = comment;
  }
  return told;
}

type Decidable = Pick<DataTask, "_id" | "submitter" | "executor" | "schedule">;

export function submitted(actor: string): Draft {
  return { action: "SUBMIT", state: "PRE_CHECK", actor, comment: "" };
}

/** The pre-check is over: `problem` is why the task cannot be done. Undefined where nobody waits for it any more. */
export function checked(
  task: Decidable,
  told: Told,
  outcome: { rows?: number; terms: Terms } | { problem: string },
): Draft | undefined {
  if (told.state !== "PRE_CHECK") return undefined;
  const check = { action: "CHECK", actor: "" } as const;
  if ("problem" in outcome) return { ...check, state: "PRE_CHECK_FAILED", comment: outcome.problem };
  const { rows, terms } = outcome;
  const state = terms.mode === "none" ? approvedState(task) : "APPROVING";
  return { ...check, state, comment: "", data: JSON.stringify({ ...(rows !== undefined && { rows }), terms }) };
}

/** Undefined: the approver has approved before. */
export function approved(task: Decidable, told: Told, actor: string, comment: string): Draft | undefined {
  checkApprover(task, told, actor);
  if (told.approvals.includes(actor)) return undefined;
  const { mode, approvers } = told.terms;
  const all = new Set([...told.approvals, actor]);
  const enough = mode === "any" || approvers.every((each) => all.has(each) || each === task.submitter);
  return { action: "APPROVE", state: enough ? approvedState(task) : "APPROVING", actor, comment };
}

export function rejected(task: Decidable, told: Told, actor: string, comment: string): Draft {
  checkApprover(task, told, actor);
  return { action: "REJECT", state: "NOT_APPROVED", actor, comment: comment || `${actor} rejected it` };
}

export function expired(task: Decidable, told: Told): Draft {
  demand(task, told, "APPROVING", "expire");
  return { action: "EXPIRE", state: "NOT_APPROVED", actor: "", comment: "nobody decided in time" };
}

export function reminded(task: Decidable, told: Told): Draft {
  demand(task, told, "APPROVING", "be reminded of");
  return { action: "REMIND", state: "APPROVING", actor: "", comment: "" };
}

/** `actor` is empty where Longshore starts it by itself. */
export function started(task: Decidable, told: Told, actor: string): Draft {
  demand(task, told, "APPROVED", "be started");
  const { executor, submitter } = task;
  if (executor === "AUTO" ? actor !== "" : !mayStart(task, told, actor)) {
    const who = { AUTO: "by itself", COMMITTER: `by its submitter, ${submitter}`, APPROVER: "by one of its approvers" };
    throw new LongshoreError("PERMISSION_DENIED", `task ${task._id} is started ${who[executor]}`);
  }
  return { action: "START", state: "RUNNING", actor, comment: "" };
}

export function cancelled(task: Decidable, told: Told, actor: string, comment: string): Draft {
  if (hasEnded(told.state)) throw failedPrecondition(`task ${task._id} has ended: it is ${told.state}`);
  return { action: "CANCEL", state: "CANCEL", actor, comment: comment || "cancelled" };
}

/** Undefined where that is known already. */
export function ended(
  told: Told,
  state: "SUCCESS" | "FAILURE" | "CANCEL",
  outcome: { reason: string; result?: WorkResult },
): Draft | undefined {
  if (told.state !== "RUNNING") return undefined;
  const { reason, result } = outcome;
  return { action: "END", state, actor: "", comment: reason, ...(result && { data: JSON.stringify({ result }) }) };
}

export function downloaded(told: Told, actor: string): Draft {
  return { action: "DOWNLOAD", state: told.state, actor, comment: "" };
}

function approvedState({ schedule }: Decidable): State {
  return schedule ? "SCHEDULED" : "APPROVED";
}

function mayStart({ executor, submitter }: Decidable, { terms, approvals }: Told, actor: string): boolean {
  if (actor === "") return false;
  if (executor === "COMMITTER") return actor === submitter;
  return actor !== submitter && (approvals.includes(actor) || terms.approvers.includes(actor));
}

function checkApprover(task: Decidable, told: Told, actor: string): void {
  if (actor === "") throw invalidArgument("approver", "must be given");
  demand(task, told, "APPROVING", "be approved or rejected");
  if (actor === task.submitter) {
    throw new LongshoreError(
      "PERMISSION_DENIED",
      `approver: ${actor} submitted task ${task._id}; another must decide`,
      {
        field: "approver",
      },
    );
  }
  if (!told.terms.approvers.includes(actor)) {
    throw new LongshoreError("PERMISSION_DENIED", `approver: ${actor} is not an approver of task ${task._id}`, {
      field: "approver",
    });
  }
}

function demand({ _id }: Decidable, { state }: Told, wanted: State, what: string): void {
  if (state !== wanted) throw failedPrecondition(`task ${_id} cannot ${what}: it is ${state}`);
}
