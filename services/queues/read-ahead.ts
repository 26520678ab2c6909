/**
 * Ready tasks that were read beyond what a claim wanted, so that the next claims of their channel need not read. Claims make
 * sure of each task anyway: what is here may be out of date, never wrong. How much is read ahead follows from how much of it
 * was wanted before it grew old.
 */
import { sizeOf } from "./task-size.ts";
import type { Task } from "./task.ts";

interface Ahead {
  tasks: Task[];
  /** What the tasks weigh that are left. */
  bytes: number;
  /** How many were read, those included that the reader took at once. */
  size: number;
  /** On the clock of `performance`; from then on it is not used any more. */
  goodUntil: number;
}

/** How long a task that comes back to its channel may have to wait for those that were read before it. */
const GOOD_MS = 1_000;
const MAX_SIZE = 128;
const MAX_CHANNELS = 1_000;
const MAX_BYTES = 32 * 1024 * 1024;

export class ReadAhead {
  readonly #channels = new Map<string, Ahead>();
  #bytes = 0;

  /** The next tasks of the channel, as many as are wanted; undefined where they must be read. */
  take(channel: string, wanted: number): Task[] | undefined {
    const ahead = this.#channels.get(channel);
    if (!ahead || ahead.tasks.length < wanted || ahead.goodUntil < performance.now()) return undefined;
    const taken = ahead.tasks.splice(0, wanted);
    const bytes = weigh(taken);
    ahead.bytes -= bytes;
    this.#bytes -= bytes;
    return taken;
  }

  /** How many tasks to read for a claim that wants so many. */
  size(channel: string, wanted: number): number {
    const ahead = this.#channels.get(channel);
    if (!ahead) return wanted;
    const used = ahead.goodUntil >= performance.now() ? ahead.size - ahead.tasks.length : 0;
    return Math.max(wanted, Math.min(MAX_SIZE, used * 2));
  }

  /** Keeps what was read beyond what was wanted. */
  keep(channel: string, tasks: Task[], size: number): void {
    this.forget(channel);
    const bytes = weigh(tasks);
    const now = performance.now();
    if (this.#bytes + bytes > MAX_BYTES || this.#channels.size >= MAX_CHANNELS) this.#forgetOld(now);
    if (this.#bytes + bytes > MAX_BYTES || this.#channels.size >= MAX_CHANNELS) return;
    this.#bytes += bytes;
    this.#channels.set(channel, { tasks, bytes, size, goodUntil: now + GOOD_MS });
  }

  /** Its order has changed, or another node takes from it too. */
  forget(channel: string): void {
    this.#bytes -= this.#channels.get(channel)?.bytes ?? 0;
    this.#channels.delete(channel);
  }

  #forgetOld(now: number): void {
    for (const [channel, { goodUntil }] of this.#channels) if (goodUntil < now) this.forget(channel);
  }
}

function weigh(tasks: Task[]): number {
  return tasks.reduce((sum, task) => sum + sizeOf(task), 0);
}
