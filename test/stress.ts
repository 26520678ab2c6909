/** How much the stress tests do: a part that shows a regression soon, or with LONGSHORE_STRESS=full all of it. */
export function amount(part: number, full: number): number {
  return process.env.LONGSHORE_STRESS === "full" ? full : part;
}

/** Time for what takes longer in full, in milliseconds. */
export const STRESS_TIMEOUT_MS = amount(90_000, 600_000);
