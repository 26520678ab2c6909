import { setTimeout as sleep } from "node:timers/promises";

/** Longer than anything takes on a machine that is busy with other things: only what hangs is waited for as long. */
export const PATIENCE_MS = 60_000;

/** Resolves with what `look` finds once it finds something; rejects when it has not within `timeout` ms. */
export async function waitFor<T>(look: () => T | Promise<T>, timeout = PATIENCE_MS): Promise<NonNullable<T>> {
  const end = performance.now() + timeout;
  for (;;) {
    const found = await look();
    if (found) return found as NonNullable<T>;
    if (performance.now() > end) throw new Error(`not within ${timeout} ms: ${look}`);
    await sleep(10);
  }
}
