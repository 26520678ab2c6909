/** What a Debug takes, and what reads take while scripts run that have no end. */
import type { Run } from "../../servers/run.ts";
import { LongshoreNode } from "../queue/longshore-node.ts";
import { median, percentile } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { encodeRequest, SaasLoad } from "./saas-load.ts";
import { readOf, someUsers, userOf, writeOf } from "./users.ts";

const USERS = 10_000;
const WARM_UP = 50;
const SCRIPTS = 300;
const ENDLESS = 100;
const READ = 100;
const READS = 2_000;
const P50_MS = 10;
const DOUBLED = 2;

const SCRIPT = `function main()
  local data = srta.get_dsdata(srta.DS_DID)
  print(data[srta.U8][1])
  return {target = {[srta.TARGETINFO_ENABLE] = data[srta.U8][1] > 0}}
end`;

export async function measureDebug(processes: Run): Promise<Figure[]> {
  const node = await LongshoreNode.start(processes, "", { env: { SAAS_DEMO: "1" } });
  const load = new SaasLoad(node.http);
  const endless = new SaasLoad(node.http, ENDLESS);
  try {
    await load.send("/saas/write", writeOf(Array.from({ length: USERS }, (_, index) => userOf(index))));
    const script = encodeRequest({ debug: { lua_script: SCRIPT, use_server_data: true, server_did: userOf(1) } });
    await timesOf(load, "/saas/debug", [script], WARM_UP);
    const p50 = median(await timesOf(load, "/saas/debug", [script], SCRIPTS));
    const reads = Array.from({ length: 100 }, () => readOf(someUsers(READ, USERS)));
    await timesOf(load, "/saas/read", reads, READS);
    const alone = p99(await timesOf(load, "/saas/read", reads, READS));
    const body = encodeRequest({ debug: { lua_script: "function main() while true do end end" } });
    const running = Promise.allSettled(Array.from({ length: ENDLESS }, () => endless.send("/saas/debug", body)));
    const beside = p99(await timesOf(load, "/saas/read", reads, READS));
    endless.close();
    await running;
    printTable(`Debug, p50 of ${SCRIPTS}; Read of ${READ} users, p99 of ${READS}, one after the other`, [
      ["", "ms"],
      ["Debug", shown(p50)],
      ["Read", shown(alone)],
      [`Read beside ${ENDLESS} scripts without end`, shown(beside)],
    ]);
    return [
      { measure: "Debug p50, ms", value: p50, gate: { atMost: P50_MS } },
      { measure: "Read p99 beside endless scripts / alone", value: beside / alone, gate: { atMost: DOUBLED } },
    ];
  } finally {
    load.close();
    endless.close();
    await node.stop();
  }
}

async function timesOf(load: SaasLoad, path: string, bodies: readonly Buffer[], count: number): Promise<number[]> {
  const times: number[] = [];
  for (let sent = 0; sent < count; sent += 1) {
    const started = performance.now();
    await load.send(path, bodies[sent % bodies.length]!);
    times.push(performance.now() - started);
  }
  return times;
}

function p99(times: readonly number[]): number {
  return percentile(
    times.toSorted((a, b) => a - b),
    99,
  );
}
