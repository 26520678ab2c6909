import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { TaskRequest } from "../../../../services/queues/task-request.ts";
import { checkHash, newHash, newTask, sameRequest } from "../../../../services/queues/task-request.ts";
import type { Report, Task } from "../../../../services/queues/task.ts";
import {
  cancel,
  follow,
  giveBack,
  isEnded,
  lapse,
  leaseEnd,
  lose,
  miss,
  promote,
  publicState,
  redrive,
  report,
  retryDelay,
} from "../../../../services/queues/task.ts";

const now = new Date("2026-01-02T03:04:05.678Z");
const later = (ms: number) => new Date(now.getTime() + ms);

function make(request: Partial<TaskRequest> = {}, more: Partial<Task> = {}): Task {
  const times = { readyAt: now, createTime: now, updateTime: now };
  return { _id: 7, ...newTask({ channel: "mail", ...request }, now), ...times, ...more };
}

function running(more: Partial<Task> = {}): Task {
  const lease = { holder: "w1", token: "t1", leaseMs: 60_000, leaseUntil: later(60_000), attempts: 1 };
  return make({}, { state: "RUNNING", ...lease, ...more });
}

function apply(task: Task, change: { set: Partial<Task>; clear: (keyof Task)[] } | null): Task {
  const after = { ...task, ...change?.set };
  for (const field of change?.clear ?? []) Reflect.deleteProperty(after, field);
  return after;
}

const success: Report = { state: "SUCCESS", output: "done" };

describe("a new task", () => {
  test.each([
    [{ channel: "" }, "Task.Channel: must not be empty"],
    [{ channel: "a/b" }, 'Task.Channel: must hold no control character, ":" or "/"'],
    [{ channel: "a:b" }, 'Task.Channel: must hold no control character, ":" or "/"'],
    [{ channel: "a\u0007" }, 'Task.Channel: must hold no control character, ":" or "/"'],
    [{ channel: "x".repeat(129) }, "Task.Channel: must be at most 128 characters"],
    [
      { channel: "c", input: "x".repeat(600 * 1024) },
      "Task.Input: must be at most 524288 bytes (512 KiB), it is 614400",
    ],
    [{ channel: "c", input: "\ud800" }, "Task.Input: must be valid Unicode, it holds a lone surrogate"],
    [{ channel: "c", hash: ".." }, 'Task.HashCode: must be 1 to 128 of [0-9A-Za-z._~-], and not "." or ".."'],
    [{ channel: "c", hash: "a b" }, 'Task.HashCode: must be 1 to 128 of [0-9A-Za-z._~-], and not "." or ".."'],
  ])("of %j is refused", (request, message) => {
    expect(() => newTask(request, now)).toThrow(message);
  });

  test("may have 128 emoji for its channel and exactly 512 KiB for its input", () => {
    expect(newTask({ channel: "🦀".repeat(128), input: "é".repeat(256 * 1024) }, now).state).toBe("READY");
  });

  test("without a HashCode gets 20 characters that nobody can guess", () => {
    const hashes = new Set(Array.from({ length: 1_000 }, () => newHash(now)));
    expect(hashes.size).toBe(1_000);
    for (const hash of hashes) expect(hash).toMatch(/^[0-9A-Za-z]{20}$/);
    // Those of a moment are neighbours in the index, and later ones come after them.
    expect(new Set([...hashes].map((hash) => hash.slice(0, 6))).size).toBe(1);
    expect(new Set([...hashes].map((hash) => hash.slice(6))).size).toBe(1_000);
    expect(newHash(new Date(now.getTime() + 64)) > newHash(now)).toBe(true);
    expect(() => checkHash("HashCode", newTask({ channel: "c" }, now).hash)).not.toThrow();
  });

  test("is the same request only with the same channel, owner and input, also when it took over an output", () => {
    const task = make({ input: "x", owner: "5" });
    expect(sameRequest(task, { channel: "mail", owner: "5", input: "x" })).toBe(true);
    expect(sameRequest(task, { channel: "mail", owner: "5", input: "y" })).toBe(false);
    expect(sameRequest(task, { channel: "mail", owner: "6", input: "x" })).toBe(false);
    const chained = make({ next: 3 }, { input: "inherited" });
    expect(sameRequest(chained, { channel: "mail", owner: "0", input: "" })).toBe(true);
  });
});

