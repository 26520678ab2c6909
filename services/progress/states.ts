/** The states of a data task. */
export type State =
  | "PRE_CHECK"
  | "PRE_CHECK_FAILED"
  | "APPROVING"
  | "NOT_APPROVED"
  | "APPROVED"
  /** A task by CRON that is approved: its runs are tasks of their own. */
  | "SCHEDULED"
  | "RUNNING"
  | "SUCCESS"
  | "FAILURE"
  | "CANCEL";

export const STATES: readonly State[] = [
  "PRE_CHECK",
  "PRE_CHECK_FAILED",
  "APPROVING",
  "NOT_APPROVED",
  "APPROVED",
  "SCHEDULED",
  "RUNNING",
  "SUCCESS",
  "FAILURE",
  "CANCEL",
];

const ENDED = new Set<State>(["PRE_CHECK_FAILED", "NOT_APPROVED", "SUCCESS", "FAILURE", "CANCEL"]);

export function hasEnded(state: State): boolean {
  return ENDED.has(state);
}
