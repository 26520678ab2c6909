/** Reads and writes over HTTP against bare loops on the two stores: SQLite with prepared statements, MongoDB with its driver. */
import type { Run } from "../../servers/run.ts";
import { LongshoreNode } from "../queue/longshore-node.ts";
import { median } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import type { BareStore } from "./bare-stores.ts";
import { READ, withMongo, withSqlite } from "./bare-stores.ts";
import { SaasLoad } from "./saas-load.ts";
import { readOf, someUsers, userOf, writeOf } from "./users.ts";

const WRITE = 1_000;
/** A request while the users are written first. */
const LOADED = 10_000;
const BODIES = 100;
const ROUNDS = 5;
const ROUND_MS = 2_000;
const GATE = 0.5;

export function measureEmbedded(processes: Run): Promise<Figure[]> {
  return withSqlite(processes, async (bare) => {
    const node = await LongshoreNode.start(processes, "", { env: { SAAS_DEMO: "1" } });
    try {
      return await compare(bare, node, 1_000_000);
    } finally {
      await node.stop();
    }
  });
}

export function measureMongo(processes: Run): Promise<Figure[]> {
  return withMongo(processes, async (bare, uri) => {
    const node = await LongshoreNode.start(processes, uri, { env: { SAAS_DEMO: "1" } });
    try {
      return await compare(bare, node, 100_000);
    } finally {
      await node.stop();
    }
  });
}

/** In turn on both, for the machine is not equally quick all the time. */
async function compare(bare: BareStore, node: LongshoreNode, users: number): Promise<Figure[]> {
  const { store } = bare;
  const load = new SaasLoad(node.http);
  for (let from = 0; from < users; from += LOADED) {
    const ids = Array.from({ length: LOADED }, (_, index) => userOf(from + index));
    await bare.write(ids);
    await load.send("/saas/write", writeOf(ids));
  }
  const figures: Figure[] = [];
  for (const [work, size, encode] of [
    ["read", READ, readOf],
    ["write", WRITE, writeOf],
  ] as const) {
    const requests = Array.from({ length: BODIES }, () => someUsers(size, users));
    const bodies = requests.map(encode);
    const rates: Record<"bare" | "Longshore", number[]> = { bare: [], Longshore: [] };
    // The first round is for warming up.
    for (let round = 0; round <= ROUNDS; round += 1) {
      const alone = await during(ROUND_MS, bare[work], requests);
      const served = await load.during(ROUND_MS, `/saas/${work}`, bodies);
      if (round === 0) continue;
      rates.bare.push((alone * size * 1_000) / ROUND_MS);
      rates.Longshore.push((served * size * 1_000) / ROUND_MS);
    }
    printTable(`${store}: ${work} of ${size} users a request, medians of ${ROUNDS} rounds`, [
      ["", "users/s"],
      [`bare ${store}`, shown(median(rates.bare))],
      ["Longshore", shown(median(rates.Longshore))],
    ]);
    const value = median(rates.Longshore.map((rate, round) => rate / rates.bare[round]!));
    figures.push({ measure: `${work} / bare ${store}`, value, gate: { atLeast: GATE } });
  }
  load.close();
  return figures;
}

/** One after the other; how many were done. */
async function during(ms: number, work: (ids: string[]) => unknown, requests: readonly string[][]): Promise<number> {
  const end = performance.now() + ms;
  let done = 0;
  for (; performance.now() < end; done += 1) await work(requests[done % requests.length]!);
  return done;
}
