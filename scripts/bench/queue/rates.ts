/** Enqueue, drain and end to end of several peers in turn, for the machine is not equally quick all the time. */
import { Contestant, TASKS } from "./phases.ts";
import type { Peer } from "./peer.ts";
import { printTable, shown } from "./table.ts";

const ROUNDS = 3;

/** Tasks a second, medians of the rounds. */
export interface Rates {
  enqueue: number;
  drain: number;
  endToEnd: number;
}

interface Sample extends Rates {
  /** Milliseconds of CPU a 1,000 tasks, by process, end to end. */
  cpu: Record<string, number>;
}

/** Measures and prints; answers the rates by the peer's name. */
export async function measureRates(title: string, peers: Peer[]): Promise<Map<string, Rates>> {
  const contestants = peers.map((peer) => new Contestant(peer, 2));
  const samples = new Map(peers.map(({ name }): [string, Sample[]] => [name, []]));
  const withTwo = new Map<string, number>();
  try {
    for (const contestant of contestants) await contestant.warmUp();
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const contestant of contestants) samples.get(contestant.name)!.push(await sampleOf(contestant));
    }
    for (const contestant of contestants) withTwo.set(contestant.name, await contestant.endToEnd(2));
  } finally {
    await Promise.all(contestants.map((contestant) => contestant.close()));
  }
  const rates = new Map([...samples].map(([name, taken]) => [name, ratesOf(taken)]));
  const header = ["tasks/s", "enqueue", "drain", "end to end", "with 2 workers", "CPU ms a 1,000, end to end"];
  const rows = peers.map(({ name }) => {
    const { enqueue, drain, endToEnd } = rates.get(name)!;
    return [name, ...[enqueue, drain, endToEnd, withTwo.get(name)!].map(shown), cpuText(samples.get(name)!)];
  });
  printTable(`${title}: medians of ${ROUNDS} rounds of ${TASKS.toLocaleString("en")} tasks`, [header, ...rows]);
  return rates;
}

async function sampleOf(contestant: Contestant): Promise<Sample> {
  const enqueue = await contestant.enqueue();
  const drain = await contestant.drain();
  const before = await contestant.cpu();
  const endToEnd = await contestant.endToEnd();
  const after = await contestant.cpu();
  const cpu = Object.entries(after).map(([name, ms]) => [name, ((ms - before[name]!) * 1_000) / TASKS]);
  return { enqueue, drain, endToEnd, cpu: Object.fromEntries(cpu) as Record<string, number> };
}

function ratesOf(samples: Sample[]): Rates {
  const of = (phase: keyof Rates) => median(samples.map((sample) => sample[phase]));
  return { enqueue: of("enqueue"), drain: of("drain"), endToEnd: of("endToEnd") };
}

function cpuText(samples: Sample[]): string {
  const parts = Object.keys(samples[0]!.cpu).map((name): [string, number] => [
    name,
    median(samples.map(({ cpu }) => cpu[name]!)),
  ]);
  const sum = parts.reduce((total, [, ms]) => total + ms, 0);
  return `${shown(sum)} = ${parts.map(([name, ms]) => `${name} ${Math.round(ms)}`).join(" + ")}`;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
