import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Missed, Progress, Timing } from "../../../../services/queues/schedule.ts";
import { checkName, dueTimes, hashOf, MAX_MISSED, revise, timeAfter } from "../../../../services/queues/schedule.ts";

const at = (text: string) => new Date(text);
const noon = at("2026-05-01T12:00:00Z");
const after = (ms: number) => new Date(noon.getTime() + ms);
const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** The first `count` times of an expression after that moment. */
function times(cron: string, timeZone: string, moment: string, count: number): string[] {
  const found: string[] = [];
  let time = at(moment);
  while (found.length < count) {
    time = timeAfter({ cron, timeZone }, time);
    found.push(time.toISOString());
  }
  return found;
}

function schedule(fields: Partial<Timing & Progress> = {}): Timing & Progress {
  const timing = { cron: "* * * * *", timeZone: "UTC", missed: "SKIP" as Missed, paused: false };
  return { ...timing, nextAt: noon, since: after(-60 * MINUTE), ...fields };
}

function due(fields: Partial<Timing & Progress>, now: Date): { times: string[]; nextAt: string } {
  const found = dueTimes(schedule(fields), now);
  return { times: found.times.map((time) => time.toISOString()), nextAt: found.nextAt.toISOString() };
}

describe("a cron expression", () => {
  test("has minute, hour, day of month, month and day of week, and seconds before them where there are six", () => {
    expect(times("30 6 * * MON-FRI", "UTC", "2026-05-01T12:00:00Z", 2)).toEqual([
      "2026-05-04T06:30:00.000Z",
      "2026-05-05T06:30:00.000Z",
    ]);
    expect(times("*/20 * * * * *", "UTC", "2026-05-01T12:00:00Z", 2)).toEqual([
      "2026-05-01T12:00:20.000Z",
      "2026-05-01T12:00:40.000Z",
    ]);
  });

  test("is read in its time zone", () => {
    expect(times("0 9 * * *", "Asia/Tokyo", "2026-05-01T12:00:00Z", 1)).toEqual(["2026-05-02T00:00:00.000Z"]);
  });

  test("knows the last day of a month and the second Monday", () => {
    expect(times("0 0 L * *", "UTC", "2028-02-01T00:00:00Z", 1)).toEqual(["2028-02-29T00:00:00.000Z"]);
    expect(times("0 0 * * MON#2", "UTC", "2026-05-01T12:00:00Z", 1)).toEqual(["2026-05-11T00:00:00.000Z"]);
  });

  test("comes next after a moment, not at it", () => {
    expect(times("* * * * *", "UTC", "2026-05-01T12:00:00.000Z", 1)).toEqual(["2026-05-01T12:01:00.000Z"]);
    expect(times("* * * * *", "UTC", "2026-05-01T11:59:59.999Z", 1)).toEqual(["2026-05-01T12:00:00.000Z"]);
  });

  test.each([
    ["", "must be minute"],
    ["* * * *", "must be minute"],
    ["* * * * * * 2030", "must be minute"],
    ["@daily", "must be minute"],
    ["2030-01-01T00:00:00", "must be minute"],
    ["00:30 * * * *", "must be minute"],
    ["60 * * * *", "Invalid value for minute: 60"],
    ["a * * * *", "illegal characters"],
    ["*/0 * * * *", "0"],
    ["0 0 30 2 *", "never comes"],
    ["0 0 31 4,6,9,11 *", "never comes"],
  ])("%j is refused and named", (cron, problem) => {
    const error = expect.objectContaining({
      type: "INVALID_ARGUMENT",
      message: expect.stringMatching(new RegExp(`^Schedule\\.Cron: .*${problem}`)),
    });
    expect(() => timeAfter({ cron, timeZone: "UTC" }, noon)).toThrow(error as unknown as Error);
  });

  test("may have 256 characters", () => {
    const cron = (minutes: number) => `${"1,".repeat(minutes)}10 * * * *`;
    expect(() => timeAfter({ cron: cron(123), timeZone: "UTC" }, noon)).not.toThrow();
    expect(() => timeAfter({ cron: cron(124), timeZone: "UTC" }, noon)).toThrow(/^Schedule\.Cron: .* 256 characters$/);
  });

  test.each(["Mars/Phobos", "+02:00", "GMT+2", "Local", "Europe/Berlin ", "x".repeat(100)])(
    "the time zone %j is refused and named",
    (timeZone) => {
      expect(() => timeAfter({ cron: "* * * * *", timeZone }, noon)).toThrow(
        /^Schedule\.TimeZone: ".{1,64}" is no name of the IANA time zone database$/,
      );
    },
  );
});

