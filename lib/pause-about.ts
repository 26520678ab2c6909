import { setTimeout as sleep } from "node:timers/promises";

/**
 * Waits about so long, or until the signal aborts; nothing is kept alive for it. Between rounds of what every node does by itself:
 * the nodes of a cluster are not to do it all at once.
 */
export async function pauseAbout(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms * (0.75 + Math.random() / 2), undefined, { signal, ref: false }).catch(() => undefined);
}
