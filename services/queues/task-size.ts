/** How much of tasks goes into memory and into one message: each may carry 1 MiB of texts. */
import type { Task } from "./task.ts";

/** Tasks travel between nodes in one message; over a megabyte NATS needs several. */
export const MAX_ANSWER_BYTES = 900_000;
/** Names and all that has a fixed form. */
const OTHER_FIELDS_BYTES = 500;

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
export function sizeOf({ input = "", output, channel, hash, tags, retryPolicy }: Task): number {
  // A UTF-16 unit is at most 3 bytes of UTF-8.
  let bytes =
    OTHER_FIELDS_BYTES + Buffer.byteLength(input) + Buffer.byteLength(output) + 3 * channel.length + hash.length;
  for (const name in tags) bytes += name.length + 3 * (tags[name]?.length ?? 0) + 10;
  if (retryPolicy) bytes += 100 + 10 * (retryPolicy.delaysMs?.length ?? 0);
  return bytes;
}