describe("where clocks change in Europe/Berlin", () => {
  const beforeSpring = "2026-03-28T12:00:00Z";
  const beforeAutumn = "2026-10-24T12:00:00Z";

  test("a daily time that does not exist comes right after the gap, once", () => {
    expect(times("30 2 * * *", "Europe/Berlin", beforeSpring, 2)).toEqual([
      "2026-03-29T01:00:00.000Z",
      "2026-03-30T00:30:00.000Z",
    ]);
    expect(times("0,30 2 * * *", "Europe/Berlin", beforeSpring, 2)).toEqual([
      "2026-03-29T01:00:00.000Z",
      "2026-03-30T00:00:00.000Z",
    ]);
  });

  test("a daily time that exists twice comes the first time only", () => {
    expect(times("30 2 * * *", "Europe/Berlin", beforeAutumn, 2)).toEqual([
      "2026-10-25T00:30:00.000Z",
      "2026-10-26T01:30:00.000Z",
    ]);
  });

  test("what comes every so many minutes goes on evenly through both", () => {
    expect(times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3)).toEqual([
      "2026-03-29T00:30:00.000Z",
      "2026-03-29T01:00:00.000Z",
      "2026-03-29T01:30:00.000Z",
    ]);
    expect(times("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:15:00Z", 4)).toEqual([
      "2026-10-25T00:30:00.000Z",
      "2026-10-25T01:00:00.000Z",
      "2026-10-25T01:30:00.000Z",
      "2026-10-25T02:00:00.000Z",
    ]);
  });
});

