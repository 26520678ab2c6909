/**
 * The queue against BullMQ and against the contract's ceiling, in one run: producers, servers and workers in processes of their
 * own, every system with its durable settings. `npm run bench -- queue [PART …]`; without a part all of them. Linux only: what
 * processes cost is read from /proc.
 */
import { Run } from "../servers/run.ts";
import { measureBacklog } from "./queue/backlog.ts";
import { measureLatency } from "./queue/latency.ts";
import { MissingProgram } from "./queue/missing-program.ts";
import { measurePoison } from "./queue/poison.ts";
import { measureRates } from "./queue/rates.ts";
import { measureReceivers } from "./queue/receivers.ts";
import { Systems } from "./queue/systems.ts";
import { printVerdict, type Figure } from "./queue/verdict.ts";

/** By its name, what measures a part; parts that one function measures are measured together. */
const PARTS = {
  unary: measureRates,
  stream: measureRates,
  batch: measureRates,
  /** With others of the parts, these on MongoDB too. */
  mongodb: measureRates,
  latency: measureLatency,
  backlog: measureBacklog,
  memory: measureBacklog,
  receivers: measureReceivers,
  poison: measurePoison,
};

/** Measures the parts that are named, and prints what was measured and what was to be reached. */
export async function run(names: string[]): Promise<void> {
  const unknown = names.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined) {
    console.error(`queue has no part ${unknown}, but ${Object.keys(PARTS).join(", ")}`);
    process.exitCode = 1;
    return;
  }
  const parts = new Set((names.length > 0 ? names : Object.keys(PARTS)) as (keyof typeof PARTS)[]);
  const servers = new Run();
  const systems = new Systems(servers);
  try {
    await systems.prepare(parts);
    const figures: Figure[] = [];
    for (const measure of new Set([...parts].map((part) => PARTS[part]))) {
      figures.push(...(await measure(systems, parts)));
    }
    printVerdict(figures);
  } catch (error) {
    if (!(error instanceof MissingProgram)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    await systems.stop();
    await servers.stop();
  }
}
