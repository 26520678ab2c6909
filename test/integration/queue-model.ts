/** The life of tasks as the contract tells it, on a plain array: what the store is compared with. */

export type ModelState = "READY" | "DELAYED" | "CHAINED" | "RUNNING" | "SUCCESS" | "FAILURE" | "CANCEL";

/** Times are in milliseconds. */
export interface ModelTask {
  id: number;
  hash: string;
  channel: string;
  priority: number;
  state: ModelState;
  readyAt: number;
  availableAt?: number;
  input: string;
  output: string;
  next?: number;
  prior?: number;
  inherits: boolean;
  retryMax: number;
  retries: number;
  losses: number;
  attempts: number;
  maxRunMs?: number;
  deadline?: number;
  startTime?: number;
  endTime?: number;
  holder?: string;
  stream?: string;
  leaseMs?: number;
  leaseUntil?: number;
}

export interface ModelReport {
  state: "SUCCESS" | "FAILURE" | "CANCEL" | "RUNNING" | "READY";
  output: string;
  nonRetryable?: boolean;
  worker?: string;
}

export type NewModelTask = Pick<
  ModelTask,
  "channel" | "hash" | "priority" | "input" | "retryMax" | "maxRunMs" | "deadline" | "next"
> & { delayMs: number };

export type ChannelStatus = "ACTIVE" | "PAUSED" | "DRAINING";

/** What is behind a task in its chain is looked at afterwards. */
const LATER = "LATER";

/** In place of the random back-off. */
export const RETRY_DELAYS_MS = [1_000, 3_000];

/** In place of chance after losses. */
export const LOSS_RANDOM = 0.6;

export class QueueModel {
  readonly tasks: ModelTask[] = [];
  readonly #status = new Map<string, ChannelStatus>();
  readonly #maxLost: number;
  now: number;

  constructor(now: number, maxLost: number) {
    this.now = now;
    this.#maxLost = maxLost;
  }

  task(id: number): ModelTask {
    const found = this.tasks.find((task) => task.id === id);
    if (!found) throw new Error(`the model has no task ${id}`);
    return found;
  }

  setStatus(channel: string, status: ChannelStatus): void {
    this.#status.set(channel, status);
  }