describe("a report", () => {
  test("of success ends the task and takes its lease away", () => {
    const ended = apply(running(), report(running(), success, now));
    expect(ended).toMatchObject({ state: "SUCCESS", output: "done", endTime: now });
    expect(ended).not.toHaveProperty("token");
    expect(ended).not.toHaveProperty("leaseUntil");
  });

  test("that says again what stands changes nothing; a different one is refused with the state that stands", () => {
    const ended = apply(running(), report(running(), success, now));
    expect(report(ended, success, now)).toBeNull();
    expect(() => report(ended, { state: "FAILURE", output: "" }, now)).toThrow("its state is SUCCESS");
    expect(() => report(ended, { state: "SUCCESS", output: "other" }, now)).toThrow("its state is SUCCESS");
  });

  test("by another worker, after the time of an attempt, or of a task that nobody has is refused", () => {
    expect(() => report(running(), { ...success, worker: "w2" }, now)).toThrow("belongs to another worker");
    const limited = running({ maxRunMs: 30_000, startTime: now, leaseUntil: later(30_000) });
    expect(() => report(limited, success, later(30_001))).toThrow("longer than 30 seconds (MaxRunSeconds)");
    expect(() => report(make(), success, now)).toThrow("its state is WAITING");
  });

  test("after the lease is taken while the task was not taken away", () => {
    expect(report(running(), success, later(60_001))).toMatchObject({ set: { state: "SUCCESS" } });
    const lost = apply(running(), lapse(running(), 5, later(60_001)));
    expect(() => report(lost, success, later(60_002))).toThrow("its state is WAITING");
  });

  test("without a worker, or by the one who has it, is taken", () => {
    expect(report(running(), success, now)).not.toBeNull();
    expect(report(running(), { ...success, worker: "w1" }, now)).not.toBeNull();
  });

  test("of PROCEEDING renews the lease by its own length and stores the progress", () => {
    const task = running({ leaseMs: 5_000, leaseUntil: later(1_000) });
    const renewed = apply(task, report(task, { state: "RUNNING", output: "half", progress: 50 }, now));
    expect(renewed).toMatchObject({ state: "RUNNING", output: "half", progress: 50, leaseUntil: later(5_000) });
    expect(() => report(task, { state: "RUNNING", output: "", progress: 101 }, now)).toThrow("Progress: must be");
  });

  test("of failure retries with a full-jitter back-off until the retries are used up", () => {
    let task = running({ retryMax: 2 });
    const delays: number[] = [];
    for (let attempt = 0; attempt < 2; attempt += 1) {
      task = apply(
        task,
        report(task, { state: "FAILURE", output: "no" }, now, () => 0.999),
      );
      expect(task).toMatchObject({ state: "DELAYED", output: "no", retries: attempt + 1, readyAt: task.availableAt });
      delays.push((task.availableAt?.getTime() ?? 0) - now.getTime());
      expect(report(task, { state: "FAILURE", output: "no" }, now)).toBeNull();
      task = running({ ...task, state: "RUNNING" });
    }
    expect(delays).toEqual([999, 1_998]);
    task = apply(task, report(task, { state: "FAILURE", output: "no" }, now));
    expect(task).toMatchObject({ state: "FAILURE", retries: 2 });
  });

  test("with WAITING gives the task back to where it stood, nothing lost", () => {
    const task = running({ readyAt: later(-5_000) });
    const back = apply(task, report(task, { state: "READY", output: "" }, now));
    expect(back).toMatchObject({ state: "READY", readyAt: later(-5_000), losses: 0, retries: 0 });
  });

  test("whatever it says, never changes a task that has ended", () => {
    const states = fc.constantFrom("SUCCESS", "FAILURE", "CANCEL", "RUNNING", "READY") as fc.Arbitrary<Report["state"]>;
    const ends = fc.constantFrom("SUCCESS", "FAILURE", "CANCEL") as fc.Arbitrary<Task["state"]>;
    fc.assert(
      fc.property(states, ends, fc.string({ maxLength: 3 }), (said, stands, output) => {
        const task = make({}, { state: stands, output: "x", endTime: now });
        try {
          expect(report(task, { state: said, output }, now)).toBeNull();
        } catch (error) {
          expect((error as Error).message).toContain(`its state is ${stands}`);
        }
      }),
    );
  });
});

