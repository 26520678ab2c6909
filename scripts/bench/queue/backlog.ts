/**
 * What a backlog costs: the drain rate with many tasks waiting against that with few, and the node's memory. A second node holds
 * the few, so that both are measured in turn.
 */
import { setTimeout as delay } from "node:timers/promises";
import { channelLength } from "./contract.ts";
import { LoadProcess } from "./load-client.ts";
import { residentBytesSettled } from "./processes.ts";
import { median } from "./statistics.ts";
import type { Mode, Store, Systems } from "./systems.ts";
import { printTable, shown } from "./table.ts";
import type { Figure } from "./verdict.ts";

const FEW = 1_000;
const MANY = [100_000, 1_000_000];
/** Filling MongoDB with more takes longer than all the rest. */
const MANY_ON_MONGODB = [100_000];
const DRAINED = 10_000;
const ROUNDS = 3;
/** Above the number of all tasks that a channel sees. */
const CAPACITY = 1_500_000;
const MEGABYTE = 1_048_576;
/** Longer than the lease of a received task. */
const LEASE_LIMIT_MS = 75_000;

/** How the worker takes tasks: one by one on its streams, or many a call. */
type DrainMode = Exclude<Mode, "stream">;
const DRAIN_MODES: DrainMode[] = ["unary", "batch"];

export async function measureBacklog(systems: Systems, parts: Set<string>): Promise<Figure[]> {
  const figures = await measureOn(systems, "embedded", MANY);
  if (parts.has("mongodb")) await measureOn(systems, "MongoDB", MANY_ON_MONGODB);
  return figures;
}

async function measureOn(systems: Systems, store: Store, sizes: number[]): Promise<Figure[]> {
  const figures: Figure[] = [];
  const rows: string[][] = [];
  const nodes = [await systems.freshNode(store), await systems.freshNode(store)] as const;
  const empty = await residentBytesSettled(nodes[0].pid);
  const [many, few] = nodes.map(({ address }, index) => new Backlog(address, `bench-backlog-${index}`)) as [
    Backlog,
    Backlog,
  ];
  try {
    for (const size of sizes) {
      await many.fill(size);
      const memory = ((await residentBytesSettled(nodes[0].pid)) - empty) / MEGABYTE;
      const row = [size.toLocaleString("en")];
      console.error(`backlog, ${store}: ${row[0]} waiting`);
      for (const mode of DRAIN_MODES) {
        const { rate, ratio } = await compare(many, few, mode);
        row.push(shown(rate), shown(ratio));
        figures.push({ measure: `drain ${mode}, ${row[0]} / 1,000 waiting`, value: ratio, gate: { atLeast: 0.9 } });
      }
      rows.push([...row, `${shown(memory)} MB`]);
      figures.push({
        measure: `memory, ${row[0]} waiting, MB above an empty node`,
        value: memory,
        gate: { atMost: 100 },
      });
    }
    await Promise.all([many.demandNoneLost(), few.demandNoneLost()]);
  } finally {
    await Promise.all([many.close(), few.close()]);
    await Promise.all(nodes.map((node) => node.stop()));
  }
  printTable(`Backlog, ${store}: drain of ${DRAINED.toLocaleString("en")} tasks, medians of ${ROUNDS} rounds`, [
    [
      "waiting",
      "on streams, tasks/s",
      "/ 1,000 waiting",
      "in batches, tasks/s",
      "/ 1,000 waiting",
      "memory above empty",
    ],
    ...rows,
  ]);
  return figures;
}

/** Drains by turns from many and from few; medians. */
async function compare(many: Backlog, few: Backlog, mode: DrainMode): Promise<{ rate: number; ratio: number }> {
  const rates: number[] = [];
  const ratios: number[] = [];
  await few.drainByFew(mode);
  for (let round = 0; round < ROUNDS; round += 1) {
    const rate = await many.drain(mode, DRAINED);
    rates.push(rate);
    ratios.push(rate / (await few.drainByFew(mode)));
  }
  return { rate: median(rates), ratio: median(ratios) };
}

/** A channel that is filled and partly drained; every task has a number of its own. */
class Backlog {
  readonly #address: string;
  readonly #channel: string;
  readonly #producer: LoadProcess;
  readonly #workers: Record<DrainMode, LoadProcess>;
  readonly #reports: Uint8Array;
  #created = 0;
  #reported = 0;

  constructor(address: string, channel: string) {
    const load = (mode: Mode) => new LoadProcess({ kind: "grpc", address, mode });
    this.#address = address;
    this.#channel = channel;
    this.#producer = load("batch");
    this.#workers = { unary: load("unary"), batch: load("batch") };
    this.#reports = new Uint8Array(CAPACITY);
  }

  /** Creates tasks until so many wait. */
  async fill(size: number): Promise<void> {
    const missing = size - (this.#created - this.#reported);
    await this.#producer.produce(this.#channel, missing, { first: this.#created });
    this.#created += missing;
  }

  /** Tasks a second, until so many, or a few more, are reported. */
  async drain(mode: DrainMode, count: number): Promise<number> {
    const { reported, ms } = await this.#drain(mode, count);
    return (reported * 1_000) / ms;
  }

  /** As `drain`, but refilled to no more than a few before each stretch; the refilling does not count. */
  async drainByFew(mode: DrainMode): Promise<number> {
    let sum = 0;
    for (let drained = 0; drained < DRAINED; drained += FEW) {
      await this.fill(FEW);
      sum += (await this.#drain(mode, FEW)).ms;
    }
    return (DRAINED * 1_000) / sum;
  }

  /**
   * Throws where what was created is neither reported nor waiting. What was on its way to a worker that stopped to ask is
   * waiting again when its lease is over.
   */
  async demandNoneLost(): Promise<void> {
    const end = performance.now() + LEASE_LIMIT_MS;
    for (;;) {
      const waiting = await channelLength(this.#address, this.#channel);
      if (waiting === this.#created - this.#reported) return;
      if (performance.now() > end) {
        throw new Error(
          `${this.#channel}: of ${this.#created} tasks ${this.#reported} were reported and ${waiting} wait`,
        );
      }
      await delay(1_000);
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#producer, ...Object.values(this.#workers)].map((load) => load.close()));
  }

  async #drain(mode: DrainMode, count: number): Promise<{ reported: number; ms: number }> {
    const worker = this.#workers[mode];
    await worker.work(this.#channel, CAPACITY);
    await LoadProcess.reported([worker], count);
    const { reported, reports, began, lastReported } = await worker.stopWork();
    this.#reported += reported;
    reports.forEach((times, number) => {
      this.#reports[number]! += times;
      if (this.#reports[number]! > 1) throw new Error(`${this.#channel}: task ${number} was reported twice`);
    });
    return { reported, ms: lastReported - began };
  }
}
