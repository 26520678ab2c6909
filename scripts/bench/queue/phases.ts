/** The phases that every peer goes through; each fails where a task was not reported exactly once. */
import { LoadProcess, type Worked } from "./load-client.ts";
import type { Peer } from "./peer.ts";
import { cpuMs } from "./processes.ts";

export const TASKS = 20_000;
const WARM_UP_TASKS = 2_000;

/** A peer with a producer and workers of its own. */
export class Contestant {
  readonly peer: Peer;
  readonly #channel: string;
  readonly #producer: LoadProcess;
  readonly #workers: LoadProcess[];

  constructor(peer: Peer, workers = 1) {
    this.peer = peer;
    this.#channel = `bench-${peer.name.replaceAll(/\W+/g, "-")}`;
    this.#producer = new LoadProcess(peer.target);
    this.#workers = Array.from({ length: workers }, () => new LoadProcess(peer.target));
  }

  get name(): string {
    return this.peer.name;
  }

  async close(): Promise<void> {
    await Promise.all([this.#producer, ...this.#workers].map((load) => load.close()));
  }

  async warmUp(): Promise<void> {
    await this.endToEnd(this.#workers.length, WARM_UP_TASKS);
  }

  /** Tasks created a second while nobody works; drain must follow. */
  async enqueue(): Promise<number> {
    const { began, ended } = await this.#producer.produce(this.#channel, TASKS);
    return rate(TASKS, ended - began);
  }

  /** Tasks reported a second by one worker from what is waiting. */
  async drain(): Promise<number> {
    const [worked] = await this.#work(1, TASKS, () => Promise.resolve());
    return rate(TASKS, worked!.lastReported - worked!.began);
  }

  /** Tasks a second, from the first create until the last report is answered. */
  async endToEnd(workers = 1, count = TASKS): Promise<number> {
    let began = 0;
    const worked = await this.#work(workers, count, async () => {
      ({ began } = await this.#producer.produce(this.#channel, count));
    });
    return rate(count, Math.max(...worked.map(({ lastReported }) => lastReported)) - began);
  }

  /** Milliseconds from create to receive, sorted, where `perSecond` tasks are created a second and one worker waits. */
  async pickups(perSecond: number, count: number): Promise<Float64Array> {
    const [worked] = await this.#work(1, count, async () => {
      await this.#producer.produce(this.#channel, count, { rate: perSecond });
    });
    return worked!.pickups.sort();
  }

  /** Milliseconds of CPU that each process has had so far. */
  async cpu(): Promise<Record<string, number>> {
    const processes = { producer: this.#producer.pid, worker: this.#workers[0]!.pid, ...this.peer.processes };
    const rows = await Promise.all(Object.entries(processes).map(async ([name, pid]) => [name, await cpuMs(pid)]));
    return Object.fromEntries(rows) as Record<string, number>;
  }

  /** Runs `during` while workers work, until they have reported all. */
  async #work(count: number, tasks: number, during: () => Promise<void>): Promise<Worked[]> {
    const workers = this.#workers.slice(0, count);
    await Promise.all(workers.map((worker) => worker.work(this.#channel, tasks)));
    await Promise.all([during(), LoadProcess.reported(workers, tasks)]);
    const worked = await Promise.all(workers.map((worker) => worker.stopWork()));
    for (let number = 0; number < tasks; number += 1) {
      const times = worked.reduce((sum, { reports }) => sum + reports[number]!, 0);
      if (times !== 1) throw new Error(`${this.name}: task ${number} was reported ${times} times`);
    }
    return worked;
  }
}

function rate(tasks: number, ms: number): number {
  return (tasks * 1_000) / ms;
}
