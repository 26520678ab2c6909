import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { main, makeData, makeSandbox } from "../../../../lua-scripts.ts";
import { TIME_UNITS, ZoneClock } from "../../../../../services/saas/debug/zone-clock.ts";

function printed(body: string, timeZone?: string): string {
  const { printOutput, error } = makeSandbox(timeZone).run(main(body), makeData());
  return error || printOutput.trimEnd();
}

/** What the documents' zone shows of 2025-04-07 03:17:13 UTC. */
const T = 1_743_995_833;

test.each([
  [`time.date(${T})`, "2025\t4\t7"],
  [`time.hour(${T})`, "11"],
  [`time.minute(${T})`, "17"],
  [`time.second(${T})`, "13"],
  [`time.weekday(${T})`, "1"],
  ["time.weekday(1743868800)", "0"],
  [`time.truncate(${T}, "month")`, "1743436800"],
  [`time.truncate(${T}, "day")`, "1743955200"],
  [`time.truncate(${T}, "hour")`, "1743994800"],
  [`time.truncate(${T}, "minute")`, "1743995820"],
  [`time.addtime(${T}, 1, 2, 3) - ${T}`, "3723"],
  [`time.addtime(${T}, -1) - ${T}`, "-3600"],
  [`time.adddate(${T}, 0, 0, 1) - ${T}`, "86400"],
  ["time.date(time.adddate(time.setdate(2025, 1, 31, 0, 0, 0), 0, 1, 0))", "2025\t3\t3"],
  ["time.date(time.adddate(time.setdate(2024, 2, 29, 0, 0, 0), 1, 0, 0))", "2025\t3\t1"],
  ["time.date(time.adddate(time.setdate(2025, 12, 31, 0, 0, 0), 0, -10, 1))", "2025\t3\t4"],
  ["time.setdate(2025, 4, 7, 11, 17, 13)", String(T)],
  ["time.setdate(2025, 4, 7)", "1743955200"],
  ["time.date(time.setdate(2025, 14, 0, 24, 60, 60))", "2026\t2\t1"],
  ["time.setdate(1970, 1, 1, 8, 0, 0)", "0"],
  ["time.hour(-1)", "7"],
  [`time.hour("${T}")`, "11"],
  [`time.hour(${T}.0)`, "11"],
])("%s in Asia/Shanghai", (call, result) => {
  expect(printed(`print(${call})`)).toBe(result);
});

test.each([
  // The clocks skip 02:00 to 03:00 on 2025-03-30, and show it twice on 2025-10-26.
  ["time.setdate(2025, 3, 30, 2, 30, 0)", String(Date.UTC(2025, 2, 30, 1, 30) / 1_000)],
  ["time.hour(time.setdate(2025, 3, 30, 2, 30, 0))", "3"],
  ["time.setdate(2025, 10, 26, 2, 30, 0)", String(Date.UTC(2025, 9, 26, 0, 30) / 1_000)],
  ["time.adddate(time.setdate(2025, 3, 29, 12, 0, 0), 0, 0, 1) - time.setdate(2025, 3, 29, 12, 0, 0)", "82800"],
  ["time.hour(time.addtime(time.setdate(2025, 3, 29, 12, 0, 0), 24, 0, 0))", "13"],
  ["time.truncate(1761442200, 'hour')", "1761440400"],
  ["time.hour(time.truncate(1761442200, 'day'))", "0"],
])("%s in Europe/Berlin", (call, result) => {
  expect(printed(`print(${call})`, "Europe/Berlin")).toBe(result);
});

test("a day that begins later, because the clocks skip midnight, begins when they go on", () => {
  const clock = new ZoneClock("Africa/Cairo");
  const noon = Date.UTC(2024, 3, 26, 9) / 1_000;
  expect(clock.local(clock.truncate(noon, "day"))).toMatchObject({ day: 26, hour: 1, minute: 0 });
});

test("an hour in which the clocks go on or back by a half has one begin", () => {
  const clock = new ZoneClock("Australia/Lord_Howe");
  for (const change of [Date.UTC(2025, 9, 4, 15, 30) / 1_000, Date.UTC(2025, 3, 5, 15) / 1_000]) {
    const start = clock.truncate(change + 900, "hour");
    expect(clock.truncate(start, "hour")).toBe(start);
    expect(start).toBeLessThanOrEqual(change);
  }
});

