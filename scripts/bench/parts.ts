/** Benches of several parts: `npm run bench -- NAME [PART …]`. */
import { Run } from "../servers/run.ts";
import { MissingProgram } from "./queue/missing-program.ts";
import { printVerdict, type Figure } from "./queue/verdict.ts";

/** What starts what all parts need, and measures one of them with that. */
export interface Parts<Needs> {
  bench: string;
  start: (processes: Run) => Promise<Needs>;
  parts: Record<string, (processes: Run, needs: Needs) => Promise<Figure[]>>;
}

/** Measures the parts that are named, or all; prints what was measured and what was to be reached. */
export async function runParts<Needs>({ bench, start, parts }: Parts<Needs>, names: string[]): Promise<void> {
  const unknown = names.find((name) => !Object.hasOwn(parts, name));
  if (unknown !== undefined) {
    console.error(`${bench} has no part ${unknown}, but ${Object.keys(parts).join(", ")}`);
    process.exitCode = 1;
    return;
  }
  const processes = new Run();
  try {
    const needs = await start(processes);
    const figures: Figure[] = [];
    for (const [name, measure] of Object.entries(parts)) {
      if (names.length === 0 || names.includes(name)) figures.push(...(await measure(processes, needs)));
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
