/** Workers that freeze, die of their task or stop reading: nothing is lost, nothing counts twice, nobody else suffers. */
import { readFile } from "node:fs/promises";
import { expect, test } from "@jest/globals";
import type { QueuesClient, TaskMessage } from "../queues-client.ts";
import { next } from "../queues-client.ts";
import { amount, STRESS_TIMEOUT_MS } from "../stress.ts";
import { waitFor } from "../wait-for.ts";
import { createTasks, InstantWorker, tasksOf, WorkerProcess, withQueueProcesses } from "./queue-processes.ts";

const HELD = 1_000;
const GOOD = 200;
const MAX_LOST = 5;
const WAITING = amount(30_000, 100_000);
const MAX_GROWTH_KIB = 50 * 1024;

function worker(address: string, channel: string, credits: number, holds: boolean) {
  return new WorkerProcess({ address, name: "process", channel, credits, leaseSeconds: holds ? 1 : 60, holds });
}

test(
  "what a worker reports that was stopped for longer than its lease is refused, each of 1,000 times",
  () =>
    withQueueProcesses([{ MAX_LOST: "1000" }], async ([one]) => {
      const { node, client } = one!;
      await createTasks(client, Array<object>(HELD).fill({ Channel: "held", Owner: 1 }));
      const stopped = worker(node.grpc, "held", HELD, true);
      let other: InstantWorker | undefined;
      try {
        expect(await stopped.line()).toBe("full");
        stopped.process.kill("SIGSTOP");
        stopped.say("report");
        other = new InstantWorker(client, "other", "held", HELD);
        await waitFor(() => other?.answers.length === HELD);
        stopped.process.kill("SIGCONT");
        const states = JSON.parse(await stopped.line()) as string[];
        expect(states).toEqual(Array(states.length).fill("400"));
        expect(states.length).toBeGreaterThanOrEqual(HELD);
        const tasks = await tasksOf(client, 1);
        expect(tasks).toHaveLength(HELD);
        expect(tasks.filter(({ State, Output }) => State !== "SUCCESS" || Output !== "other")).toEqual([]);
      } finally {
        other?.stop();
        await stopped.kill();
      }
    }),
  STRESS_TIMEOUT_MS,
);

test(
  "a task that kills each of its workers fails after MAX_LOST of them, and all others end",
  () =>
    withQueueProcesses([{ MAX_LOST: String(MAX_LOST) }], async ([one]) => {
      const { node, client } = one!;
      const good = Array<object>(GOOD).fill({ Channel: "good", Owner: 2, Input: "x" });
      const poison = { Channel: "good", Owner: 2, Input: "poison" };
      await createTasks(client, [...good.slice(0, GOOD / 2), poison, ...good.slice(GOOD / 2)]);
      const left = async () => (await tasksOf(client, 2)).filter(isOpen).length;
      let deaths = 0;
      for (let running = true; running;) {
        const process = worker(node.grpc, "good", 1, false);
        const died = process.ended().then(() => true);
        running = await Promise.race([died, waitFor(async () => (await left()) === 0).then(() => false)]);
        if (running) deaths += 1;
        await process.kill();
      }
      expect(deaths).toBe(MAX_LOST);
      const tasks = await tasksOf(client, 2);
      const failed = tasks.filter(({ State }) => State !== "SUCCESS");
      expect(failed).toEqual([expect.objectContaining({ State: "FAILURE", Input: "poison" })]);
      expect(failed[0]?.Output).toMatch(/^lost 5 times \(MAX_LOST 5\)/);
      expect(tasks).toHaveLength(GOOD + 1);
    }),
  STRESS_TIMEOUT_MS,
);

