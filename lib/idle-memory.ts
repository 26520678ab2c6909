/**
 * Gives memory back after a burst: V8 keeps what its heap has grown to for long, also where nothing is left in it. To collect
 * all and free what is kept takes some 70 ms, so it is done when a node has nothing to do, and where it is worth it.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const LOOK_MS = 1_000;
/** The process used less than this part of a processor, so many looks in a row. Its own time: others may be busy. */
const IDLE = 0.05;
const IDLE_LOOKS = 3;
/** The heap has grown by so much since it was collected last. */
const WORTH_BYTES = 64 * 1024 * 1024;

type Collect = (options: { execution: "sync"; type: "major"; flavor: "last-resort" }) => void;

/** For the main thread of a process, for as long as it runs. The first time it collects what the start has left. */
export function releaseMemoryWhenIdle(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as Collect;
  let before = process.cpuUsage();
  let looks = 0;
  let collected = -Infinity;
  setInterval(() => {
    const { user, system } = process.cpuUsage(before);
    before = process.cpuUsage();
    looks = user + system < IDLE * LOOK_MS * 1_000 ? looks + 1 : 0;
    if (looks < IDLE_LOOKS || process.memoryUsage().heapTotal < collected + WORTH_BYTES) return;
    collect({ execution: "sync", type: "major", flavor: "last-resort" });
    collected = process.memoryUsage().heapTotal;
  }, LOOK_MS).unref();
}