  /** Whether the create is to be taken. */
  accepts({ channel, next }: NewModelTask): boolean {
    if (this.#status.get(channel) === "DRAINING") return false;
    if (next === undefined) return true;
    const { state, prior } = this.task(next);
    return state !== "FAILURE" && state !== "CANCEL" && prior === undefined;
  }

  create(id: number, { delayMs, next, ...rest }: NewModelTask): void {
    const { now } = this;
    const task: ModelTask = {
      ...rest,
      id,
      state: next !== undefined ? "CHAINED" : delayMs > 0 ? "DELAYED" : "READY",
      readyAt: now + delayMs,
      output: "",
      inherits: next !== undefined && rest.input === "",
      retries: 0,
      losses: 0,
      attempts: 0,
    };
    if (delayMs > 0) task.availableAt = now + delayMs;
    this.tasks.push(task);
    if (next === undefined) return;
    task.next = next;
    const predecessor = this.task(next);
    predecessor.prior = id;
    if (predecessor.state === "SUCCESS") this.#follow(task, predecessor);
  }

  /** What can be received now, in its order. */
  claimable(channel: string): ModelTask[] {
    if (this.#status.get(channel) === "PAUSED") return [];
    return this.tasks
      .filter((task) => task.channel === channel && task.state === "READY")
      .sort((left, right) => right.priority - left.priority || left.readyAt - right.readyAt || left.id - right.id);
  }

  claim(task: ModelTask, holder: string, stream: string, leaseMs: number): void {
    const { now } = this;
    const attempts = task.attempts + 1;
    Object.assign(task, { state: "RUNNING", attempts, holder, stream, leaseMs, startTime: now });
    task.leaseUntil = this.#leaseEnd(task);
  }

  /** Takes the report, or answers false where it is to be refused. */
  report(task: ModelTask, { state, output, nonRetryable, worker }: ModelReport): boolean {
    if (isOver(task)) return task.state === state && task.output === output;
    const waitsForRetry = task.state === "DELAYED" && task.readyAt === task.availableAt;
    if (waitsForRetry && state === "FAILURE" && task.output === output) return true;
    if (task.state !== "RUNNING" || this.now > (task.startTime ?? 0) + (task.maxRunMs ?? Infinity)) return false;
    if (worker !== undefined && worker !== task.holder) return false;
    if (state === "RUNNING") Object.assign(task, { output, leaseUntil: this.#leaseEnd(task) });
    else if (state === "READY") this.#wait(task, "READY");
    else if (state === "FAILURE" && !nonRetryable) this.#failAttempt(task, output);
    else this.#end(task, state, output);
    return true;
  }

  loseStream(stream: string): void {
    for (const task of this.tasks) {
      if (task.state === "RUNNING" && task.stream === stream) this.#lose(task, "the stream of its worker broke");
    }
  }

  /** One round of what time does, to all tasks at once: what is behind those that end in their chains comes after that. */
  reap(): void {
    const open = this.tasks.filter((task) => !isOver(task));
    for (const task of open) {
      if (task.state !== "DELAYED" || (task.availableAt ?? 0) >= this.now) continue;
      delete task.availableAt;
      this.#wait(task, "READY");
    }
    for (const task of open) {
      if (task.state !== "RUNNING" || (task.leaseUntil ?? 0) >= this.now) continue;
      if (task.maxRunMs === undefined || this.now < (task.startTime ?? 0) + task.maxRunMs) {
        this.#lose(task, "its lease ran out", LATER);
      } else {
        this.#failAttempt(task, `the attempt took longer than ${task.maxRunMs / 1_000} seconds (MaxRunSeconds)`, LATER);
      }
    }
    for (const task of open) {
      if (isOver(task) || (task.deadline ?? Infinity) >= this.now) continue;
      const deadline = new Date(task.deadline ?? 0).toISOString();
      this.#end(task, "FAILURE", `the task had not ended by its deadline, ${deadline}`, LATER);
    }
    for (const task of open) if (isOver(task)) this.#settle(task);
  }

  /** Answers what it cancelled; none where it is to be refused. */
  cancel(task: ModelTask): number[] {
    if (isOver(task)) return [];
    return [task.id, ...this.#end(task, "CANCEL", task.output)];
  }

  /** Answers how many it cancelled, those behind what it found included. */
  purge(channel: string): number {
    let count = 0;
    for (const state of ["READY", "DELAYED", "CHAINED"]) {
      const found = this.tasks.filter((task) => task.channel === channel && task.state === state);
      count += found.length;
      for (const task of found) task.state = "CANCEL";
      for (const task of found) count += this.#end(task, "CANCEL", "purged from its channel").length;
    }
    return count;
  }

  /** False where it is to be refused. */
  redrive(task: ModelTask): boolean {
    if (task.state !== "FAILURE") return false;
    Object.assign(task, { readyAt: this.now, retries: 0, losses: 0, output: "" });
    delete task.endTime;
    this.#wait(task, "READY");
    return true;
  }

  /** Answers how many. */
  redriveAll(channel: string): number {
    return this.tasks.filter((task) => task.channel === channel && this.redrive(task)).length;
  }

  #leaseEnd({ leaseMs = 0, startTime = 0, maxRunMs = Infinity }: ModelTask): number {
    return Math.min(this.now + leaseMs, startTime + maxRunMs);
  }

  #wait(task: ModelTask, state: "READY" | "DELAYED"): void {
    task.state = state;
    release(task);
  }

  #failAttempt(task: ModelTask, output: string, chain?: typeof LATER): void {
    if (task.retries >= task.retryMax) {
      this.#end(task, "FAILURE", output, chain);
      return;
    }
    task.availableAt = this.now + (RETRY_DELAYS_MS[Math.min(task.retries, RETRY_DELAYS_MS.length - 1)] ?? 0);
    task.readyAt = task.availableAt;
    task.retries += 1;
    task.output = output;
    this.#wait(task, "DELAYED");
  }

  #lose(task: ModelTask, why: string, chain?: typeof LATER): void {
    task.losses += 1;
    const output = `lost ${task.losses} times (MAX_LOST ${this.#maxLost}), the last time: ${why}`;
    if (task.losses >= this.#maxLost) {
      this.#end(task, "FAILURE", output, chain);
    } else if (task.losses === 1) {
      this.#wait(task, "READY");
    } else {
      task.availableAt = this.now + Math.floor(LOSS_RANDOM * 1_000 * 2 ** (task.losses - 2));
      this.#wait(task, "DELAYED");
    }
  }

  /** Answers the tasks behind it that it cancels. */
  #end(
    task: ModelTask,
    state: "SUCCESS" | "FAILURE" | "CANCEL",
    output: string,
    chain: "NOW" | typeof LATER = "NOW",
  ): number[] {
    Object.assign(task, { state, output, endTime: this.now });
    release(task);
    delete task.availableAt;
    delete task.deadline;
    return chain === LATER ? [] : this.#settle(task);
  }

  #settle(ended: ModelTask): number[] {
    return ended.prior === undefined ? [] : this.#follow(this.task(ended.prior), ended);
  }

  #follow(task: ModelTask, predecessor: ModelTask): number[] {
    if (task.state !== "CHAINED") {
      // What was cancelled by itself may have others behind it that are yet to be.
      if (task.state !== "CANCEL" || task.prior === undefined) return [];
      return this.#follow(this.task(task.prior), task);
    }
    if (predecessor.state !== "SUCCESS") {
      const why = `task ${predecessor.id}, which comes before it, ended ${predecessor.state}`;
      return [task.id, ...this.#end(task, "CANCEL", why)];
    }
    if (task.inherits) task.input = predecessor.output;
    if ((task.availableAt ?? 0) > this.now) {
      Object.assign(task, { state: "DELAYED", readyAt: task.availableAt });
    } else {
      Object.assign(task, { state: "READY", readyAt: this.now });
      delete task.availableAt;
    }
    return [];
  }
}

function isOver({ state }: ModelTask): boolean {
  return state === "SUCCESS" || state === "FAILURE" || state === "CANCEL";
}

function release(task: ModelTask): void {
  delete task.holder;
  delete task.stream;
  delete task.leaseMs;
  delete task.leaseUntil;
}
