/** Enqueue, drain and end to end of all systems in turn, for the machine is not equally quick all the time. */
import type { Contestant } from "./phases.ts";
import { TASKS, withContestant } from "./phases.ts";
import type { Peer } from "./peer.ts";
import { median } from "./statistics.ts";
import { longshoreName, type Mode, type Systems } from "./systems.ts";
import { printTable, shown } from "./table.ts";
import type { Figure } from "./verdict.ts";

const ROUNDS = 3;
const MODES: Mode[] = ["unary", "stream", "batch"];

interface Sample {
  /** Tasks a second; enqueue and drain only where that was measured too. */
  enqueue?: number;
  drain?: number;
  endToEnd: number;
  /** Milliseconds of CPU a 1,000 tasks, by process, end to end. */
  cpu: Record<string, number>;
}

/** Measures and prints the modes that are named; with `mongodb` all of them, on both stores. */
export async function measureRates(systems: Systems, parts: Set<string>): Promise<Figure[]> {
  const peers = await peersOf(systems, parts);
  const samples = new Map(peers.map(({ name }): [string, Sample[]] => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const peer of peers) {
      const whole = round === 0 || !onMongodb(peer);
      const sample = await withContestant(peer, 1, (contestant) => sampleOf(contestant, whole));
      samples.get(peer.name)!.push(sample);
      console.error(`round ${round + 1}, ${peer.name}: ${shown(sample.endToEnd)}/s`);
    }
  }
  const rows: string[][] = [];
  for (const peer of peers) {
    const taken = samples.get(peer.name)!;
    const withTwo = onMongodb(peer) ? [] : [await withContestant(peer, 2, (contestant) => contestant.endToEnd())];
    const rates = (["enqueue", "drain", "endToEnd"] as const).map((phase) =>
      median(taken.flatMap((each) => each[phase] ?? [])),
    );
    rows.push([peer.name, ...rates.map(shown), withTwo.map(shown).join(), cpuText(taken)]);
  }
  printTable(`${TASKS.toLocaleString("en")} tasks a phase, medians of ${ROUNDS} rounds; two workers: once`, [
    ["tasks/s", "enqueue", "drain", "end to end", "2 workers", "CPU ms a 1,000 tasks, end to end"],
    ...rows,
  ]);
  return figuresOf(samples);
}

async function peersOf(systems: Systems, parts: Set<string>): Promise<Peer[]> {
  const peers: Promise<Peer>[] = [];
  if (parts.has("unary")) peers.push(systems.ceiling());
  if (parts.has("unary") || parts.has("stream")) peers.push(systems.bullmq("single"));
  if (parts.has("batch")) peers.push(systems.bullmq("bulk"));
  for (const mode of MODES) {
    if (parts.has(mode) || parts.has("mongodb")) peers.push(systems.longshore("embedded", mode));
  }
  if (parts.has("mongodb")) peers.push(...MODES.map((mode) => systems.longshore("MongoDB", mode)));
  return Promise.all(peers);
}

/** There phases take long: what no gate is about is measured once, or not at all. */
function onMongodb(peer: Peer): boolean {
  return peer.processes.mongod !== undefined;
}

async function sampleOf(contestant: Contestant, whole: boolean): Promise<Sample> {
  const alone = whole ? { enqueue: await contestant.enqueue(), drain: await contestant.drain() } : {};
  const before = await contestant.cpu();
  const endToEnd = await contestant.endToEnd();
  const after = await contestant.cpu();
  const cpu = Object.entries(after).map(([name, ms]) => [name, ((ms - before[name]!) * 1_000) / TASKS]);
  return { ...alone, endToEnd, cpu: Object.fromEntries(cpu) as Record<string, number> };
}

function cpuText(samples: Sample[]): string {
  const names = Object.keys(samples[0]!.cpu);
  const parts = names.map((name) => Math.round(median(samples.map(({ cpu }) => cpu[name]!))));
  const sum = parts.reduce((total, ms) => total + ms, 0);
  return `${sum}: ${names.map((name, index) => `${name} ${parts[index]}`).join(", ")}`;
}

/** The ratios that the gates are about: of rounds, each to its neighbour in time, and the median of those. */
function figuresOf(samples: Map<string, Sample[]>): Figure[] {
  const figures: Figure[] = [];
  const compare = (measure: string, one: string, other: string, atLeast: number) => {
    const [ones, others] = [samples.get(one), samples.get(other)];
    if (!ones || !others) return;
    const ratios = ones.map(({ endToEnd }, round) => endToEnd / others[round]!.endToEnd);
    figures.push({ measure: `end to end, ${measure}`, value: median(ratios), gate: { atLeast } });
  };
  const [unary, stream, batch] = MODES.map((mode) => longshoreName("embedded", mode)) as [string, string, string];
  compare("unary / ceiling", unary, "ceiling", 0.85);
  compare("unary / BullMQ one by one", unary, "BullMQ one by one", 0.5);
  compare("stream / BullMQ one by one", stream, "BullMQ one by one", 0.8);
  compare("batch / BullMQ addBulk", batch, "BullMQ addBulk", 2);
  for (const mode of MODES) {
    compare(`${mode}, MongoDB / embedded`, longshoreName("MongoDB", mode), longshoreName("embedded", mode), 0.5);
  }
  return figures;
}
