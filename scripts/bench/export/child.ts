/** A measurement in a process of its own, so that none finds the heap, the code and the garbage of another. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { NODE_FLAGS } from "../../node-flags.ts";

/** With the code that is compiled and kept, without the other flags of `npm start`: what strips types takes 17 MB a thread. */
export const CACHE_ONLY = NODE_FLAGS.filter((flag) => !flag.startsWith("--max-semi-space-size"));

/** What a piece of work took in its process, without the start of that. */
export interface Sample {
  seconds: number;
  cpuSeconds: number;
}

/** The bench's side: starts a script of this folder with a task and waits for what it answers. */
export async function inChild<Result>(script: string, task: object, execArgv = CACHE_ONLY): Promise<Result> {
  const child = fork(join(import.meta.dirname, script), [JSON.stringify(task)], { execArgv });
  const ended = once(child, "exit").then(([code, signal]) => {
    throw new Error(`${script} ended with ${signal ?? code} and no answer`);
  });
  const [result] = (await Promise.race([once(child, "message"), ended])) as [Result];
  await ended.catch(() => undefined);
  return result;
}

/** The script's side. It ends with its answer, or with the bench. */
export async function asChild<Task>(work: (task: Task) => Promise<object>): Promise<void> {
  process.on("disconnect", () => process.exit());
  const result = await work(JSON.parse(process.argv[2]!) as Task);
  process.send!(result, () => process.disconnect());
}

export async function sampleOf(work: () => Promise<void>): Promise<Sample> {
  const cpu = process.cpuUsage();
  const began = performance.now();
  await work();
  const seconds = (performance.now() - began) / 1_000;
  const { user, system } = process.cpuUsage(cpu);
  return { seconds, cpuSeconds: (user + system) / 1e6 };
}