describe("a lost task", () => {
  const halfway = () => 0.5;

  test("waits again at once, later ones after a random time that grows, and fails after the last that is allowed", () => {
    let task = running({ readyAt: later(-9), retries: 1, retryMax: 3 });
    const waits: number[] = [];
    for (let losses = 1; losses < 5; losses += 1) {
      task = apply(task, lose(task, "its lease ran out", 5, now, halfway));
      expect(task).toMatchObject({ state: losses === 1 ? "READY" : "DELAYED", losses, retries: 1 });
      waits.push((task.availableAt ?? now).getTime() - now.getTime());
      if (task.availableAt) task = apply(task, promote(task, task.availableAt));
      expect(task).toMatchObject({ state: "READY", readyAt: later(-9) });
      expect(task).not.toHaveProperty("availableAt");
      task = running({ ...task, state: "RUNNING" });
    }
    expect(waits).toEqual([0, 500, 1_000, 2_000]);
    task = apply(task, lose(task, "its lease ran out", 5, now));
    expect(task).toMatchObject({ state: "FAILURE", losses: 5 });
    expect(task.output).toBe("lost 5 times (MAX_LOST 5), the last time: its lease ran out");
  });

  test("waits a minute at most, however often it was lost before", () => {
    const task = running({ losses: 998 });
    expect(apply(task, lose(task, "", 1_000, now, halfway)).availableAt).toEqual(later(30_000));
  });

  test("that waits for its time takes no report, not even that of a failure again", () => {
    const task = running({ readyAt: later(-9), losses: 1, retryMax: 3 });
    const lost = apply(task, lose(task, "", 5, now, halfway));
    expect(() => report(lost, { state: "FAILURE", output: "" }, now)).toThrow("its state is WAITING");
    expect(apply(lost, miss({ ...lost, deadline: now }, now))).toMatchObject({ state: "FAILURE" });
  });

  test("that was given back has lost nothing", () => {
    expect(apply(running(), giveBack(now))).toMatchObject({ state: "READY", losses: 0 });
  });
});

describe("the wait before a retry", () => {
  const policy = { initialMs: 1_000, multiplier: 3, maxMs: 5_000 };

  test("grows by the multiplier up to the cap, and is a random part of that", () => {
    expect([0, 1, 2, 3].map((retries) => retryDelay(policy, retries, () => 1))).toEqual([1_000, 3_000, 5_000, 5_000]);
    expect(retryDelay(policy, 2, () => 0)).toBe(0);
    expect(retryDelay(policy, 1_000, () => 0.5)).toBe(2_500);
  });

  test("is exactly what was listed, the last for all that follow", () => {
    const listed = { ...policy, delaysMs: [0, 7_000] };
    expect([0, 1, 2, 9].map((retries) => retryDelay(listed, retries, () => 0.3))).toEqual([0, 7_000, 7_000, 7_000]);
  });

  test("does not come after a failure that is called hopeless", () => {
    const task = running({ retryMax: 5 });
    const said: Report = { state: "FAILURE", output: "never", nonRetryable: true };
    expect(apply(task, report(task, said, now))).toMatchObject({ state: "FAILURE", retries: 0, endTime: now });
  });
});

describe("an attempt with a longest time", () => {
  const task = running({ maxRunMs: 10_000, startTime: later(-9_000), retryMax: 1 });

  test("has no lease beyond it, however often it is renewed", () => {
    expect(leaseEnd(task, now)).toEqual(later(1_000));
    const renewed = apply(task, report(task, { state: "RUNNING", output: "" }, now));
    expect(renewed.leaseUntil).toEqual(later(1_000));
    expect(leaseEnd({ ...task, maxRunMs: undefined }, now)).toEqual(later(60_000));
  });

  test("fails after it and is tried again, while one whose lease ran out before is lost", () => {
    const over = { ...task, leaseUntil: later(1_000) };
    expect(lapse(over, 5, later(1_000))).toBeNull();
    const failed = lapse(over, 5, later(1_001));
    expect(failed).toMatchObject({ taken: true });
    const output = "the attempt took longer than 10 seconds (MaxRunSeconds)";
    expect(apply(over, failed)).toMatchObject({ state: "DELAYED", retries: 1, losses: 0, output });
    const vanished = { ...task, leaseUntil: later(500) };
    expect(apply(vanished, lapse(vanished, 5, later(600)))).toMatchObject({ state: "READY", retries: 0, losses: 1 });
    const again = { ...vanished, losses: 1 };
    const lost = apply(
      again,
      lapse(again, 5, later(600), () => 0.2),
    );
    expect(lost).toMatchObject({ state: "DELAYED", availableAt: later(800), retries: 0, losses: 2 });
  });
});

