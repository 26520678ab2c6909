/** How much of tasks goes into memory and into one message: each may carry 1 MiB of texts. */
import type { Task } from "./task.ts";

/** Tasks travel between nodes in one message, of which NATS allows 1 MB. */
export const MAX_ANSWER_BYTES = 900_000;
const OTHER_FIELDS_BYTES = 1_000;

/** Reads tasks until they are `maxBytes`, at least one. */
export async function takeWithin(tasks: AsyncIterable<Task>, maxBytes: number): Promise<Task[]> {
  const taken: Task[] = [];
  let bytes = 0;
  for await (const task of tasks) {
    bytes += sizeOf(task);
    if (taken.length > 0 && bytes > maxBytes) break;
    taken.push(task);
  }
  return taken;
}

/** The first tasks, at least one, that fit into one answer. */
export function withinAnswer(tasks: Task[]): Task[] {
  let bytes = 0;
  const end = tasks.findIndex((task, index) => (bytes += sizeOf(task)) > MAX_ANSWER_BYTES && index > 0);
  return end < 0 ? tasks : tasks.slice(0, end);
}

/** Bytes in memory and in a message, about. */
export function sizeOf({ input, output }: Task): number {
  return OTHER_FIELDS_BYTES + Buffer.byteLength(input) + Buffer.byteLength(output);
}
