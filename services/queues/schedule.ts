/** When a schedule is due: its cron expression, and what becomes of the times that were missed. */
import { Cron } from "croner";
import { invalidArgument } from "../../lib/errors.ts";

/** What is made of missed times: nothing, one task for the last of them, or one for each. */
export type Missed = "SKIP" | "LAST" | "ALL";

/** When tasks are made. */
export interface Timing {
  /** Five fields, or six with the seconds before them. */
  cron: string;
  /** A name of the IANA time zone database. */
  timeZone: string;
  missed: Missed;
  paused: boolean;
}

/** How far a schedule has come. */
export interface Progress {
  /** The first time that nobody has seen to yet. */
  nextAt: Date;
  /** Times before it passed while the schedule was paused. */
  since: Date;
}

export interface Due {
  /** One task is to be made for each, in this order. */
  times: Date[];
  /** The first time that is yet to come. */
  nextAt: Date;
}

/** A time that nobody has seen to for so long is missed; until then it is late. */
export const MISSED_AFTER_MS = 60_000;
/** Of the missed times, the last so many count. */
export const MAX_MISSED = 1_000;

const NAME = /^[0-9A-Za-z._-]{1,64}$/;
const MAX_CRON = 256;
// Neither the times in ISO 8601 nor the nicknames that the parser would take.
const CRON_FIELD = /^[0-9A-Za-z*?,/#+-]+$/;

/** Throws where a schedule's name is not one. */
export function checkName(field: string, name: string): void {
  if (!NAME.test(name)) throw invalidArgument(field, "must be 1 to 64 of [0-9A-Za-z._-]");
}

/** The HashCode of the task of that time: a time has one task, whoever makes it. */
export function hashOf(name: string, time: Date): string {
  return `schedule.${name}.${time.getTime() / 1_000}`;
}

/** The first time after that moment; throws what is wrong with the expression or the time zone. */
export function timeAfter({ cron, timeZone }: Pick<Timing, "cron" | "timeZone">, moment: Date): Date {
  return nextOf(parse(cron, timeZone), moment);
}

/**
 * How far a schedule has come that is put in the place of another: the times of the same expression that nobody has seen to
 * yet stay due, a new expression begins now.
 */
export function revise(before: (Timing & Progress) | null, timing: Timing, now: Date): Progress {
  const nextAt = timeAfter(timing, now);
  if (before?.cron !== timing.cron || before.timeZone !== timing.timeZone) return { nextAt, since: now };
  const resumed = before.paused && !timing.paused;
  return { nextAt: before.nextAt, since: resumed ? now : before.since };
}

/** What is due of a schedule; throws where its expression or its time zone is not known any more. */
export function dueTimes({ cron, timeZone, missed, nextAt, since }: Timing & Progress, now: Date): Due {
  const pattern = parse(cron, timeZone);
  const onTimeFrom = new Date(Math.max(now.getTime() - MISSED_AFTER_MS, since.getTime()));
  const times: Date[] = [];
  let next = nextAt;
  if (next < onTimeFrom) {
    times.push(...lastBefore(pattern, onTimeFrom, nextAt, missed));
    next = nextOf(pattern, new Date(onTimeFrom.getTime() - 1));
  }
  for (; next <= now; next = nextOf(pattern, next)) times.push(next);
  return { times, nextAt: next };
}

/** Those of the times from `first` to before that moment that the policy keeps, oldest first. */
function lastBefore(pattern: Cron, moment: Date, first: Date, missed: Missed): Date[] {
  const count = { SKIP: 0, LAST: 1, ALL: MAX_MISSED }[missed];
  const times: Date[] = [];
  let before = moment;
  while (times.length < count) {
    const [time] = pattern.previousRuns(1, before);
    if (!time || time < first) break;
    times.push(time);
    before = time;
  }
  return times.reverse();
}

function nextOf(pattern: Cron, moment: Date): Date {
  const next = pattern.nextRun(moment);
  if (!next) throw invalidArgument("Schedule.Cron", "never comes: there is no such day");
  return next;
}

function parse(cron: string, timeZone: string): Cron {
  checkTimeZone(timeZone);
  const fields = cron.trim().split(/\s+/);
  const plausible = fields.length >= 5 && fields.length <= 6 && fields.every((field) => CRON_FIELD.test(field));
  if (!plausible || cron.length > MAX_CRON) {
    throw invalidArgument(
      "Schedule.Cron",
      `must be minute, hour, day of month, month and day of week, with or without seconds before them, in at most ${MAX_CRON} characters`,
    );
  }
  try {
    // Without a function it is a pattern only, and starts no timer. Daily times with lists and ranges are kept when clocks change.
    return new Cron(cron, { mode: "5-or-6-parts", timezone: timeZone, fixedTimeRule: "no-wildcard" });
  } catch (error) {
    throw invalidArgument("Schedule.Cron", (error as Error).message.replace(/^CronPattern: /, ""));
  }
}

function checkTimeZone(timeZone: string): void {
  try {
    // Offsets, which it knows too, begin with a sign.
    if (/^[A-Za-z]/.test(timeZone) && new Intl.DateTimeFormat("en", { timeZone })) return;
  } catch {
    // Refused below.
  }
  const shown = JSON.stringify(timeZone.slice(0, 64));
  throw invalidArgument("Schedule.TimeZone", `${shown} is no name of the IANA time zone database`);
}
