/**
 * How many tasks a channel has given out lately: in any stretch of its `rateSeconds` no more than its rate, wherever the stretch
 * begins. With no store in it.
 */

/** So many tasks were given out at `at` or shortly before. */
export interface Grant {
  at: Date;
  count: number;
}

/** Grants within a part of the window count as one, made at the last one's time: this bounds how many are kept. */
const SLICES = 20;

/** How many tasks may be given out now, and where that is none, in how many ms it is worth to ask again. */
export function allowance(
  grants: Grant[],
  rate: number,
  windowMs: number,
  now: Date,
): { free: number; retryMs: number } {
  const recent = within(grants, windowMs, now);
  let free = rate - recent.reduce((sum, { count }) => sum + count, 0);
  if (free > 0) return { free, retryMs: 0 };
  // More than one has to go where the rate was lowered meanwhile.
  let retryMs = windowMs;
  for (const { at, count } of recent) {
    retryMs = at.getTime() + windowMs - now.getTime();
    free += count;
    if (free > 0) break;
  }
  return { free: 0, retryMs: Math.max(1, retryMs) };
}

/** The grants after `count` tasks more. */
export function granted(grants: Grant[], count: number, windowMs: number, now: Date): Grant[] {
  const recent = within(grants, windowMs, now);
  if (count === 0) return recent;
  const last = recent.at(-1);
  const slice = ({ at }: Grant) => Math.floor(at.getTime() / (windowMs / SLICES));
  const grant = { at: now, count };
  if (!last || slice(last) !== slice(grant)) return [...recent, grant];
  return [...recent.slice(0, -1), { at: now, count: last.count + count }];
}

/** What lies further ahead than the window is from before the datastore's clock was set back. */
function within(grants: Grant[], windowMs: number, now: Date): Grant[] {
  return grants.filter(({ at }) => Math.abs(now.getTime() - at.getTime()) < windowMs);
}
