/**
 * Preloaded into a node: how late its main loop is, as the loop itself sees it with a timer of 10 ms. Each question is answered
 * for the time since the one before. Threads preload it, too, and measure nothing.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { isMainThread } from "node:worker_threads";

const EVERY_MS = 10;

/** Milliseconds. */
export interface LoopDelay {
  p50: number;
  p99: number;
  max: number;
}

if (isMainThread) {
  const histogram = monitorEventLoopDelay({ resolution: EVERY_MS });
  histogram.enable();
  // What it tells is the time between two turns of its timer.
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - EVERY_MS);
  process.on("message", () => {
    const delay: LoopDelay = {
      p50: late(histogram.percentile(50)),
      p99: late(histogram.percentile(99)),
      max: late(histogram.max),
    };
    histogram.reset();
    process.send?.(delay);
  });
}
