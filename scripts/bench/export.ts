/**
 * Exports: the writers against those of others, what memory they take, how much of a slow source's speed is kept, and what a node
 * feels of its exports. `npm run bench -- export [PART …]`; without a part all of them. Linux only: what processes cost is read
 * from /proc.
 */
import { measureMemory } from "./export/memory.ts";
import { measureNode } from "./export/node.ts";
import { measureSource } from "./export/source.ts";
import { measureWriters } from "./export/writers.ts";
import { runParts } from "./parts.ts";

const parts = { writers: measureWriters, memory: measureMemory, source: measureSource, node: measureNode };

export function run(names: string[]): Promise<void> {
  return runParts({ bench: "export", start: () => Promise.resolve(undefined), parts }, names);
}
