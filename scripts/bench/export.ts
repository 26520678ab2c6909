/**
 * Exports: the writers against those of others, what memory they take, how much of a slow source's speed is kept, and what a node
 * feels of its exports. `npm run bench -- export [PART …]`; without a part all of them. Linux only: what processes cost is read
 * from /proc.
 */
import { Run } from "../servers/run.ts";
import { measureMemory } from "./export/memory.ts";
import { measureNode } from "./export/node.ts";
import { measureSource } from "./export/source.ts";
import { measureWriters } from "./export/writers.ts";
import { MissingProgram } from "./queue/missing-program.ts";
import { printVerdict, type Figure } from "./queue/verdict.ts";

type Measure = (run: Run) => Promise<Figure[]>;

const PARTS: Record<string, Measure> = {
  writers: measureWriters,
  memory: measureMemory,
  source: measureSource,
  node: measureNode,
};

/** Measures the parts that are named, or all; prints what was measured and what was to be reached. */
export async function run(names: string[]): Promise<void> {
  const unknown = names.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined) {
    console.error(`export has no part ${unknown}, but ${Object.keys(PARTS).join(", ")}`);
    process.exitCode = 1;
    return;
  }
  const processes = new Run();
  try {
    const figures: Figure[] = [];
    for (const [name, measure] of Object.entries(PARTS)) {
      if (names.length === 0 || names.includes(name)) figures.push(...(await measure(processes)));
    }
    printVerdict(figures);
  } catch (error) {
    if (!(error instanceof MissingProgram)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    await processes.stop();
  }
}
