/**
 * What a node feels of its exports, which run in threads of their own: how late its main loop is while four of them run, and how
 * long its callers wait against the same node at rest. Both by turns, on one node. Callers and the source are processes of their
 * own, but on the same machine: on two processors four exports and their source want all there is, so that a caller's own wait
 * for a processor is in the figure. The gate is about reads: a task that is created waits for the disk, too, which the exports
 * write to, and reads beside creates wait with them.
 */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Run } from "../../servers/run.ts";
import { LongshoreNode } from "../queue/longshore-node.ts";
import { cpuMs } from "../queue/processes.ts";
import { median } from "../queue/statistics.ts";
import { printTable, shown } from "../queue/table.ts";
import type { Figure } from "../queue/verdict.ts";
import { inChild } from "./child.ts";
import { ExportsClient } from "./exports-client.ts";
import type { LoopDelay } from "./loop-delay.ts";
import { PageServer } from "./pages.ts";

const EXPORTS = 4;
const ROUNDS = 3;
const CALLS_PER_SECOND = 50;
const READ_SECONDS = 20;
const CREATE_SECONDS = 10;
/** A node that has just begun has most of its code still to compile. */
const WARM_UP_SECONDS = 5;
/** More than an export can read while it is looked at. */
const PAGES = 100_000;
const ROWS_PER_PAGE = 1_000;
/** Longer than a node waits until it gives memory back, which stops it for a moment. */
const SETTLE_MS = 6_000;
const START_LIMIT_MS = 30_000;

export interface CallsTask {
  call: "read" | "create";
  address: string;
  perSecond: number;
  seconds: number;
}

/** Milliseconds. */
export interface Latency {
  p50: number;
  p99: number;
}

interface Sample {
  read: Latency;
  create: Latency;
  loop: LoopDelay;
  /** Of the node, all of its threads: 100 is one processor. */
  cpuPercent: number;
}

type State = "at rest" | "exporting";

export async function measureNode(run: Run): Promise<Figure[]> {
  const source = await PageServer.start(run, { pages: PAGES, rowsPerPage: ROWS_PER_PAGE, delayMs: 0 });
  const env = { EXPORT_CONCURRENCY: String(EXPORTS) };
  const node = await LongshoreNode.start(run, "", { env, preload: join(import.meta.dirname, "loop-delay.ts") });
  const client = new ExportsClient(node.address);
  const samples: Record<State, Sample[]> = { "at rest": [], exporting: [] };
  const rowRates: number[] = [];
  try {
    await inChild("calls-process.ts", callsOf(node, "read", WARM_UP_SECONDS));
    for (let round = 1; round <= ROUNDS; round += 1) {
      await delay(SETTLE_MS);
      samples["at rest"].push(await sampleOf(node));
      const names = await beginExports(client, source, round);
      await source.served();
      const began = performance.now();
      samples.exporting.push(await sampleOf(node));
      rowRates.push(await rowRate(source, began));
      await Promise.all(names.map((name) => client.cancel(name)));
      console.error(
        `round ${round}: ${(["at rest", "exporting"] as const).map((state) => told(samples, state)).join("; ")}`,
      );
    }
  } finally {
    client.close();
    await node.stop();
    source.stop();
  }
  print(samples, median(rowRates));
  return figuresOf(samples);
}

async function sampleOf(node: LongshoreNode): Promise<Sample> {
  await node.ask<LoopDelay>("loop");
  const [before, began] = [await cpuMs(node.pid), performance.now()];
  const read = await inChild<Latency>("calls-process.ts", callsOf(node, "read", READ_SECONDS));
  const create = await inChild<Latency>("calls-process.ts", callsOf(node, "create", CREATE_SECONDS));
  const cpuPercent = (((await cpuMs(node.pid)) - before) * 100) / (performance.now() - began);
  return { read, create, loop: await node.ask<LoopDelay>("loop"), cpuPercent };
}

function callsOf({ address }: LongshoreNode, call: CallsTask["call"], seconds: number): CallsTask {
  return { call, address, perSecond: CALLS_PER_SECOND, seconds };
}

/** Resolves when all of them read. */
async function beginExports(client: ExportsClient, source: PageServer, round: number): Promise<string[]> {
  const names: string[] = [];
  await source.served();
  for (let number = 1; number <= EXPORTS; number += 1) {
    const request = { ext_type: "XLSX", title: `bench ${round} ${number}`, user_id: "bench", conn: 8 };
    names.push(await client.begin({ ...request, source_http: { url: source.url } }));
  }
  const end = performance.now() + START_LIMIT_MS;
  const reading = new Set<string>();
  while (reading.size < EXPORTS) {
    if (performance.now() > end)
      throw new Error(`${reading.size} of ${EXPORTS} exports read after ${START_LIMIT_MS} ms`);
    await delay(100);
    for (const name of (await source.served()).exports) reading.add(name);
  }
  await delay(SETTLE_MS);
  return names;
}

/** Rows a second of all exports; throws where one has not read since it was asked last. */
async function rowRate(source: PageServer, began: number): Promise<number> {
  const { pages, exports } = await source.served();
  if (exports.length < EXPORTS) throw new Error(`only ${exports.length} of ${EXPORTS} exports have read`);
  return (pages * ROWS_PER_PAGE * 1_000) / (performance.now() - began);
}

function told(samples: Record<State, Sample[]>, state: State): string {
  const { loop, read, create } = samples[state].at(-1)!;
  return `${state}: loop ${shown(loop.p99)} (at most ${shown(loop.max)}) ms, read ${shown(read.p99)} ms, create ${shown(create.p99)} ms`;
}

function print(samples: Record<State, Sample[]>, rowsPerSecond: number): void {
  const row = (state: State, name: string) => {
    const of = (measure: (sample: Sample) => number) => shown(median(samples[state].map(measure)));
    return [
      name,
      `${of(({ loop }) => loop.p50)} / ${of(({ loop }) => loop.p99)} / ${of(({ loop }) => loop.max)}`,
      `${of(({ read }) => read.p50)} / ${of(({ read }) => read.p99)}`,
      `${of(({ create }) => create.p50)} / ${of(({ create }) => create.p99)}`,
      `${of(({ cpuPercent }) => cpuPercent)} %`,
    ];
  };
  const what = `${CALLS_PER_SECOND} calls a second`;
  printTable(`A node with ${EXPORTS} exports, ${what}, medians of ${ROUNDS} rounds`, [
    ["", "loop late, ms p50 / p99 / max", "read, ms p50 / p99", "create, ms p50 / p99", "CPU of the node"],
    row("at rest", "at rest"),
    row("exporting", `exporting ${shown(rowsPerSecond)} rows/s`),
  ]);
}

function figuresOf(samples: Record<State, Sample[]>): Figure[] {
  const loop = median(samples.exporting.map(({ loop: { p99 } }) => p99));
  const ratio = median(samples.exporting.map(({ read }, round) => read.p99 / samples["at rest"][round]!.read.p99));
  return [
    { measure: `main loop late, ms p99, ${EXPORTS} exports`, value: loop, gate: { atMost: 20 } },
    { measure: `read p99, ${EXPORTS} exports / at rest`, value: ratio, gate: { atMost: 2 } },
  ];
}
