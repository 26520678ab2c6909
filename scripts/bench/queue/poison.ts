/** What a task that kills its workers costs its channel: the rate of the others beside it against that of a channel without one. */
import { randomInt } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { now } from "./bench-task.ts";
import type { Answer, BenchTask, ListedTask, LongshoreClient, StandardClient } from "./contract.ts";
import { demandDone, longshoreClient, standardClient, unary } from "./contract.ts";
import { Relay } from "./relay.ts";
import { median } from "./statistics.ts";
import type { Systems } from "./systems.ts";
import { printTable, shown } from "./table.ts";
import type { Figure } from "./verdict.ts";

const ROUNDS = 3;
const WORKERS = 8;
const CREDITS = 8;
/** Pretended work on a task, a random time between these, so that it is what limits the rate. */
const WORK_MS = { least: 40, most: 100 };
/** Work for longer than the poison lives: after its losses it waits up to 7 s in all. */
const TASKS = 8_000;
const POISON = "poison";
/** Tasks that are there before it. */
const BEFORE_POISON = 500;
const BATCH = 500;
/** What a node has where nothing else is set. */
const MAX_LOST = 5;
const LIMIT_MS = 60_000;
const SUCCESS = 1;

export async function measurePoison(systems: Systems): Promise<Figure[]> {
  const { address } = await systems.node("embedded");
  const rows: string[][] = [];
  const ratios: number[] = [];
  await rateOf(address, "warm-up", false);
  for (let round = 1; round <= ROUNDS; round += 1) {
    const without = await rateOf(address, `good-${round}`, false);
    const beside = await rateOf(address, `poisoned-${round}`, true);
    ratios.push(beside / without);
    rows.push([`round ${round}`, shown(without), shown(beside), shown(beside / without)]);
    console.error(`poison, round ${round}: ${shown(beside / without)}`);
  }
  printTable(`${TASKS.toLocaleString("en")} tasks, ${WORKERS} workers of ${CREDITS} credits, tasks/s`, [
    ["", "without", "with a poison", "ratio"],
    ...rows,
  ]);
  return [{ measure: "rate beside a poison / without", value: median(ratios), gate: { atLeast: 0.95 } }];
}

async function rateOf(address: string, name: string, poisoned: boolean): Promise<number> {
  const relays = await Promise.all(Array.from({ length: WORKERS }, () => Relay.open(address)));
  const trial = new Trial(address, `bench-${name}`);
  try {
    await trial.fill(poisoned);
    const rate = await trial.work(relays);
    await trial.demandEnds(poisoned);
    return rate;
  } finally {
    trial.close();
    for (const relay of relays) relay.close();
  }
}

/** A channel that is filled once and worked off. */
class Trial {
  readonly #channel: string;
  readonly #owner = randomInt(1, 2 ** 47);
  readonly #standard: StandardClient;
  readonly #longshore: LongshoreClient;
  /** What is good and not reported yet. */
  readonly #open = new Set<string>();
  readonly #finished = Promise.withResolvers<void>();
  #deaths = 0;
  #closed = false;

  constructor(address: string, channel: string) {
    this.#channel = channel;
    this.#standard = standardClient(address);
    this.#longshore = longshoreClient(address);
  }

  async fill(poisoned: boolean): Promise<void> {
    const inputs = Array.from({ length: TASKS }, (_, number) => String(number));
    for (const input of inputs) this.#open.add(input);
    if (poisoned) inputs.splice(BEFORE_POISON, 0, POISON);
    for (let from = 0; from < inputs.length; from += BATCH) {
      const batch = inputs.slice(from, from + BATCH);
      const Tasks = batch.map((Input) => ({ Channel: this.#channel, Owner: this.#owner, Input }));
      const answer = await unary(this.#longshore.CreateTasks.bind(this.#longshore), { Tasks });
      demandDone(answer);
      answer.Data.forEach(demandDone);
    }
  }

  /** Tasks a second, until all that are good are reported. */
  async work(relays: Relay[]): Promise<number> {
    const began = now();
    for (const relay of relays) this.#startWorker(relay);
    const late = delay(LIMIT_MS, undefined, { ref: false }).then(() => {
      throw new Error(`${this.#channel}: ${this.#open.size} tasks are not reported after ${LIMIT_MS / 1_000} s`);
    });
    await Promise.race([this.#finished.promise, late]);
    return (TASKS * 1_000) / (now() - began);
  }

  /** Waits until all tasks have ended; throws where one did so other than it should. */
  async demandEnds(poisoned: boolean): Promise<void> {
    const until = now() + LIMIT_MS;
    let tasks = await this.#tasks();
    while (tasks.some(({ State }) => State === "WAITING" || State === "PROCEEDING") && now() < until) {
      await delay(500);
      tasks = await this.#tasks();
    }
    const good = tasks.filter(({ Input, State }) => Input !== POISON && State === "SUCCESS").length;
    const failed = tasks.filter(({ Input, Output }) => Input === POISON && Output.startsWith(`lost ${MAX_LOST} times`));
    if (good !== TASKS || failed.length !== Number(poisoned) || this.#deaths !== Number(poisoned) * MAX_LOST) {
      const what = `${good} of ${TASKS} tasks succeeded, ${failed.length} failed of too many losses`;
      throw new Error(`${this.#channel}: ${what}, ${this.#deaths} workers died`);
    }
  }

  close(): void {
    this.#closed = true;
    this.#standard.close();
    this.#longshore.close();
  }

  async #tasks(): Promise<ListedTask[]> {
    const tasks: ListedTask[] = [];
    for (;;) {
      const request = { Owner: this.#owner, Limit: 1_000, Offset: tasks.length };
      const answer = await unary(this.#standard.QueryTaskByOwner.bind(this.#standard), request);
      demandDone(answer);
      if (answer.Data.length === 0) return tasks;
      tasks.push(...answer.Data);
    }
  }

  /** One that dies of the poison: its connection breaks without a word, and the next takes its place. */
  #startWorker(relay: Relay): void {
    const client = standardClient(relay.address);
    const receive = client.ReceiveQueueByChannel();
    const reports = client.ReportTaskResult();
    const unanswered: string[] = [];
    const credit = { Channel: this.#channel };
    let dead = false;
    const die = () => {
      dead = true;
      this.#deaths += 1;
      client.close();
      relay.cut();
      // They may have been taken. Those that were not come again.
      unanswered.forEach((input) => this.#reported(input));
      this.#startWorker(relay);
    };
    for (const stream of [receive, reports]) {
      stream.on("error", (error) => {
        if (this.#closed) client.close();
        else if (!dead) this.#finished.reject(error);
      });
    }
    receive.on("data", ({ Tasks: { ID, Input } }: { Tasks: BenchTask }) => {
      if (dead) return;
      if (Input === POISON) return die();
      const report = () => {
        if (dead) return;
        unanswered.push(Input);
        reports.write({ ID, State: SUCCESS, Output: "done" });
      };
      setTimeout(report, WORK_MS.least + Math.random() * (WORK_MS.most - WORK_MS.least));
    });
    reports.on("data", (answer: Answer) => {
      if (dead) return;
      if (answer.State !== "200") this.#finished.reject(new Error(`a report was refused: ${answer.Message}`));
      this.#reported(unanswered.shift() ?? "");
      receive.write(credit);
    });
    for (let left = CREDITS; left > 0; left -= 1) receive.write(credit);
  }

  #reported(input: string): void {
    this.#open.delete(input);
    if (this.#open.size === 0) this.#finished.resolve();
  }
}
