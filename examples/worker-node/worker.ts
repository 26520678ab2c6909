/**
 * A worker to begin with. The Input of its tasks is JSON, {"text": "hello", "seconds": 3, "fail": "why"}: it takes that long,
 * then fails, or answers the text in capitals.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Control, Task } from "./longshore-worker.ts";
import { NonRetryableError, Worker } from "./longshore-worker.ts";

const { LONGSHORE_ADDRESS, CHANNEL, CREDITS, LEASE_SECONDS, STOP_SECONDS } = process.env;

interface Order {
  text?: string;
  seconds?: number;
  fail?: string;
}

async function handle(task: Task, { signal, progress, log }: Control): Promise<string> {
  console.log(`task ${task.ID}: begun`);
  const { text = "", seconds = 0, fail } = read(task.Input);
  signal.addEventListener("abort", () => console.log(`task ${task.ID}: stopped: ${(signal.reason as Error).message}`));
  for (let second = 0; second < seconds; second++) {
    await sleep(Math.min(seconds - second, 1) * 1_000, undefined, { signal });
    progress(((second + 1) / seconds) * 100, `${second + 1} of ${seconds} s`);
    log(`second ${second + 1}`);
  }
  if (fail) throw new Error(fail);
  return text.toUpperCase();
}

function read(input: string): Order {
  try {
    return JSON.parse(input) as Order;
  } catch (error) {
    // It will not be better the next time.
    throw new NonRetryableError(`Input: ${(error as Error).message}`);
  }
}

const worker = new Worker({
  address: LONGSHORE_ADDRESS || "127.0.0.1:50051",
  channel: CHANNEL || "demo",
  handler: handle,
  credits: Number(CREDITS || 8),
  leaseSeconds: Number(LEASE_SECONDS || 60),
  stopSeconds: Number(STOP_SECONDS || 20),
});
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => worker.stop());
await worker.run();
// A handler that has not ended by now is not waited for.
process.exit();
