/** One attempt at a task. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Report, Result, Task } from "./contract.ts";
import { FAILURE, PROCEEDING, SUCCESS, WAITING } from "./contract.ts";
import type { Reports } from "./streams.ts";
import { FIRST_PAUSE_MS, jittered, LONGEST_PAUSE_MS } from "./streams.ts";

/** What a handler has beside its task. */
export interface Control {
  /** Aborts when the task is not this worker's any more, and when the worker must stop: a handler that throws then is right. */
  signal: AbortSignal;
  /** Says how far the task is: percent, and what else is worth telling. Sent within a second. */
  progress(percent: number, detail?: string): void;
  /** Adds a line to the task's log. Sent within a second; after a break of the connection a line may be there twice. */
  log(line: string): void;
}

/**
 * Works on a task and answers its output. What it throws ends the attempt as a failure. The same task may come again, here or
 * elsewhere, after a break: what it does must bear being done twice.
 */
export type Handler = (task: Task, control: Control) => Promise<string>;

/** Thrown by a handler: the task fails for good, whatever retries it has left. */
export class NonRetryableError extends Error {}

/** The server refuses what is longer. */
const MAX_TEXT_BYTES = 512 * 1024;
const MAX_LINE_BYTES = 4 * 1024;
const MAX_LINES_A_REPORT = 100;
/** A task's log keeps no more on the server either. */
const MAX_LINES = 1_000;

/** Progress and log lines are sent at most this often. */
const TICK_MS = 1_000;

/** A task in hand: its handler, its lease, and what it has to tell. */
export class Run {
  readonly id: string;
  done: Promise<void> = Promise.resolve();
  readonly #task: Task;
  readonly #reports: Reports;
  readonly #leaseMs: number;
  readonly #controller = new AbortController();
  readonly #givenBack = Promise.withResolvers<Result>();
  #working = true;
  #lost = false;
  #stopping = false;
  #percent = 0;
  #detail = "";
  #lines: string[] = [];
  #news = false;
  #renewing = false;
  #renewedAt = performance.now();

  constructor(task: Task, reports: Reports, leaseMs: number) {
    this.id = task.ID;
    this.#task = task;
    this.#reports = reports;
    this.#leaseMs = leaseMs;
  }

  /** Resolves when the end of the task is reported, or nobody's business any more. */
  async work(handler: Handler): Promise<void> {
    const timer = setInterval(() => this.#tick(), Math.min(TICK_MS, this.#leaseMs / 3));
    const result = await Promise.race([this.#attempt(handler), this.#givenBack.promise]);
    clearInterval(timer);
    this.#working = false;
    if (this.#lost) return;
    while (this.#lines.length > MAX_LINES_A_REPORT) void this.#reports.send(this.#renewal(), this);
    const report = { ID: this.id, ...result, Logs: this.#lines.splice(0) };
    for (let pause = FIRST_PAUSE_MS; !this.#lost; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      const { State, Message } = await this.#reports.send(report, this);
      if (Number(State) < 500) {
        if (State !== "200" && !this.#lost) console.log(`task ${this.id}: its end was refused: ${Message}`);
        return;
      }
      await sleep(jittered(pause));
    }
  }

  /** The task is not this worker's any more: nothing is reported. */
  lose(why: string): void {
    this.#lost = true;
    if (this.#working) this.#controller.abort(new Error(why));
  }

  get isLost(): boolean {
    return this.#lost;
  }

  /** The handler is to end; a task that it does not complete is given back. */
  stop(): void {
    this.#stopping = true;
    if (this.#working) this.#controller.abort(new Error("the worker stops"));
  }

  /** Gives the task back, though its handler has not ended. */
  giveBack(): void {
    this.#givenBack.resolve({ State: WAITING, Output: "" });
  }

  /** Renews the lease, and tells the progress and the log with it. */
  async renew(): Promise<void> {
    if (this.#renewing || !this.#working) return;
    this.#renewing = true;
    this.#news = false;
    const sentAt = performance.now();
    const { State, Message } = await this.#reports.send(this.#renewal(), this);
    this.#renewing = false;
    if (State === "200") this.#renewedAt = sentAt;
    else if (Number(State) < 500) this.lose(Message);
  }

  #renewal(): Report {
    const Logs = this.#lines.splice(0, MAX_LINES_A_REPORT);
    return { ID: this.id, State: PROCEEDING, Output: this.#detail, Progress: this.#percent, Logs };
  }

  #tick(): void {
    const age = performance.now() - this.#renewedAt;
    if (age > this.#leaseMs) this.lose("its lease has run out, for the server could not be reached");
    else if (this.#news || age > this.#leaseMs / 3) void this.renew();
  }

  async #attempt(handler: Handler): Promise<Result> {
    try {
      const Output = (await handler(this.#task, this.#control())).toWellFormed();
      const bytes = Buffer.byteLength(Output);
      if (bytes > MAX_TEXT_BYTES) throw new NonRetryableError(`the output of ${bytes} bytes is too long`);
      return { State: SUCCESS, Output };
    } catch (error) {
      if (this.#stopping) return { State: WAITING, Output: "" };
      const message = error instanceof Error ? error.message : String(error);
      const NonRetryable = error instanceof NonRetryableError;
      return { State: FAILURE, Output: shortened(message, MAX_TEXT_BYTES), NonRetryable };
    }
  }

  #control(): Control {
    return {
      signal: this.#controller.signal,
      progress: (percent, detail = "") => {
        this.#percent = Math.max(0, Math.min(100, Math.floor(percent)));
        this.#detail = shortened(detail, MAX_TEXT_BYTES);
        this.#news = true;
      },
      log: (line) => {
        this.#lines.push(shortened(line, MAX_LINE_BYTES));
        if (this.#lines.length > MAX_LINES) this.#lines.shift();
        this.#news = true;
      },
    };
  }
}

/** The text's beginning, in at most so many bytes of UTF-8. */
function shortened(text: string, bytes: number): string {
  return new TextDecoder().decode(Buffer.from(text).subarray(0, bytes), { stream: true });
}
