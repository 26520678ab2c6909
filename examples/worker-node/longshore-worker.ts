/**
 * A worker for Longshore's task queue: receives tasks on one stream, reports on another, renews the leases of what it works
 * on, and outlives every break of either stream.
 */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { Metadata } from "@grpc/grpc-js";
import type { ReceiveAnswer, ReceiveRequest } from "./contract.ts";
import { WAITING } from "./contract.ts";
import type { Handler } from "./run.ts";
import { Run } from "./run.ts";
import { LastingStream, Reports } from "./streams.ts";

export type { Task } from "./contract.ts";
export type { Control, Handler } from "./run.ts";
export { NonRetryableError } from "./run.ts";

export interface WorkerOptions {
  /** Host and port of a node. */
  address: string;
  channel: string;
  handler: Handler;
  /** Tasks at once. Default: 8. */
  credits?: number;
  /** How long a task stays with a worker that is not heard of: 1 to 43,200. Default: 60. */
  leaseSeconds?: number;
  /** How long running tasks may take to finish once the worker is told to stop. Default: 20. */
  stopSeconds?: number;
}

/** After an abort, what handlers have to end, and reports to be answered. */
const GRACE_MS = 2_000;

/** Works on the tasks of one channel, from `run()` until `stop()`. */
export class Worker {
  readonly #handler: Handler;
  readonly #credits: number;
  readonly #leaseMs: number;
  readonly #stopMs: number;
  readonly #credit: ReceiveRequest;
  readonly #receiving: LastingStream<ReceiveRequest, ReceiveAnswer>;
  readonly #reports: Reports;
  /** Each has one of the credits, until its end is reported. */
  readonly #runs = new Set<Run>();
  readonly #told = Promise.withResolvers<void>();
  #stopping = false;

  constructor({ address, channel, handler, credits = 8, leaseSeconds = 60, stopSeconds = 20 }: WorkerOptions) {
    for (const [name, value] of Object.entries({ credits, leaseSeconds, stopSeconds })) {
      if (!Number.isInteger(value) || value < 1) throw new RangeError(`${name}: must be a whole number above 0`);
    }
    this.#handler = handler;
    this.#credits = credits;
    this.#leaseMs = leaseSeconds * 1_000;
    this.#stopMs = stopSeconds * 1_000;
    this.#credit = { Channel: channel, LeaseSeconds: leaseSeconds, Notices: true };

    // Nobody else's: a report that names another worker than the one that has the task is refused.
    const metadata = new Metadata();
    metadata.set("x-worker-id", `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`);
    this.#reports = new Reports(address, metadata);
    this.#receiving = new LastingStream("receiving", address, (client) => client.ReceiveQueueByChannel(metadata), {
      opened: () => {
        for (let free = this.#credits - this.#runs.size; free > 0; free--) this.#receiving.write(this.#credit);
      },
      message: (answer) => this.#received(answer),
      // The server may have given the tasks to others: the answers to the renewals say which are still ours.
      broken: () => this.#runs.forEach((run) => void run.renew()),
    });
  }

  /** Works until `stop` is called; rejects where the server refuses the channel or the lease. */
  async run(): Promise<void> {
    const received = this.#receiving.run();
    const reported = this.#reports.stream.run();
    try {
      await Promise.race([this.#told.promise, received, reported]);
    } finally {
      await this.#finish(received, reported);
    }
  }

  /** Takes no more tasks, lets those in hand finish within `stopSeconds`, and gives back the rest. */
  stop(): void {
    this.#told.resolve();
  }

  #received({ Tasks: task, Stopped: stopped }: ReceiveAnswer): void {
    for (const id of stopped) this.#lost(id, "it was cancelled, or its time is over");
    if (!task) return;
    if (this.#stopping) {
      void this.#reports.send({ ID: task.ID, State: WAITING, Output: "" });
      return;
    }
    this.#lost(task.ID, "it was given back, and has come again");
    const run = new Run(task, this.#reports, this.#leaseMs);
    this.#runs.add(run);
    run.done = run.work(this.#handler).finally(() => {
      this.#runs.delete(run);
      if (!this.#stopping) this.#receiving.write(this.#credit);
    });
  }

  #lost(id: string, why: string): void {
    for (const run of this.#runs) if (run.id === id) run.lose(why);
  }

  async #finish(received: Promise<void>, reported: Promise<void>): Promise<void> {
    this.#stopping = true;
    this.#receiving.end();
    const allDone = () => Promise.all([...this.#runs].map(({ done }) => done));
    await within(this.#stopMs, allDone());
    for (const run of this.#runs) run.stop();
    await within(GRACE_MS, allDone());
    for (const run of this.#runs) run.giveBack();
    // The server ends the receive stream when it has heard of all its tasks.
    await within(GRACE_MS, Promise.allSettled([received, allDone()]));
    this.#reports.stream.end();
    await within(GRACE_MS, Promise.allSettled([reported]));
    this.#receiving.cancel();
    this.#reports.stream.cancel();
  }
}

/** Waits for a promise, but not longer than that. */
async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([promise, sleep(ms, undefined, { signal: over.signal }).catch(() => undefined)]);
  over.abort();
}
