/**
 * Makes a service work on the tasks of a channel: the service declares the channel and a handler; claiming, renewing the
 * lease, cancelling, taking over from a dead node and stopping in good order are done here. Moleculer calls only, so the
 * worker runs on any node.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Context, Service, ServiceSchema } from "moleculer";
import { configOf } from "../lib/config.ts";
import type { ErrorType } from "../lib/errors.ts";
import { unavailable, viewError } from "../lib/errors.ts";
import type { ProtoSource } from "../lib/protobuf/proto-source.ts";
import { readProto } from "../lib/protobuf/proto-source.ts";

/** How much is done, and how much there is, in what the job counts: rows, files; 0: not known. */
export interface Units {
  done: number;
  total: number;
}

/** A task as a handler gets it. */
export interface Job {
  id: number;
  hash: string;
  input: string;
  /** 1 for the first attempt; more where an earlier one failed or its node died. */
  attempt: number;
  /** Aborts when the task is cancelled, when another node has it, or when this node must stop. */
  signal: AbortSignal;
  /** Tells how far the job is: percent, and what else is worth telling. Sent with the next renewal, within a second. */
  progress(percent: number, detail: string, units?: Units): void;
}

export interface WorkerDeclaration {
  channel: string;
  /** Jobs at once on this node. */
  concurrency: (service: Service) => number;
  /** How long a task stays with a node that is not heard of, in seconds. */
  leaseSeconds: number;
  /**
   * Does the job and answers its output. What it throws ends the task FAILURE with the error's message, or gives it back
   * where the signal was aborted because the node stops.
   */
  handler: (service: Service, job: Job) => Promise<string>;
  /** How its tasks look as operations; without it as those of clients do, with the output as it is. */
  operation?: OperationDeclaration;
  /** Takes back what a job has made whose output nobody wants: as it ended, it was cancelled or given to another node. */
  undo?: (service: Service, output: string) => Promise<void>;
}

export interface OperationDeclaration {
  /** File under `proto/`, or an absolute path. */
  proto: string;
  /** The message in that file that the operation of a task that succeeded holds: `longshore.v1.ExportResult`. */
  response: string;
  /**
   * Action within the service that is given `{tasks}`, TaskViews without inputs, and answers an `OperationDetail` for each, in
   * their order.
   */
  describe: string;
}

/** What a service tells of one of its tasks as an operation. */
export interface OperationDetail {
  message?: string;
  /** Of a task that succeeded: the response, fields as in the proto; a Timestamp as RFC 3339 text. */
  response?: Record<string, unknown>;
}

/** What other services can see: the channels that a service works on. */
export interface WorkerSettings {
  workers?: Record<string, { leaseSeconds: number; operation?: OperationBinding }>;
}

/** How the tasks of a channel look as operations, with the contract itself. */
export interface OperationBinding {
  response: string;
  describe: string;
  files: ProtoSource;
}

/** What queues.receive tells of a task. */
interface ClaimedTask {
  id: number;
  hash: string;
  input: string;
  attempts: number;
}

interface Running {
  id: number;
  controller: AbortController;
  done: Promise<void>;
}

interface WorkerService {
  workers: Worker[];
}

type This = Service & WorkerService;

const MAX_RECEIVE_WAIT_MS = 20_000;
/** Progress is stored at most this often. */
const PROGRESS_MS = 1_000;
/** How long it is tried to report the end of a task. */
const REPORT_MS = 10 * 60_000;
/** Of the stop timeout, what running jobs get to finish; the rest is for giving them back. */
const FINISH_SHARE = 0.5;

/** A mixin; a service may have several. */
export function worker(declaration: WorkerDeclaration): Partial<ServiceSchema> {
  const mixin: Partial<ServiceSchema<WorkerSettings, object, object, This>> = {
    settings: { workers: { [declaration.channel]: settingsOf(declaration) } },

    events: {
      "queues.ended"(this: This, ctx: Context<{ tasks: { id: number }[] }>) {
        for (const { id } of ctx.params.tasks) for (const one of this.workers ?? []) one.ended(id);
      },

      /** Takes no more tasks; finishes those in hand or gives them back. */
      async "$node.draining"(this: This) {
        await Promise.all((this.workers ?? []).map((one) => one.stop()));
      },
    },

    started(this: This) {
      const one = new Worker(this, declaration);
      this.workers = [...(this.workers ?? []), one];
      one.start();
    },

    async stopped(this: This) {
      await Promise.all((this.workers ?? []).map((one) => one.stop()));
    },
  };
  return mixin as unknown as Partial<ServiceSchema>;
}

