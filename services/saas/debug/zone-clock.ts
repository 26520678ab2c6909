/** Unix seconds and the calendar of one time zone. */

export interface LocalTime {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

const EARLIEST = Date.UTC(1000, 0, 1) / 1_000;
const LATEST = Date.UTC(9999, 11, 31) / 1_000;
const DAY = 86_400;

export type TimeUnit = "month" | "day" | "hour" | "minute";

export const TIME_UNITS: readonly TimeUnit[] = ["month", "day", "hour", "minute"];

/** Whether it is a time of the years 1000 to 9999, which are those that can be reckoned with. */
export function isInRange(time: number): boolean {
  return time >= EARLIEST && time <= LATEST;
}

export class ZoneClock {
  readonly #format: Intl.DateTimeFormat;

  /** RangeError where there is no such time zone. */
  constructor(timeZone: string) {
    this.#format = new Intl.DateTimeFormat("en-US", {
      timeZone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
  }

  local(time: number): LocalTime {
    const numbers = this.#format.format(time * 1_000).match(/\d+/g)!;
    const [month, day, year, hour, minute, second] = numbers.map(Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    return { year, month, day, hour, minute, second };
  }

  /** Sunday is 0. */
  weekday(time: number): number {
    return new Date(reckon(this.local(time)) * 1_000).getUTCDay();
  }

  /**
   * Fields over their bounds go on in the next larger one, as in `os.time`: the 31st of February is in March. Of a local time that
   * comes twice it is the first, and one that the clocks skip is as much later.
   */
  at(local: LocalTime): number {
    const wanted = reckon(local);
    if (!isInRange(wanted)) return NaN;
    const before = this.#offset(wanted - DAY);
    const after = this.#offset(wanted + DAY);
    const [first, second] = before > after ? [before, after] : [after, before];
    if (this.#offset(wanted - first) === first) return wanted - first;
    if (this.#offset(wanted - second) === second) return wanted - second;
    return wanted - before;
  }

  truncate(time: number, unit: TimeUnit): number {
    const local = this.local(time);
    switch (unit) {
      case "minute":
        return this.#begin(time - local.second, { ...local, second: 0 });
      case "hour":
        return this.#begin(time - local.minute * 60 - local.second, { ...local, minute: 0, second: 0 });
      case "day":
        return this.at({ ...local, hour: 0, minute: 0, second: 0 });
      case "month":
        return this.at({ ...local, day: 1, hour: 0, minute: 0, second: 0 });
    }
  }

  /** The local time of day stays. */
  addDate(time: number, years: number, months: number, days: number): number {
    const local = this.local(time);
    return this.at({ ...local, year: local.year + years, month: local.month + months, day: local.day + days });
  }

  /** Of an hour that comes twice each has its own begin; one that the clocks were changed in has what it began with. */
  #begin(time: number, local: LocalTime): number {
    const { minute, second } = this.local(time);
    return minute === local.minute && second === local.second ? time : this.at(local);
  }

  /** Seconds that the zone is ahead of UTC then. */
  #offset(time: number): number {
    return reckon(this.local(time)) - time;
  }
}

/** The Unix seconds of these fields in UTC. */
function reckon({ year, month, day, hour, minute, second }: LocalTime): number {
  return new Date(0).setUTCFullYear(year, month - 1, day) / 1_000 + hour * 3_600 + minute * 60 + second;
}
