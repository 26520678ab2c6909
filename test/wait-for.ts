import { setTimeout as sleep } from "node:timers/promises";

/** Resolves with what `look` finds once it finds something; rejects when it has not within `timeout` ms. */
export async function waitFor<T>(look: () => T | Promise<T>, timeout = 15_000): Promise<NonNullable<T>> {
  const end = performance.now() + timeout;
  for (;;) {
    const found = await look();
    if (found) return found as NonNullable<T>;
    if (performance.now() > end) throw new Error(`not within ${timeout} ms: ${look}`);
    await sleep(10);
  }
}