describe("a deadline", () => {
  test("ends a task in any state that is not an end, once it has passed", () => {
    for (const state of ["READY", "DELAYED", "CHAINED", "RUNNING"] as const) {
      const task = make({}, { state, deadline: later(5), availableAt: later(9) });
      expect(miss(task, later(4))).toBeNull();
      const missed = apply(task, miss(task, later(5)));
      expect(missed).toMatchObject({ state: "FAILURE", endTime: later(5) });
      expect(missed.output).toBe(`the task had not ended by its deadline, ${later(5).toISOString()}`);
      expect(missed).not.toHaveProperty("deadline");
      expect(missed).not.toHaveProperty("availableAt");
    }
  });

  test("is nothing to a task that has ended, or has none", () => {
    expect(miss(make({}, { state: "SUCCESS", deadline: now }), later(1))).toBeNull();
    expect(miss(make(), later(1))).toBeNull();
  });
});

describe("a redrive", () => {
  test("makes a failed task as good as new, and keeps its number of attempts, by which reports are told apart", () => {
    const failed = make({}, { state: "FAILURE", retries: 3, losses: 2, attempts: 4, output: "no", endTime: now });
    const again = apply({ ...failed, expireAt: later(9), progress: 5 }, redrive(failed, later(7)));
    expect(again).toMatchObject({ state: "READY", readyAt: later(7), retries: 0, losses: 0, attempts: 4, output: "" });
    for (const field of ["endTime", "expireAt", "progress"]) expect(again).not.toHaveProperty(field);
  });

  test("is refused for a task that has not failed", () => {
    for (const [state, name] of [
      ["CHAINED", "WAITING"],
      ["RUNNING", "PROCEEDING"],
      ["CANCEL", "CANCEL"],
    ] as const) {
      expect(() => redrive(make({}, { state }), now)).toThrow(`task 7 has not failed: its state is ${name}`);
    }
  });
});

describe("a chained task", () => {
  const chained = make({ next: 3 }, { _id: 8 });

  test("becomes ready with its predecessor's output where it has no input of its own", () => {
    const first = make({}, { _id: 3, state: "SUCCESS", output: "42" });
    expect(apply(chained, follow(chained, first, now))).toMatchObject({ state: "READY", input: "42" });
    const own = make({ next: 3, input: "mine" });
    expect(apply(own, follow(own, first, now))).toMatchObject({ state: "READY", input: "mine" });
  });

  test("is cancelled, saying why, when its predecessor fails", () => {
    const first = make({}, { _id: 3, state: "FAILURE" });
    expect(apply(chained, follow(chained, first, now))).toMatchObject({
      state: "CANCEL",
      output: "task 3, which comes before it, ended FAILURE",
    });
  });

  test("with a time of its own waits on for that, unless it has passed", () => {
    const first = make({}, { _id: 3, state: "SUCCESS", output: "42" });
    const timed = make({ next: 3, delayMs: 10 });
    const times = { availableAt: later(10), readyAt: later(10) };
    expect(apply(timed, follow(timed, first, later(9)))).toMatchObject({ state: "DELAYED", ...times });
    const due = apply(timed, follow(timed, first, later(10)));
    expect(due).toMatchObject({ state: "READY", input: "42" });
    expect(due).not.toHaveProperty("availableAt");
  });

  test("is settled only once", () => {
    const first = make({}, { _id: 3, state: "SUCCESS" });
    expect(follow(apply(chained, follow(chained, first, now)), first, now)).toBeNull();
  });
});

test("a delayed task becomes ready when it is due, not before", () => {
  const task = make({}, { state: "DELAYED", availableAt: later(10), readyAt: later(10) });
  expect(promote(task, now)).toBeNull();
  expect(apply(task, promote(task, later(11)))).toMatchObject({ state: "READY", readyAt: later(10) });
});

test("a cancel of an ended task is refused with the state that stands", () => {
  expect(apply(running(), cancel(running(), "", now)).state).toBe("CANCEL");
  expect(() => cancel(make({}, { state: "FAILURE" }), "", now)).toThrow("its state is FAILURE");
});

test("clients know three waiting states as WAITING and RUNNING as PROCEEDING", () => {
  expect((["READY", "DELAYED", "CHAINED", "RUNNING", "SUCCESS"] as const).map(publicState)).toEqual([
    "WAITING",
    "WAITING",
    "WAITING",
    "PROCEEDING",
    "SUCCESS",
  ]);
  expect(isEnded("RUNNING")).toBe(false);
});
