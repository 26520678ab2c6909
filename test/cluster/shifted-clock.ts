/** Imported before a program: sets its wall clock off by as many milliseconds as the URL's `ms` says. */
const ms = Number(new URL(import.meta.url).searchParams.get("ms"));
const RightDate = Date;

globalThis.Date = class extends RightDate {
  constructor(...args: [] | [number | string | Date]) {
    super(...((args.length === 0 ? [RightDate.now() + ms] : args) as [number]));
  }

  static override now(): number {
    return RightDate.now() + ms;
  }
} as DateConstructor;