test("now is the time", () => {
  const before = Math.floor(Date.now() / 1_000);
  const now = Number(printed("print(time.now())"));
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(Date.now() / 1_000);
});

test.each([
  ["time.date()", "bad argument #1 to 'date' (number expected, got no value)"],
  ["time.hour({})", "bad argument #1 to 'hour' (number expected, got table)"],
  ['time.hour("x")', "bad argument #1 to 'hour' (number expected, got string)"],
  ["time.minute(1.5)", "bad argument #1 to 'minute' (number has no integer representation)"],
  ["time.minute(0/0)", "bad argument #1 to 'minute' (number has no integer representation)"],
  ["time.second(1e300)", "bad argument #1 to 'second' (too large)"],
  ["time.second(999999999999)", "'second': the time is not in the years 1000 to 9999"],
  ["time.truncate(1, 'week')", `bad argument #2 to 'truncate' ("month", "day", "hour", "minute" expected, got week)`],
  ["time.truncate(1)", `bad argument #2 to 'truncate' ("month", "day", "hour", "minute" expected, got no value)`],
  ["time.addtime(1, 1e12)", "'addtime': the time is not in the years 1000 to 9999"],
  ["time.adddate(1, 1e6)", "'adddate': the time is not in the years 1000 to 9999"],
  ["time.adddate(1, 1e12, 1e12, 1e12)", "'adddate': the time is not in the years 1000 to 9999"],
  ["time.adddate(1, {})", "bad argument #2 to 'adddate' (number expected, got table)"],
  ["time.setdate(2025, 1)", "bad argument #3 to 'setdate' (number expected, got no value)"],
])("%s is refused", (call, error) => {
  expect(printed(`print(${call})`)).toBe(`line 1: ${error}`);
});

describe.each(["Asia/Shanghai", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "UTC"])(
  "%s",
  (timeZone) => {
    const clock = new ZoneClock(timeZone);
    const times = fc.integer({ min: Date.UTC(1900, 0, 3) / 1_000, max: Date.UTC(2200, 0) / 1_000 });
    const parts = new Intl.DateTimeFormat("en-GB", {
      timeZone,
      dateStyle: "full",
      timeStyle: "medium",
    });
    const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

    test("local times are those of Intl", () => {
      fc.assert(
        fc.property(times, (time) => {
          const shown = Object.fromEntries(parts.formatToParts(time * 1_000).map(({ type, value }) => [type, value]));
          const { year, day, hour, minute, second } = clock.local(time);
          expect([year, day, hour, minute, second]).toEqual(
            [shown.year, shown.day, shown.hour, shown.minute, shown.second].map(Number),
          );
          expect(days[clock.weekday(time)]).toBe(shown.weekday);
        }),
      );
    });

    test("a time that is set from its own fields is itself, or the same local time earlier", () => {
      fc.assert(
        fc.property(times, (time) => {
          const set = clock.at(clock.local(time));
          expect(clock.local(set)).toEqual(clock.local(time));
          expect(set).toBeLessThanOrEqual(time);
        }),
      );
    });

    test("what is truncated is no later, of the same unit, and truncates to itself", () => {
      fc.assert(
        fc.property(times, fc.constantFrom(...TIME_UNITS), (time, unit) => {
          const start = clock.truncate(time, unit);
          expect(start).toBeLessThanOrEqual(time);
          expect(clock.truncate(start, unit)).toBe(start);
          const { year, month } = clock.local(time);
          expect(clock.local(start)).toMatchObject({ year, month });
        }),
      );
    });

    test("days that are added keep the time of day, unless the clocks skip it", () => {
      fc.assert(
        fc.property(times, fc.integer({ min: -1_000, max: 1_000 }), (time, count) => {
          const added = clock.local(clock.addDate(time, 0, 0, count));
          const was = clock.local(time);
          const wanted = new Date(Date.UTC(was.year, was.month - 1, was.day + count));
          expect([added.year, added.month, added.day]).toEqual([
            wanted.getUTCFullYear(),
            wanted.getUTCMonth() + 1,
            wanted.getUTCDate(),
          ]);
          expect(Math.abs(added.hour - was.hour)).toBeLessThanOrEqual(1);
        }),
      );
    });
  },
);