function settingsOf({ leaseSeconds, operation }: WorkerDeclaration): {
  leaseSeconds: number;
  operation?: OperationBinding;
} {
  if (!operation) return { leaseSeconds };
  const { proto, response, describe } = operation;
  return { leaseSeconds, operation: { response, describe, files: readProto(proto) } };
}

class Worker {
  readonly #service: Service;
  readonly #declaration: WorkerDeclaration;
  readonly #name: string;
  readonly #running = new Set<Running>();
  readonly #receiving = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;
  /** Resolves when a job has ended. */
  #freed: () => void = () => undefined;

  constructor(service: Service, declaration: WorkerDeclaration) {
    this.#service = service;
    this.#declaration = declaration;
    // Another name after each start: a node that comes back is not taken for the one that held the lease.
    this.#name = `${service.broker.instanceID}/${declaration.channel}`;
  }

  start(): void {
    this.#loop = this.#receive();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** A task ended: where it is one in hand that we did not end ourselves, it was cancelled. */
  ended(id: number): void {
    this.#abort(id, "the task was cancelled");
  }

  #abort(id: number, why: string): void {
    for (const running of this.#running) if (running.id === id) running.controller.abort(new Error(why));
  }

  async #receive(): Promise<void> {
    const { channel, concurrency, leaseSeconds } = this.#declaration;
    const leaseMs = leaseSeconds * 1_000;
    // When the leases of a node that died run out, its waiting receivers must be gone: they would take the tasks again.
    const waitMs = Math.min(MAX_RECEIVE_WAIT_MS, leaseMs / 3);
    const { signal } = this.#receiving;
    let pause = 100;
    while (!signal.aborted) {
      const free = concurrency(this.#service) - this.#running.size;
      if (free <= 0) {
        await new Promise<void>((resolve) => {
          this.#freed = resolve;
        });
        continue;
      }
      const params = { channel, max: free, waitMs, leaseMs, worker: this.#name };
      try {
        this.#checkReady();
        const options = { signal, timeout: waitMs + 10_000 };
        const tasks = await this.#service.broker.call<ClaimedTask[], object>("queues.receive", params, options);
        pause = 100;
        for (const task of tasks) this.#run(task);
      } catch (error) {
        if (signal.aborted) return;
        // queues is not there yet, or its node is going: try again, ever more slowly.
        this.#service.logger.debug(`${channel}: cannot receive tasks: ${viewError(error).message}`);
        await sleep(pause * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
        pause = Math.min(pause * 2, 5_000);
      }
    }
  }

  /** Throws where no task can be had yet, or none be worked on: a handler may need what its service's `started` makes. */
  #checkReady(): void {
    const { broker, fullName } = this.#service;
    if (!broker.registry.hasService(fullName, broker.nodeID)) throw unavailable(`${fullName} has not started yet`);
    if (!broker.registry.actions.isAvailable("queues.receive")) throw unavailable("no node offers queues");
  }

  #run(task: ClaimedTask): void {
    this.#abort(task.id, "the task was lost, and has come again");
    const controller = new AbortController();
    const running: Running = { id: task.id, controller, done: Promise.resolve() };
    this.#running.add(running);
    running.done = this.#work(task, controller).finally(() => {
      this.#running.delete(running);
      this.#freed();
    });
  }

  async #work(task: ClaimedTask, controller: AbortController): Promise<void> {
    const { channel, leaseSeconds } = this.#declaration;
    const renew = (renewed: Said, timeout: number) => this.#tell(task, renewed, timeout);
    const renewal = new Renewal(leaseSeconds, renew, controller);
    const said = await this.#attempt(task, controller.signal, renewal);
    await renewal.stop();
    if (!said) return;
    try {
      await this.#report(task, said);
    } catch (error) {
      // Refused: it was cancelled, or is another node's. Not delivered: after the lease another node does it again.
      this.#service.logger.warn(`${channel}: the end of task ${task.hash} could not be reported`, error);
      if (said.state === "SUCCESS" && isRefusal(error)) await this.#undo(task, said.output);
    }
  }

  async #undo({ hash }: ClaimedTask, output: string): Promise<void> {
    const { undo, channel } = this.#declaration;
    try {
      await undo?.(this.#service, output);
    } catch (error) {
      this.#service.logger.warn(`${channel}: what task ${hash} made could not be taken back`, error);
    }
  }

  /** What the handler made of the task; undefined where that is nobody's business any more. */
  async #attempt(
    { id, hash, input, attempts }: ClaimedTask,
    signal: AbortSignal,
    renewal: Renewal,
  ): Promise<Said | undefined> {
    const { handler, channel } = this.#declaration;
    const progress: Job["progress"] = (...said) => renewal.say(...said);
    try {
      const output = await handler(this.#service, { id, hash, input, attempt: attempts, signal, progress });
      return { state: "SUCCESS", output, units: renewal.units };
    } catch (error) {
      if (signal.reason instanceof StopSignal) return { state: "READY", output: "" };
      if (signal.aborted) return undefined;
      this.#service.logger.warn(`${channel}: task ${hash} failed`, error);
      return { state: "FAILURE", output: failReason(error), errorType: viewError(error).type };
    }
  }

  async #tell({ id, attempts }: ClaimedTask, said: Said, timeout?: number): Promise<void> {
    const params = { id, ...said, worker: this.#name, attempt: attempts };
    await this.#service.broker.call("queues.report", params, timeout === undefined ? {} : { timeout });
  }

  /** Tells the end of a task, again where that did not get through: what took an hour is not to be done again for an outage at its end. */
  async #report(task: ClaimedTask, said: Said): Promise<void> {
    const until = performance.now() + REPORT_MS;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#tell(task, said);
      } catch (error) {
        const { type } = viewError(error);
        const passing = type === "UNAVAILABLE" || type === "DEADLINE_EXCEEDED" || type === "RESOURCE_EXHAUSTED";
        const enough = this.#receiving.signal.aborted ? attempt >= 5 : performance.now() > until;
        if (!passing || enough) throw error;
        await sleep(Math.min(200 * 2 ** attempt, 5_000) * (0.5 + Math.random()));
      }
    }
  }

  async #stop(): Promise<void> {
    this.#receiving.abort();
    this.#freed();
    await this.#loop;
    const running = [...this.#running];
    if (running.length === 0) return;
    const finish = configOf(this.#service.broker).stopTimeout * FINISH_SHARE;
    const timer = setTimeout(() => {
      for (const { controller } of running) controller.abort(new StopSignal());
    }, finish);
    await Promise.all(running.map(({ done }) => done));
    clearTimeout(timer);
  }
}

