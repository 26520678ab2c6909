import { expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Grant } from "../../../../services/queues/rate-window.ts";
import { allowance, granted } from "../../../../services/queues/rate-window.ts";

const at = (ms: number) => new Date(1_800_000_000_000 + ms);

test("no stretch of the window's length ever holds more than the rate", () => {
  const steps = fc.array(
    fc.record({ pause: fc.integer({ min: 0, max: 700 }), wanted: fc.integer({ min: 0, max: 12 }) }),
    {
      minLength: 20,
      maxLength: 60,
    },
  );
  const check = (rate: number, windowMs: number, actions: { pause: number; wanted: number }[]) => {
    const given: { ms: number; count: number }[] = [];
    let grants: Grant[] = [];
    let ms = 0;
    for (const { pause, wanted } of actions) {
      ms += pause;
      const count = Math.min(wanted, allowance(grants, rate, windowMs, at(ms)).free);
      grants = granted(grants, count, windowMs, at(ms));
      given.push({ ms, count });
    }
    for (const { ms: end } of given) {
      const within = given.filter((one) => one.ms <= end && one.ms > end - windowMs);
      expect(within.reduce((sum, { count }) => sum + count, 0)).toBeLessThanOrEqual(rate);
    }
    expect(grants.length).toBeLessThanOrEqual(21);
  };
  fc.assert(fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 3_000 }), steps, check));
});

test("who asks as soon as he is told to gets 95 % of the rate, however long", () => {
  let grants: Grant[] = [];
  let ms = 0;
  let given = 0;
  while (ms < 100_000) {
    const { free, retryMs } = allowance(grants, 100, 1_000, at(ms));
    // One at a time, each 3 ms after the one before: the rate is what holds it up.
    if (free > 0) grants = granted(grants, 1, 1_000, at(ms));
    given += free > 0 ? 1 : 0;
    ms += free > 0 ? 3 : retryMs;
  }
  expect(given).toBeGreaterThan(9_500);
  expect(given).toBeLessThanOrEqual(10_000);
});

test("where nothing is free it says when something will be", () => {
  const grants = granted(granted([], 3, 10_000, at(0)), 2, 10_000, at(4_000));
  expect(allowance(grants, 6, 10_000, at(4_000))).toEqual({ free: 1, retryMs: 0 });
  expect(allowance(grants, 5, 10_000, at(4_000))).toEqual({ free: 0, retryMs: 6_000 });
  expect(allowance(grants, 5, 10_000, at(10_000))).toEqual({ free: 3, retryMs: 0 });
  // Lowered to 2: the 3 must go, and then one of the 2.
  expect(allowance(grants, 2, 10_000, at(4_000))).toEqual({ free: 0, retryMs: 10_000 });
});

test("a clock that was set back by an hour does not close the channel for an hour", () => {
  const grants = granted([], 5, 1_000, at(3_600_000));
  expect(allowance(grants, 5, 1_000, at(0)).free).toBe(5);
  expect(granted(grants, 1, 1_000, at(0))).toEqual([{ at: at(0), count: 1 }]);
});
