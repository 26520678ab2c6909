/**
 * A worker for Longshore's task queue: receives tasks on one stream, reports on another, renews the leases of what it works
 * on, and outlives every break of either stream. Copy it, and standard.proto with it.
 */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Client, ClientDuplexStream, StatusObject } from "@grpc/grpc-js";
import { credentials, loadPackageDefinition, Metadata, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const PROTO = fileURLToPath(new URL("../../proto/standard/standard.proto", import.meta.url));

/** A task as the contract tells it; 64-bit integers are text. */
export interface Task {
  ID: string;
  Owner: string;
  Channel: string;
  HashCode: string;
  Input: string;
  RetryCount: string;
  Tags: Record<string, string>;
}

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

interface ReceiveRequest {
  Channel: string;
  LeaseSeconds: number;
  Notices: boolean;
}

interface ReceiveAnswer {
  Tasks: Task | null;
  Stopped: string[];
}

/** ReportTaskResultRequest.State. */
const SUCCESS = 1;
const FAILURE = 2;
const WAITING = 5;
const PROCEEDING = 6;

interface Result {
  State: typeof SUCCESS | typeof FAILURE | typeof WAITING;
  Output: string;
  NonRetryable?: boolean;
}

type Report = { ID: string; Logs?: string[] } & (
  Result | { State: typeof PROCEEDING; Output: string; Progress: number }
);

interface ReportAnswer {
  State: string;
  Message: string;
}

type QueuesClient = Client & {
  ReceiveQueueByChannel(metadata: Metadata): ClientDuplexStream<ReceiveRequest, ReceiveAnswer>;
  ReportTaskResult(metadata: Metadata): ClientDuplexStream<Report, ReportAnswer>;
};

/** The server refuses what is longer. */
const MAX_TEXT_BYTES = 512 * 1024;
const MAX_LINE_BYTES = 4 * 1024;
const MAX_LINES_A_REPORT = 100;
/** A task's log keeps no more on the server either. */
const MAX_LINES = 1_000;

const TICK_MS = 1_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** After an abort, what handlers have to end, and reports to be answered. */
const GRACE_MS = 2_000;

const CHANNEL_OPTIONS = {
  // A server whose machine is gone is noticed within half a minute.
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // The pauses are ours: when a stream is opened again, the connection is to be tried too.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
};

/** Works on the tasks of one channel, from `run()` until `stop()`. */
export class Worker {
  readonly #handler: Handler;
  readonly #credits: number;
  readonly #leaseMs: number;
  readonly #stopMs: number;
  readonly #credit: ReceiveRequest;
  readonly #client: QueuesClient;
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

    const { standard } = loadPackageDefinition(
      loadSync(PROTO, { keepCase: true, longs: String, defaults: true }),
    ) as unknown as { standard: { Queues: new (...args: ConstructorParameters<typeof Client>) => QueuesClient } };
    this.#client = new standard.Queues(address, credentials.createInsecure(), CHANNEL_OPTIONS);
    // Nobody else's: a report that names another worker than the one that has the task is refused.
    const metadata = new Metadata();
    metadata.set("x-worker-id", `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`);
    this.#reports = new Reports(() => this.#client.ReportTaskResult(metadata));
    this.#receiving = new LastingStream("receiving", () => this.#client.ReceiveQueueByChannel(metadata), {
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
    const reported = this.#reports.run();
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
    this.#reports.end();
    await within(GRACE_MS, Promise.allSettled([reported]));
    this.#client.close();
  }
}

/** A task in hand: its handler, its lease, and what it has to tell. */
class Run {
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

/** The report stream: what is unanswered when it breaks is sent again. */
class Reports {
  readonly #stream: LastingStream<Report, ReportAnswer>;
  /** Answers come in the order of the reports. */
  #unanswered: { report: Report; run?: Run; answered: (answer: ReportAnswer) => void }[] = [];

  constructor(open: () => ClientDuplexStream<Report, ReportAnswer>) {
    this.#stream = new LastingStream("reporting", open, {
      opened: () => this.#sendAgain(),
      message: (answer) => this.#unanswered.shift()?.answered(answer),
      broken: () => undefined,
    });
  }

  run(): Promise<void> {
    return this.#stream.run();
  }

  end(): void {
    this.#stream.end();
  }

  /** Resolves with the answer, however many streams that takes. */
  send(report: Report, run?: Run): Promise<ReportAnswer> {
    return new Promise((answered) => {
      this.#unanswered.push({ report, run, answered });
      this.#stream.write(report);
    });
  }

  /** A second report of the same result is answered like the first. Of a lost task none is sent: it may be here again. */
  #sendAgain(): void {
    const stale = this.#unanswered.filter(({ run }) => run?.isLost);
    this.#unanswered = this.#unanswered.filter(({ run }) => !run?.isLost);
    for (const { answered } of stale) answered({ State: "400", Message: "the task was lost" });
    for (const { report } of this.#unanswered) this.#stream.write(report);
  }
}

interface StreamEvents<Answer> {
  /** Also after each break. */
  opened: () => void;
  message: (answer: Answer) => void;
  broken: () => void;
}

/** A two-way stream that is opened again when it breaks, ever more slowly while that does not help. */
class LastingStream<Request, Answer> {
  readonly #name: string;
  readonly #open: () => ClientDuplexStream<Request, Answer>;
  readonly #events: StreamEvents<Answer>;
  readonly #ending = new AbortController();
  #stream: ClientDuplexStream<Request, Answer> | undefined;

  constructor(name: string, open: () => ClientDuplexStream<Request, Answer>, events: StreamEvents<Answer>) {
    this.#name = name;
    this.#open = open;
    this.#events = events;
  }

  /** Sends now, or while there is no stream not at all: `opened` sends what counts. */
  write(request: Request): void {
    this.#stream?.write(request);
  }

  /** Sends no more; `run` resolves when the server has ended the stream too. */
  end(): void {
    this.#ending.abort();
    this.#stream?.end();
  }

  /** Rejects where the server refuses what is asked of it, as it would each time. */
  async run(): Promise<void> {
    const { signal } = this.#ending;
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      const openedAt = performance.now();
      const { code, details } = await this.#once();
      if (code === status.INVALID_ARGUMENT) throw new Error(details);
      if (signal.aborted) return;
      this.#events.broken();
      if (performance.now() - openedAt > LONGEST_PAUSE_MS) pause = FIRST_PAUSE_MS;
      const wait = jittered(pause);
      console.log(`${this.#name}: ${details || "the server ended the stream"}; again in ${Math.round(wait)} ms`);
      await sleep(wait, undefined, { signal }).catch(() => undefined);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  /** Opens the stream; resolves with how it ended, after its last message. */
  #once(): Promise<Pick<StatusObject, "code" | "details">> {
    return new Promise((resolve) => {
      let status: Pick<StatusObject, "code" | "details">;
      const stream = this.#open();
      stream.on("data", this.#events.message);
      // The status says it all.
      stream.on("error", () => undefined);
      stream.on("status", (told) => (status = told));
      stream.on("end", () => {
        this.#stream = undefined;
        resolve(status);
      });
      this.#stream = stream;
      this.#events.opened();
    });
  }
}

/** So that not all the workers of a node that was away come back at the same moment. */
function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}

/** The text's beginning, in at most so many bytes of UTF-8. */
function shortened(text: string, bytes: number): string {
  return new TextDecoder().decode(Buffer.from(text).subarray(0, bytes), { stream: true });
}

/** Waits for a promise, but not longer than that. */
async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([promise, sleep(ms, undefined, { signal: over.signal }).catch(() => undefined)]);
  over.abort();
}
