/** What a ColumnWrite takes with many users and with few, and what reads take after it. */
import type { Run } from "../../servers/run.ts";
import { LongshoreNode } from "../queue/longshore-node.ts";
import { median } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { encodeRequest, SaasLoad } from "./saas-load.ts";
import { readOf, someUsers, userOf, writeOf } from "./users.ts";

const FEW = 1_000;
const MANY = 1_000_000;
const LOADED = 10_000;
const COLUMN_WRITES = 300;
const READ = 100;
const BODIES = 100;
const ROUNDS = 9;
const ROUND_MS = 1_000;
const TWICE = 2;
const SLOWER = 0.9;

export async function measureColumns(processes: Run): Promise<Figure[]> {
  const node = await LongshoreNode.start(processes, "", { env: { SAAS_DEMO: "1" } });
  const load = new SaasLoad(node.http);
  try {
    await fill(load, 0, FEW);
    // The first ones are for warming up.
    await timeOfColumnWrites(load);
    const few = await timeOfColumnWrites(load);
    await fill(load, 0, MANY);
    const before = await readRates(load);
    const many = await timeOfColumnWrites(load);
    const after = await readRates(load);
    printTable(`ColumnWrite of a column of each region, medians of ${COLUMN_WRITES}; reads of ${READ} users`, [
      ["", "ms", "users/s read"],
      [`${FEW} users`, shown(few), ""],
      [`${MANY} users, before it`, "", shown(median(before))],
      [`${MANY} users, after it`, shown(many), shown(median(after))],
    ]);
    return [
      { measure: "ColumnWrite of many / of few users", value: many / few, gate: { atMost: TWICE } },
      { measure: "reads after it / before", value: median(after) / median(before), gate: { atLeast: SLOWER } },
    ];
  } finally {
    load.close();
    await node.stop();
  }
}

async function fill(load: SaasLoad, from: number, to: number): Promise<void> {
  for (let first = from; first < to; first += LOADED) {
    const length = Math.min(LOADED, to - first);
    await load.send("/saas/write", writeOf(Array.from({ length }, (_, index) => userOf(first + index))));
  }
}

async function timeOfColumnWrites(load: SaasLoad): Promise<number> {
  const times: number[] = [];
  for (let written = 0; written < COLUMN_WRITES; written += 1) {
    const body = encodeRequest({
      column_write: {
        dataspace_id: "1",
        write_bytes: { bytes: Buffer.from([written & 255]), index_1: 2 },
        write_uint32s: { uint32s: [written], index_1: 2 },
        write_flags_with_expire: { flags_with_expire: [{ flag: written % 2 === 0 }], index_1: 2 },
      },
    });
    const sent = performance.now();
    await load.send("/saas/column_write", body);
    times.push(performance.now() - sent);
  }
  return median(times);
}

async function readRates(load: SaasLoad): Promise<number[]> {
  const bodies = Array.from({ length: BODIES }, () => readOf(someUsers(READ, MANY)));
  const rates: number[] = [];
  // The first round is for warming up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    const sent = await load.during(ROUND_MS, "/saas/read", bodies);
    if (round > 0) rates.push((sent * READ * 1_000) / ROUND_MS);
  }
  return rates;
}
