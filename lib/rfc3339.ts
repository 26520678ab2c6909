const RFC3339 = /^(\d{4}-\d\d-\d\d)[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/;

/** The time that RFC 3339 text says, with an offset or Z; undefined where it is none, as the 31st of February. */
export function parseTime(text: string): Date | undefined {
  const [, day] = RFC3339.exec(text) ?? [];
  const time = new Date(day ? text : NaN);
  if (Number.isNaN(time.getTime())) return undefined;
  // Date takes days that a month does not have for days of the next one.
  return new Date(`${day}T00:00:00Z`).toISOString().startsWith(day!) ? time : undefined;
}
