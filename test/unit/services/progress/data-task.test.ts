import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Draft, Step } from "../../../../services/progress/audit.ts";
import { hashStep, NO_HASH, verifyTrail } from "../../../../services/progress/audit.ts";
import type { Executor, Terms } from "../../../../services/progress/data-task.ts";
import {
  approved,
  cancelled,
  checked,
  downloaded,
  ended,
  expired,
  rejected,
  reminded,
  started,
  submitted,
  tell,
} from "../../../../services/progress/data-task.ts";
import { hasEnded } from "../../../../services/progress/states.ts";

const BASE = { _id: "7", submitter: "sue", executor: "AUTO" as Executor };
const NOBODY: Terms = { mode: "none", approvers: [] };
const ANY: Terms = { mode: "any", approvers: ["ann", "bob", "sue"] };
const ALL: Terms = { mode: "all", approvers: ["ann", "bob", "sue"] };

/** A task's steps, added one after the other as its store would. */
class Life {
  readonly steps: Step[] = [];

  add(draft: Draft | undefined): this {
    if (!draft) return this;
    const number = this.steps.length + 1;
    const place = { ...draft, _id: number, task: "7", number, time: new Date(number * 1_000) };
    this.steps.push({ ...place, hash: hashStep(this.steps.at(-1)?.hash ?? NO_HASH, place) });
    return this;
  }

  get told() {
    return tell(this.steps);
  }

  get state() {
    return this.told.state;
  }
}

function refusalOf(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return error;
  }
}

function waiting(terms: Terms, task = BASE): Life {
  const life = new Life().add(submitted("sue"));
  return life.add(checked(task, life.told, { rows: 10, terms }));
}

test("one that needs nobody's word is approved by its check, begins by itself and ends with its result", () => {
  const life = waiting(NOBODY);
  expect(life.told).toMatchObject({ state: "APPROVED", rows: 10, version: 2 });
  life.add(started(BASE, life.told, ""));
  const result = { rows: 1, bytes: 2, unmappable: 0, truncated: 0, refused: 0, skipped: 0 };
  life.add(ended(life.told, "SUCCESS", { reason: "", result }));
  expect(life.told).toMatchObject({ state: "SUCCESS", reason: "", result });
  expect(ended(life.told, "FAILURE", { reason: "late" })).toBeUndefined();
  const { updateTime } = life.told;
  expect(life.add(downloaded(life.told, "ann")).told).toMatchObject({
    state: "SUCCESS",
    reason: "",
    result,
    updateTime,
  });
});

test("one whose check finds a problem has ended, with the reason", () => {
  const life = new Life().add(submitted("sue"));
  life.add(checked(BASE, life.told, { problem: "no such table" }));
  expect(life.told).toMatchObject({ state: "PRE_CHECK_FAILED", reason: "no such table" });
  expect(checked(BASE, life.told, { terms: NOBODY })).toBeUndefined();
});

describe("approval", () => {
  test("by any one is enough, by all needs all but the submitter, and the same word twice counts once", () => {
    const any = waiting(ANY);
    expect(any.add(approved(BASE, any.told, "bob", "fine")).state).toBe("APPROVED");
    const all = waiting(ALL);
    expect(all.add(approved(BASE, all.told, "bob", "")).state).toBe("APPROVING");
    expect(approved(BASE, all.told, "bob", "")).toBeUndefined();
    expect(all.add(approved(BASE, all.told, "ann", "")).told).toMatchObject({
      state: "APPROVED",
      approvals: ["bob", "ann"],
    });
  });

  test.each([
    ["sue", /^approver: sue submitted task 7/, "PERMISSION_DENIED"],
    ["eve", /^approver: eve is not an approver/, "PERMISSION_DENIED"],
    ["", /^approver: must be given/, "INVALID_ARGUMENT"],
  ])("by %j is refused, and so is a rejection", (actor, message, type) => {
    const { told } = waiting(ANY);
    expect(refusalOf(() => approved(BASE, told, actor, ""))).toMatchObject({
      type,
      message: expect.stringMatching(message),
    });
    expect(refusalOf(() => rejected(BASE, told, actor, ""))).toMatchObject({ type });
  });

  test("of a task that does not wait for it is refused", () => {
    const { told } = waiting(NOBODY);
    expect(() => approved(BASE, told, "ann", "")).toThrow("task 7 cannot be approved or rejected: it is APPROVED");
  });

  test("that is refused, or does not come in time, ends it with the reason", () => {
    const no = waiting(ANY);
    no.add(approved(BASE, waiting(ALL).told, "bob", "")).steps.pop();
    expect(no.add(rejected(BASE, no.told, "ann", "too much")).told).toMatchObject({
      state: "NOT_APPROVED",
      reason: "too much",
    });
    const late = waiting(ANY);
    late.add(reminded(BASE, late.told));
    expect(late.told).toMatchObject({ state: "APPROVING", remindedAt: new Date(3_000) });
    expect(late.add(expired(BASE, late.told)).told).toMatchObject({ state: "NOT_APPROVED" });
  });

  test("of a task by CRON schedules it", () => {
    const cron = { ...BASE, schedule: { cron: "* * * * *", timeZone: "UTC" } };
    const life = waiting(ANY, cron);
    expect(life.add(approved(cron, life.told, "ann", "")).state).toBe("SCHEDULED");
    expect(waiting(NOBODY, cron).state).toBe("SCHEDULED");
  });
});

