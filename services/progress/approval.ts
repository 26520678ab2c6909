/** Whose word a task needs, by the configuration of the node and of its data source. Pure. */
import type { Config } from "../../lib/config.ts";
import { failedPrecondition, invalidArgument } from "../../lib/errors.ts";
import type { ConfiguredSource } from "./data-sources.ts";
import type { Terms } from "./data-task.ts";
import type { Submission } from "./request.ts";
import { demandReasons } from "./request.ts";

export type Rules = Pick<Config, "progressApproval" | "progressApprovers" | "progressApprovalRows" | "progressMaxRows">;

/** What is asked of whom, before the rows are known. */
function policyOf(rules: Rules, source: ConfiguredSource | undefined): Terms & { rows: number; maxRows: number } {
  return {
    mode: source?.approval ?? rules.progressApproval,
    approvers: source?.approvers ?? rules.progressApprovers ?? [],
    rows: source?.approvalRows ?? rules.progressApprovalRows,
    maxRows: source?.maxRows ?? rules.progressMaxRows,
  };
}

/** Refuses a submission that could never be approved, or never be started. */
export function checkApprovable(submission: Submission, rules: Rules, source: ConfiguredSource | undefined): void {
  const { mode, approvers } = policyOf(rules, source);
  const { executor, field, submitter } = submission;
  if (source?.masks.length && !source.statements && "ebs" in submission.detail && submission.detail.ebs) {
    throw invalidArgument("ded.ebs", "the data source masks columns, which a statement could rename: export tables");
  }
  const others = approvers.filter((each) => each !== submitter);
  if (mode !== "none") {
    demandReasons(submission);
    if (others.length === 0) {
      throw failedPrecondition(
        approvers.length === 0
          ? "somebody has to approve, and no approver is configured"
          : `somebody has to approve, and ${submitter} is the only approver`,
      );
    }
  }
  if (executor === "APPROVER" && others.length === 0) {
    throw invalidArgument(`${field}.exector`, "EXEC_APPROVER needs an approver, and none is configured");
  }
  if (executor === "COMMITTER" && submitter === "") {
    throw invalidArgument("submitter", "must be given where the submitter has to start the task");
  }
}

/** What the pre-check makes of the rows that it expects; throws where they are too many. */
export function termsFor(rows: number | undefined, rules: Rules, source: ConfiguredSource | undefined): Terms {
  const { mode, approvers, rows: from, maxRows } = policyOf(rules, source);
  if (rows !== undefined && rows > maxRows) {
    throw failedPrecondition(`some ${rows} rows are expected, and ${maxRows} are allowed`);
  }
  // Where the database does not say, there may be many.
  const few = rows !== undefined && rows < from;
  return { mode: few ? "none" : mode, approvers };
}