/** Why a job is told to stop when its node stops: the task goes back. */
class StopSignal extends Error {
  constructor() {
    super("the node stops");
  }
}

/** What a worker reports of a task. */
interface Said {
  state: "RUNNING" | "READY" | "SUCCESS" | "FAILURE";
  output: string;
  /** Percent. */
  progress?: number;
  units?: Units;
  errorType?: ErrorType;
}

/** Renews a lease and carries the progress, one report at a time. */
class Renewal {
  readonly #report: (said: Said, timeout: number) => Promise<void>;
  readonly #controller: AbortController;
  readonly #every: number;
  #percent = 0;
  #detail = "";
  /** As told last. */
  units: Units | undefined;
  #changed = false;
  #sentAt = Date.now();
  #timer: NodeJS.Timeout;
  #sending: Promise<void> | undefined;

  constructor(
    leaseSeconds: number,
    report: (said: Said, timeout: number) => Promise<void>,
    controller: AbortController,
  ) {
    this.#report = report;
    this.#controller = controller;
    this.#every = (leaseSeconds * 1_000) / 3;
    this.#timer = setInterval(() => this.#tick(), Math.min(PROGRESS_MS, this.#every));
  }

  say(percent: number, detail: string, units?: Units): void {
    this.units = units;
    this.#percent = Math.max(0, Math.min(100, Math.floor(percent)));
    this.#detail = detail;
    this.#changed = true;
  }

  /** Resolves when nothing is on its way any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sending;
  }

  #tick(): void {
    if (this.#sending || (!this.#changed && Date.now() - this.#sentAt < this.#every)) return;
    this.#changed = false;
    this.#sentAt = Date.now();
    this.#sending = this.#send().finally(() => (this.#sending = undefined));
  }

  async #send(): Promise<void> {
    try {
      const said = { output: this.#detail, progress: this.#percent, units: this.units };
      await this.#report({ state: "RUNNING", ...said }, this.#every);
    } catch (error) {
      // Refused: the task was cancelled, or another node has it. Anything else: the next renewal may get through.
      if (isRefusal(error)) this.#controller.abort(new Error(viewError(error).message));
    }
  }
}

/** Whether a report did get through, and was not taken: the task has ended, or is somebody else's. */
function isRefusal(error: unknown): boolean {
  return ["FAILED_PRECONDITION", "NOT_FOUND"].includes(viewError(error).type);
}

/** What a failed job tells its owner: the messages of our own errors; of a fault, that it was one. */
function failReason(error: unknown): string {
  return viewError(error).message;
}