describe("start", () => {
  test.each([
    ["COMMITTER", "sue", "ann"],
    ["APPROVER", "ann", "sue"],
    ["AUTO", "", "ann"],
  ] as const)("of %s is by %j and not by %j", (executor, who, other) => {
    const task = { ...BASE, executor };
    const life = waiting(ANY, task);
    life.add(approved(task, life.told, "bob", ""));
    expect(() => started(task, life.told, other)).toThrow(`task 7 is started by`);
    expect(life.add(started(task, life.told, who)).state).toBe("RUNNING");
    expect(() => started(task, life.told, who)).toThrow("task 7 cannot be started: it is RUNNING");
  });
});

test("cancelling ends it wherever it is, but not what has ended", () => {
  for (const life of [new Life().add(submitted("sue")), waiting(ANY), waiting(NOBODY)]) {
    expect(life.add(cancelled(BASE, life.told, "sue", "")).told).toMatchObject({
      state: "CANCEL",
      reason: "cancelled",
    });
    expect(() => cancelled(BASE, life.told, "sue", "")).toThrow("task 7 has ended: it is CANCEL");
  }
});

test("whatever is tried in whatever order: nothing begins without the words it needs, and what has ended stays so", () => {
  const people = ["ann", "bob", "sue", "eve", ""];
  const tries = fc.record({
    what: fc.constantFrom("approve", "reject", "start", "cancel", "expire", "end"),
    who: fc.constantFrom(...people),
  });
  const executor = fc.constantFrom<Executor>("AUTO", "APPROVER", "COMMITTER");
  fc.assert(
    fc.property(fc.array(tries, { maxLength: 12 }), executor, fc.constantFrom(NOBODY, ANY, ALL), (all, by, terms) => {
      const task = { ...BASE, executor: by };
      const life = waiting(terms, task);
      for (const { what, who } of all) {
        const { state } = life;
        const acts = {
          approve: () => approved(task, life.told, who, ""),
          reject: () => rejected(task, life.told, who, ""),
          start: () => started(task, life.told, who),
          cancel: () => cancelled(task, life.told, who, ""),
          expire: () => expired(task, life.told),
          end: () => ended(life.told, "SUCCESS", { reason: "" }),
        };
        try {
          life.add(acts[what as keyof typeof acts]());
        } catch {
          expect(life.state).toBe(state);
        }
        if (hasEnded(state)) expect(life.state).toBe(state);
        expect(life.told.approvals).not.toContain("sue");
        if (life.state === "RUNNING" && terms.mode !== "none") {
          const needed = terms.mode === "any" ? 1 : 2;
          expect(new Set(life.told.approvals).size).toBeGreaterThanOrEqual(needed);
        }
      }
    }),
  );
});

describe("the trail", () => {
  async function* from(steps: Step[]) {
    yield* steps;
  }

  test("is whole, and shows every change, removal and exchange", async () => {
    const life = waiting(ANY);
    life.add(approved(BASE, life.told, "bob", "fine")).add(cancelled(BASE, life.told, "sue", ""));
    const { steps } = life;
    expect(await verifyTrail(from(steps))).toEqual({ steps: 4, hash: steps[3]!.hash });
    const altered = (index: number, change: Partial<Step>) =>
      steps.map((step, at) => (at === index ? { ...step, ...change } : step));
    const trails: [Step[], number][] = [
      [altered(2, { actor: "ann" }), 3],
      [altered(2, { comment: "" }), 3],
      [altered(1, { data: JSON.stringify({ rows: 1, terms: ANY }) }), 2],
      [altered(0, { time: new Date(0) }), 1],
      [altered(3, { hash: steps[2]!.hash }), 4],
      [steps.filter((_, index) => index !== 1), 2],
      [steps.slice(1), 1],
      [[steps[0]!, steps[2]!, steps[1]!, steps[3]!], 2],
    ];
    for (const [trail, broken] of trails) expect(await verifyTrail(from(trail))).toMatchObject({ broken });
  });
});