describe("what is due", () => {
  test("nothing before the next time", () => {
    expect(due({}, after(-1))).toEqual({ times: [], nextAt: "2026-05-01T12:00:00.000Z" });
  });

  test("the time itself, at that moment", () => {
    expect(due({}, noon)).toEqual({ times: ["2026-05-01T12:00:00.000Z"], nextAt: "2026-05-01T12:01:00.000Z" });
  });

  test.each<Missed>(["SKIP", "LAST", "ALL"])("a time that is a minute late is not missed: %s makes it", (missed) => {
    expect(due({ missed }, after(MINUTE))).toEqual({
      times: ["2026-05-01T12:00:00.000Z", "2026-05-01T12:01:00.000Z"],
      nextAt: "2026-05-01T12:02:00.000Z",
    });
  });

  const tenMinutesLater = after(10 * MINUTE + 30 * SECOND);

  test("SKIP leaves out the missed ones", () => {
    expect(due({ missed: "SKIP" }, tenMinutesLater)).toEqual({
      times: ["2026-05-01T12:10:00.000Z"],
      nextAt: "2026-05-01T12:11:00.000Z",
    });
  });

  test("LAST makes one for the latest of the missed ones", () => {
    expect(due({ missed: "LAST" }, tenMinutesLater)).toEqual({
      times: ["2026-05-01T12:09:00.000Z", "2026-05-01T12:10:00.000Z"],
      nextAt: "2026-05-01T12:11:00.000Z",
    });
  });

  test("ALL makes one for each, oldest first", () => {
    const { times, nextAt } = due({ missed: "ALL" }, tenMinutesLater);
    expect(times).toHaveLength(11);
    expect(times).toEqual([...times].sort());
    expect(times[0]).toBe("2026-05-01T12:00:00.000Z");
    expect(nextAt).toBe("2026-05-01T12:11:00.000Z");
  });

  test("ALL makes the last 1,000 of the missed ones at most", () => {
    const now = after(30 * 24 * 60 * MINUTE + 1);
    const { times, nextAt } = dueTimes(schedule({ missed: "ALL" }), now);
    expect(times).toHaveLength(MAX_MISSED + 1);
    expect(times.at(-1)).toEqual(new Date(now.getTime() - 1));
    expect(times[0]).toEqual(new Date(now.getTime() - 1 - MAX_MISSED * MINUTE));
    expect(nextAt).toEqual(new Date(now.getTime() - 1 + MINUTE));
  });

  test.each<[Missed, string[]]>([
    ["SKIP", []],
    ["LAST", ["2026-05-01T12:00:40.000Z"]],
    ["ALL", ["2026-05-01T12:00:00.000Z", "2026-05-01T12:00:20.000Z", "2026-05-01T12:00:40.000Z"]],
  ])("what passed while it was paused is missed, however short that was: %s", (missed, expected) => {
    const cron = "*/20 * * * * *";
    const resumed = after(45 * SECOND);
    expect(due({ cron, missed, since: resumed }, resumed)).toEqual({
      times: expected,
      nextAt: "2026-05-01T12:01:00.000Z",
    });
  });

  test("looked at at any moments, with ALL, each time is due once and none is left out", () => {
    const crons = fc.constantFrom("*/7 * * * *", "30 2,14 * * *", "15 1-3 * * *", "0 */5 * * SUN", "0 0 3 L * *");
    const zones = fc.constantFrom(
      "UTC",
      "Europe/Berlin",
      "Australia/Lord_Howe",
      "America/St_Johns",
      "America/Santiago",
    );
    const days = fc.integer({ min: 0, max: 364 });
    const gaps = fc.array(fc.integer({ min: 1, max: 300 * MINUTE }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(crons, zones, days, gaps, (cron, timeZone, day, gaps) => {
        const begin = new Date(at("2026-01-01T00:00:00Z").getTime() + day * 24 * 60 * MINUTE);
        const first = timeAfter({ cron, timeZone }, begin);
        const made: Date[] = [];
        let nextAt = first;
        let now = begin;
        for (const gap of gaps) {
          now = new Date(now.getTime() + gap);
          const found = dueTimes(schedule({ cron, timeZone, missed: "ALL", nextAt, since: begin }), now);
          made.push(...found.times);
          nextAt = found.nextAt;
        }
        const expected: Date[] = [];
        let time = first;
        for (; time <= now; time = timeAfter({ cron, timeZone }, time)) expected.push(time);
        expect(made).toEqual(expected);
        expect(nextAt).toEqual(time);
      }),
      { numRuns: 50 },
    );
  });
});

describe("a schedule that is put", () => {
  const timing: Timing = { cron: "0 * * * *", timeZone: "UTC", missed: "ALL", paused: false };
  const now = at("2026-05-01T12:30:00Z");
  const nextAt = at("2026-05-01T12:00:00Z");
  const since = at("2026-05-01T11:00:00Z");

  test("begins with the next time from now", () => {
    expect(revise(null, timing, now)).toEqual({ nextAt: at("2026-05-01T13:00:00Z"), since: now });
  });

  test("keeps what is due where its times are the same", () => {
    expect(revise({ ...timing, nextAt, since }, { ...timing, missed: "SKIP" }, now)).toEqual({ nextAt, since });
  });

  test("begins anew where its times are others", () => {
    const before = { ...timing, nextAt, since };
    expect(revise(before, { ...timing, cron: "30 * * * *" }, now).nextAt).toEqual(at("2026-05-01T13:30:00Z"));
    expect(revise(before, { ...timing, timeZone: "Asia/Kolkata" }, now).nextAt).toEqual(at("2026-05-01T13:30:00Z"));
  });

  test("has missed what passed until it is resumed, and not what passed until it was paused", () => {
    const paused = { ...timing, paused: true };
    expect(revise({ ...paused, nextAt, since }, timing, now)).toEqual({ nextAt, since: now });
    expect(revise({ ...timing, nextAt, since }, paused, now)).toEqual({ nextAt, since });
  });
});

test("a name is 1 to 64 of [0-9A-Za-z._-]", () => {
  for (const name of ["a", "nightly.report_2-x", "x".repeat(64)]) expect(() => checkName("Name", name)).not.toThrow();
  for (const name of ["", "x".repeat(65), "a b", "a/b", "ä"]) expect(() => checkName("Name", name)).toThrow(/^Name: /);
});

test("the task of a time has the schedule's name and the time in its HashCode", () => {
  expect(hashOf("nightly", noon)).toBe("schedule.nightly.1777636800");
});
