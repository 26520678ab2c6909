import { describe, expect, test } from "@jest/globals";
import type { TaskRequest } from "../../../../services/queues/task-request.ts";
import { checkPredecessor, checkTags, newTask } from "../../../../services/queues/task-request.ts";
import type { RetryPolicy, Task } from "../../../../services/queues/task.ts";

const now = new Date("2026-01-02T03:04:05.678Z");
const later = (ms: number) => new Date(now.getTime() + ms);
const YEAR_MS = 31_536_000_000;

const make = (request: Partial<TaskRequest> = {}) => newTask({ channel: "mail", ...request }, now);

describe("a new task", () => {
  test("waits for its time only where that is ahead", () => {
    expect(make({ delayMs: 300 })).toMatchObject({ state: "DELAYED", availableAt: later(300) });
    expect(make({ startAt: later(1) })).toMatchObject({ state: "DELAYED", availableAt: later(1) });
    for (const request of [{}, { delayMs: 0 }, { startAt: now }, { startAt: later(-YEAR_MS) }]) {
      expect(make(request).state).toBe("READY");
      expect(make(request)).not.toHaveProperty("availableAt");
    }
  });

  test("in a chain keeps its time for when its predecessor has ended", () => {
    expect(make({ next: 3, delayMs: 300 })).toMatchObject({
      state: "CHAINED",
      availableAt: later(300),
      inherits: true,
    });
    expect(make({ next: 3, input: "own" })).toMatchObject({ state: "CHAINED", inherits: false });
  });

  test("has nothing of what was not asked for", () => {
    const fields = ["channel", "owner", "hash", "state", "priority", "input", "output", "retryMax", "retries"];
    expect(Object.keys(make({ tags: {} })).sort()).toEqual([...fields, "losses", "attempts"].sort());
  });

  test.each<[Partial<TaskRequest>]>([
    [{ priority: -1_000 }],
    [{ priority: 1_000 }],
    [{ delayMs: YEAR_MS }],
    [{ startAt: later(YEAR_MS) }],
    [{ deadline: later(1) }],
    [{ deadline: later(2 * YEAR_MS) }],
    [{ maxRunMs: 1_000 }],
    [{ maxRunMs: 604_800_000 }],
    [{ tags: Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`${index}`, "🦀".repeat(256)])) }],
    [{ tags: { [`a.b-c_${"x".repeat(58)}`]: "" } }],
  ])("may go to the very limit: %#", (request) => {
    expect(() => make(request)).not.toThrow();
  });

  test.each<[Partial<TaskRequest>, string]>([
    [{ priority: 1_001 }, "Task.Priority: must be -1000 to 1000"],
    [{ priority: 0.5 }, "Task.Priority: must be a whole number"],
    [{ delayMs: YEAR_MS + 1 }, "Task.DelaySeconds: must be 0 to 31536000"],
    [{ delayMs: -1 }, "Task.DelaySeconds: must be 0 to 31536000"],
    [{ delayMs: NaN }, "Task.DelaySeconds: must be 0 to 31536000"],
    [{ startAt: later(YEAR_MS + 1) }, "Task.StartTime: must be at most a year ahead"],
    [{ startAt: now, delayMs: 1 }, "Task.StartTime: must not be given together with DelaySeconds"],
    [{ deadline: now }, "Task.Deadline: must be in the future"],
    [{ deadline: later(2 * YEAR_MS + 1) }, "Task.Deadline: must be at most two years ahead"],
    [{ maxRunMs: 604_801_000 }, "Task.MaxRunSeconds: must be 1 to 604800"],
    [{ tags: { "": "x" } }, 'Task.Tags: the name "" must be 1 to 64 of [0-9A-Za-z._-]'],
    [{ tags: { ["x".repeat(65)]: "" } }, `Task.Tags: the name "${"x".repeat(64)}…" must be 1 to 64 of`],
    [{ tags: { a: "🦀".repeat(257) } }, "Task.Tags.a: must be at most 256 characters of valid Unicode"],
    [{ tags: { a: "\ud800" } }, "Task.Tags.a: must be at most 256 characters of valid Unicode"],
  ])("beyond it is refused: %#", (request, message) => {
    expect(() => make(request)).toThrow(message);
  });

  test("with 17 tags is refused", () => {
    const tags = Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`t${index}`, ""]));
    expect(() => checkTags("Tags", tags)).toThrow("Tags: must be at most 16 tags, not 17");
  });
});

describe("a retry policy", () => {
  const policy: RetryPolicy = { initialMs: 1_000, multiplier: 2, maxMs: 600_000 };

  test.each<[Partial<RetryPolicy>, string]>([
    [{ initialMs: 0.5 }, "Task.RetryPolicy.InitialSeconds: must be 0.001 to 86400"],
    [{ initialMs: 86_400_001 }, "Task.RetryPolicy.InitialSeconds: must be 0.001 to 86400"],
    [{ multiplier: 0.9 }, "Task.RetryPolicy.Multiplier: must be 1 to 100"],
    [{ multiplier: 100.1 }, "Task.RetryPolicy.Multiplier: must be 1 to 100"],
    [{ maxMs: 604_800_001 }, "Task.RetryPolicy.MaxSeconds: must be 0.001 to 604800"],
    [{ delaysMs: [0, 604_800_001] }, "Task.RetryPolicy.DelaySeconds[1]: must be 0 to 604800"],
    [{ delaysMs: new Array<number>(101).fill(0) }, "Task.RetryPolicy.DelaySeconds: must be at most 100 delays"],
  ])("beyond its limits is refused: %#", (wrong, message) => {
    expect(() => make({ retryPolicy: { ...policy, ...wrong } })).toThrow(message);
  });

  test("at its limits is taken", () => {
    const limits = {
      initialMs: 1,
      multiplier: 1,
      maxMs: 604_800_000,
      delaysMs: new Array<number>(100).fill(604_800_000),
    };
    expect(make({ retryPolicy: limits }).retryPolicy).toEqual(limits);
  });
});

test("nothing can follow a task of Longshore's own but its own, and what always follows also a failure", () => {
  const predecessor = { _id: 3, state: "FAILURE" } as Task;
  expect(() => checkPredecessor(predecessor, { channel: "c" })).toThrow("Task.Next: task 3 ended FAILURE");
  expect(() => checkPredecessor(predecessor, { channel: "c", always: true })).not.toThrow();
  const internal = { ...predecessor, state: "READY", internal: true } as Task;
  expect(() => checkPredecessor(internal, { channel: "c" })).toThrow("task 3 belongs to a service of Longshore");
  expect(() => checkPredecessor(internal, { channel: "c", internal: true })).not.toThrow();
});
