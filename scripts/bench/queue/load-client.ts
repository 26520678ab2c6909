/** The bench's side of the processes that create tasks and work on them (load-process.ts). */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Target } from "./load.ts";

export type Command =
  | { do: "produce"; channel: string; first: number; count: number; rate?: number }
  | { do: "work"; channel: string; tasks: number }
  | { do: "stop" }
  | { do: "receivers"; channel: string; count: number };

/** Milliseconds of `now()`: before the first create, after the last answer. */
export interface Produced {
  began: number;
  ended: number;
}

/** What a worker did; by a task's number, how often it was reported, and its milliseconds from create to receive. */
export interface Worked {
  reported: number;
  began: number;
  lastReported: number;
  reports: Uint8Array;
  pickups: Float64Array;
}

type Message = { answer: Produced | Worked | undefined } | { reported: number };

const LIMIT_MS = 300_000;

export class LoadProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<never>;
  #onReported: (() => void) | undefined;
  #onAnswer: ((answer: Produced | Worked | undefined) => void) | undefined;
  /** Tasks that it has reported since it was last told to work. */
  reported = 0;

  constructor(target: Target) {
    this.#child = fork(join(import.meta.dirname, "load-process.ts"), [JSON.stringify(target)], {
      serialization: "advanced",
    });
    this.#ended = once(this.#child, "exit").then(() => {
      throw new Error(`a process of the ${target.kind} load ended`);
    });
    this.#ended.catch(() => undefined);
    this.#child.on("message", (message: Message) => {
      if ("answer" in message) {
        this.#onAnswer?.(message.answer);
      } else {
        this.reported = message.reported;
        this.#onReported?.();
      }
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Creates tasks number `first`, …; `rate` a second, or as fast as it goes. */
  produce(channel: string, count: number, { first = 0, rate }: { first?: number; rate?: number } = {}) {
    return this.#tell({ do: "produce", channel, first, count, rate }) as Promise<Produced>;
  }

  /** Resolves when the worker asks for tasks; `tasks` is above their numbers. */
  async work(channel: string, tasks: number): Promise<void> {
    this.reported = 0;
    await this.#tell({ do: "work", channel, tasks });
  }

  /** Ends the work in good order. */
  stopWork(): Promise<Worked> {
    return this.#tell({ do: "stop" }) as Promise<Worked>;
  }

  async openReceivers(channel: string, count: number): Promise<void> {
    await this.#tell({ do: "receivers", channel, count });
  }

  /** Resolves when these workers have reported so many tasks together. */
  static async reported(workers: LoadProcess[], count: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const total = () => workers.reduce((sum, worker) => sum + worker.reported, 0);
    const timer = setTimeout(() => {
      reject(new Error(`${total()} of ${count} tasks were reported in ${LIMIT_MS / 1_000} s`));
    }, LIMIT_MS);
    const check = () => {
      if (total() >= count) resolve();
    };
    for (const worker of workers) worker.#onReported = check;
    check();
    try {
      await Promise.race([promise, ...workers.map((worker) => worker.#ended)]);
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    await this.#ended.catch(() => undefined);
  }

  async #tell(command: Command): Promise<Produced | Worked | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<Produced | Worked | undefined>();
    const timer = setTimeout(() => reject(new Error(`${command.do}: no answer in ${LIMIT_MS / 1_000} s`)), LIMIT_MS);
    this.#onAnswer = resolve;
    this.#child.send(command);
    try {
      return await Promise.race([promise, this.#ended]);
    } finally {
      clearTimeout(timer);
    }
  }
}
