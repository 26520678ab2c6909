/** The phases that every peer goes through; each fails where a task was not reported exactly once. */
import { LoadProcess, type Worked } from "./load-client.ts";
import type { Peer } from "./peer.ts";
import { cpuMs } from "./processes.ts";

export const TASKS = 20_000;
const WARM_UP_TASKS = 2_000;

/** Gives a peer fresh and warm producer and worker processes for as long as `measure` takes. */
export async function withContestant<T>(
  peer: Peer,
  workers: number,
  measure: (contestant: Contestant) => Promise<T>,
): Promise<T> {
  const contestant = new Contestant(peer, workers);
  try {
    await contestant.endToEnd(WARM_UP_TASKS);
    return await measure(contestant);
  } finally {
    await contestant.close();
  }
}

/** A peer with a producer and workers of its own. */
export class Contestant {
  readonly #peer: Peer;
  readonly #channel: string;
  readonly #producer: LoadProcess;
  readonly #workers: LoadProcess[];

  constructor(peer: Peer, workers: number) {
    this.#peer = peer;
    this.#channel = `bench-${peer.name.replaceAll(/\W+/g, "-")}`;
    this.#producer = new LoadProcess(peer.target);
    this.#workers = Array.from({ length: workers }, () => new LoadProcess(peer.target));
  }

  async close(): Promise<void> {
    await Promise.all([this.#producer, ...this.#workers].map((load) => load.close()));
  }

  /** Tasks created a second while nobody works; `drain` must follow. */
  async enqueue(): Promise<number> {
    const { began, ended } = await this.#producer.produce(this.#channel, TASKS);
    return rate(TASKS, ended - began);
  }

  /** Tasks reported a second from what `enqueue` has made. */
  async drain(): Promise<number> {
    const worked = await this.#work(TASKS, () => Promise.resolve());
    return rate(TASKS, lastReport(worked) - Math.min(...worked.map(({ began }) => began)));
  }

  /** Tasks a second, from the first create until the last report is answered. */
  async endToEnd(count = TASKS): Promise<number> {
    let began = 0;
    const worked = await this.#work(count, async () => {
      ({ began } = await this.#producer.produce(this.#channel, count));
    });
    return rate(count, lastReport(worked) - began);
  }

  /** Milliseconds from create to receive, in ascending order, where `perSecond` tasks are created a second. */
  async pickups(perSecond: number, count: number): Promise<Float64Array> {
    const worked = await this.#work(count, async () => {
      await this.#producer.produce(this.#channel, count, { rate: perSecond });
    });
    return worked[0]!.pickups.sort();
  }

  /** Milliseconds of CPU that the processes have had so far; that of all workers as one. */
  async cpu(): Promise<Record<string, number>> {
    const workers = await Promise.all(this.#workers.map(({ pid }) => cpuMs(pid)));
    const cpu: Record<string, number> = {
      producer: await cpuMs(this.#producer.pid),
      worker: workers.reduce((sum, ms) => sum + ms, 0),
    };
    for (const [name, pid] of Object.entries(this.#peer.processes)) cpu[name] = await cpuMs(pid);
    return cpu;
  }

  /** Runs `during` while the workers work, until they have reported all. */
  async #work(tasks: number, during: () => Promise<void>): Promise<Worked[]> {
    await Promise.all(this.#workers.map((worker) => worker.work(this.#channel, tasks)));
    await Promise.all([during(), LoadProcess.reported(this.#workers, tasks)]);
    const worked = await Promise.all(this.#workers.map((worker) => worker.stopWork()));
    for (let number = 0; number < tasks; number += 1) {
      const times = worked.reduce((sum, { reports }) => sum + reports[number]!, 0);
      if (times !== 1) throw new Error(`${this.#peer.name}: task ${number} was reported ${times} times`);
    }
    return worked;
  }
}

function lastReport(worked: Worked[]): number {
  return Math.max(...worked.map(({ lastReported }) => lastReported));
}

function rate(tasks: number, ms: number): number {
  return (tasks * 1_000) / ms;
}
