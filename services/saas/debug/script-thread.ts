import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { unavailable } from "../../../lib/errors.ts";
import type { DebugThreadStart, FromDebugThread, ToDebugThread } from "./debug-thread.ts";
import type { ScriptData, ScriptOutcome } from "./script.ts";
import { failed, LIMITS, TOO_LONG, TOO_MUCH } from "./script.ts";

const START_MS = 30_000;

/** How often a script that is over its time is looked at from outside. */
const LOOK_MS = 100;

/** JavaScript's part of the thread; the memory of Lua is not in it. */
const HEAP_MB = 64;

/** A thread that runs scripts one after the other. It has ended where `alive` is false. */
export class ScriptThread {
  readonly #worker: Worker;
  readonly #wallMs: number;
  #cpuMs = 0;
  alive = true;

  private constructor(worker: Worker, wallMs: number) {
    this.#worker = worker;
    this.#wallMs = wallMs;
    // Who waits for a script hears of it; what happens between scripts only ends the thread.
    worker.on("error", () => (this.alive = false));
    worker.on("exit", () => (this.alive = false));
  }

  /** A script may take `wallMs` however little of the CPU the node leaves it. */
  static async start(start: DebugThreadStart, wallMs: number, signal: AbortSignal): Promise<ScriptThread> {
    const worker = new Worker(new URL("./debug-thread.ts", import.meta.url), {
      name: "saas-debug",
      workerData: start,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB, maxYoungGenerationSizeMb: 8 },
    });
    const thread = new ScriptThread(worker, wallMs);
    try {
      await thread.#answer(AbortSignal.any([signal, AbortSignal.timeout(START_MS)]));
      return thread;
    } catch (error) {
      await thread.end();
      signal.throwIfAborted();
      throw unavailable("no thread for scripts could be started", error);
    }
  }

  /** Aborting ends the thread at once, as does a script that its sandbox cannot stop. */
  async run(script: string, data: ScriptData, signal: AbortSignal): Promise<ScriptOutcome> {
    const over = new AbortController();
    const watch = this.#watch(over.signal);
    this.#worker.ref();
    try {
      const answer = this.#answer(AbortSignal.any([signal, over.signal]));
      this.#worker.postMessage({ script, data } satisfies ToDebugThread);
      const ended = await Promise.race([answer, watch]);
      if (typeof ended !== "string") return ended.outcome!;
      await this.end();
      return failed(ended);
    } catch (error) {
      await this.end();
      if ((error as NodeJS.ErrnoException).code === "ERR_WORKER_OUT_OF_MEMORY") return failed(TOO_MUCH);
      throw error;
    } finally {
      over.abort();
      this.#worker.unref();
    }
  }

  async end(): Promise<void> {
    this.alive = false;
    await this.#worker.terminate();
  }

  async #answer(signal: AbortSignal): Promise<FromDebugThread> {
    const [answer] = (await once(this.#worker, "message", { signal })) as [FromDebugThread];
    this.#cpuMs = answer.cpuMs;
    return answer;
  }

  /** Says why the script has to be ended: functions of Lua that work for long without an instruction see no clock. */
  async #watch(signal: AbortSignal): Promise<string> {
    const started = performance.now();
    const before = this.#cpuMs;
    try {
      await delay(LIMITS.cpuMs + LOOK_MS, undefined, { signal });
      for (;;) {
        const wall = performance.now() - started;
        if (wall > this.#wallMs) return `the script took more than ${this.#wallMs / 1_000} s`;
        const cpu = await Promise.race([this.#cpu(), delay(this.#wallMs - wall, Infinity, { signal })]);
        if (cpu - before > LIMITS.cpuMs + LOOK_MS) return TOO_LONG;
        await delay(LOOK_MS, undefined, { signal });
      }
    } catch {
      // The script has ended, and nobody waits for this any longer.
      return "";
    }
  }

  /** Milliseconds; without bounds where Node cannot tell (before 24.6), which leaves the time alone to count. */
  async #cpu(): Promise<number> {
    if (!this.#worker.cpuUsage) return Infinity;
    const { user, system } = await this.#worker.cpuUsage();
    return (user + system) / 1_000;
  }
}
