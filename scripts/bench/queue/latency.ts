/** How soon a waiting worker has a task that is created: on an idle queue, under light load and under half of what the system can. */
import type { Contestant } from "./phases.ts";
import { withContestant } from "./phases.ts";
import type { Peer } from "./peer.ts";
import { percentile } from "./statistics.ts";
import { longshoreName, type Mode, type Systems } from "./systems.ts";
import { printTable, shown } from "./table.ts";
import type { Figure } from "./verdict.ts";

const MODES: Mode[] = ["unary", "stream", "batch"];
/** 10 ms between two tasks: the one before is over. */
const IDLE = { perSecond: 100, tasks: 500 };
const LIGHT = { perSecond: 500, tasks: 1_500 };
const HALF_SECONDS = 3;
/** To find what the system can. */
const FULL_TASKS = 10_000;

interface Pickup {
  p50: number;
  p99: number;
}

/** Measures and prints pickup of BullMQ, of the ceiling and of Longshore on its stores. */
export async function measureLatency(systems: Systems, parts: Set<string>): Promise<Figure[]> {
  const peers: Peer[] = [await systems.ceiling(), await systems.bullmq("single")];
  for (const store of ["embedded", "MongoDB"] as const) {
    if (store === "MongoDB" && !parts.has("mongodb")) continue;
    for (const mode of MODES) peers.push(await systems.longshore(store, mode));
  }
  const rows: string[][] = [];
  const idle = new Map<string, Pickup>();
  for (const peer of peers) {
    const [atRest, light, half, perSecond] = await withContestant(peer, 1, pickupsOf);
    idle.set(peer.name, atRest);
    console.error(`latency, ${peer.name}: ${shown(atRest.p50)} / ${shown(atRest.p99)} ms idle`);
    rows.push([
      peer.name,
      ...[atRest, light, half].map(({ p50, p99 }) => `${shown(p50)} / ${shown(p99)}`),
      shown(perSecond),
    ]);
  }
  printTable("Milliseconds from create to receive, p50 / p99", [
    ["", `idle, ${IDLE.perSecond}/s`, `light, ${LIGHT.perSecond}/s`, "half load", "which is, tasks/s"],
    ...rows,
  ]);
  const { p50, p99 } = idle.get(longshoreName("embedded", "unary"))!;
  return [
    { measure: "pickup p50 ms, idle queue", value: p50, gate: { atMost: 3 } },
    { measure: "pickup p99 ms, idle queue", value: p99, gate: { atMost: 15 } },
  ];
}

async function pickupsOf(contestant: Contestant): Promise<[Pickup, Pickup, Pickup, number]> {
  const atRest = pickupOf(await contestant.pickups(IDLE.perSecond, IDLE.tasks));
  const light = pickupOf(await contestant.pickups(LIGHT.perSecond, LIGHT.tasks));
  const perSecond = Math.round((await contestant.endToEnd(FULL_TASKS)) / 2);
  const half = pickupOf(await contestant.pickups(perSecond, perSecond * HALF_SECONDS));
  return [atRest, light, half, perSecond];
}

function pickupOf(milliseconds: Float64Array): Pickup {
  return { p50: percentile(milliseconds, 50), p99: percentile(milliseconds, 99) };
}