test.each([1, 2])(
  "of what %i workers with many tasks in hand lose, only the one that kills them fails",
  (workers) =>
    withQueueProcesses([{ MAX_LOST: String(MAX_LOST) }], async ([one]) => {
      const { node, client } = one!;
      const good = Array<object>(2 * GOOD).fill({ Channel: "many", Owner: 3, Input: "x" });
      const poison = { Channel: "many", Owner: 3, Input: "poison" };
      // Seven others are in hand with it, and come before it when they come back.
      await createTasks(client, [...good.slice(0, 7), poison, ...good.slice(7)]);
      const settings = { address: node.grpc, name: "process", channel: "many", credits: 8, leaseSeconds: 60 };
      const start = () => new WorkerProcess({ ...settings, holds: false, workMs: 20, waits: true });
      const crews = Array.from({ length: workers }, () => new Crew(start));
      try {
        await waitFor(async () => !(await tasksOf(client, 3)).some(isOpen), STRESS_TIMEOUT_MS);
      } finally {
        await Promise.all(crews.map((crew) => crew.stop()));
      }
      expect(crews.reduce((sum, { deaths }) => sum + deaths, 0)).toBe(MAX_LOST);
      const tasks = await tasksOf(client, 3);
      expect(tasks).toHaveLength(2 * GOOD + 1);
      const failed = tasks.filter(({ State }) => State !== "SUCCESS");
      expect(failed).toEqual([expect.objectContaining({ State: "FAILURE", Input: "poison" })]);
    }),
  STRESS_TIMEOUT_MS,
);

test(
  "a receiver that stops reading costs at most 50 MiB, however much waits for it",
  () =>
    withQueueProcesses([{}], async ([one]) => {
      const { node, client } = one!;
      const pid = node.process.pid!;
      const Input = "x".repeat(3_000);
      const tasks = Array<object>(1_000).fill({ Channel: "stalled", Input });
      for (let created = 0; created < WAITING; created += tasks.length) await createTasks(client, tasks);
      // What others do meanwhile has its part in it from the start.
      await workOff(client, "before");
      const before = await residentKib(pid);
      const stalled = client.receive();
      stalled.on("error", () => undefined);
      for (let credit = 0; credit < WAITING; credit += 1) stalled.write({ Channel: "stalled" });
      await next(stalled);
      stalled.pause();
      let peak = before;
      const watched = watch(async () => (peak = Math.max(peak, await residentKib(pid))));
      try {
        await workOff(client, "meanwhile");
        // It is given no more than fits between it and the node.
        const waiting = await length(client, "stalled");
        await workOff(client, "after");
        expect(await length(client, "stalled")).toBe(waiting);
        expect(waiting).toBeGreaterThan(WAITING * 0.9);
      } finally {
        await watched.stop();
        stalled.cancel();
      }
      expect(peak - before).toBeLessThan(MAX_GROWTH_KIB);
      if (process.env.LONGSHORE_STRESS) console.log(`a stalled receiver: ${before} KiB before, ${peak} KiB at most`);
    }),
  STRESS_TIMEOUT_MS,
);

/** A worker at a time: where one dies, the next, which has been started before, takes its place. */
class Crew {
  deaths = 0;
  readonly #start: () => WorkerProcess;
  readonly #working: Promise<void>;
  #worker: WorkerProcess;
  #next: WorkerProcess;
  #stopped = false;

  constructor(start: () => WorkerProcess) {
    this.#start = start;
    this.#worker = start();
    this.#next = start();
    this.#working = this.#replace();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([this.#worker.kill(), this.#next.kill()]);
    await this.#working;
  }

  async #replace(): Promise<void> {
    for (;;) {
      this.#worker.say("work");
      await this.#worker.ended();
      if (this.#stopped) return;
      this.deaths += 1;
      this.#worker = this.#next;
      this.#next = this.#start();
    }
  }
}

function isOpen({ State }: TaskMessage): boolean {
  return State === "WAITING" || State === "PROCEEDING";
}

async function length(client: QueuesClient, Channel: string): Promise<number> {
  return Number((await client.call<string>("QueryLengthByChannel", { Channel })).Data);
}

/** 2,000 tasks made and done. */
async function workOff(client: QueuesClient, channel: string): Promise<void> {
  const done = new InstantWorker(client, "worker", channel, 32);
  await createTasks(client, Array<object>(2_000).fill({ Channel: channel }));
  await waitFor(() => done.answers.length === 2_000);
  done.stop();
}

/** The memory that a process has in RAM. */
async function residentKib(pid: number): Promise<number> {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib);
}

/** Looks again and again until it is stopped. */
function watch(look: () => Promise<unknown>): { stop(): Promise<void> } {
  let over = false;
  const watching = waitFor(async () => (await look(), over), STRESS_TIMEOUT_MS);
  return {
    stop: async () => {
      over = true;
      await watching;
    },
  };
}
