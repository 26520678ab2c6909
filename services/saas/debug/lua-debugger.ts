import { unavailable } from "../../../lib/errors.ts";
import { compileLua } from "../../../lib/lua/lua-wasm.ts";
import type { ScriptData, ScriptOutcome } from "./script.ts";
import { failed, LIMITS } from "./script.ts";
import { ScriptLine } from "./script-line.ts";
import { ScriptThread } from "./script-thread.ts";

export interface LuaDebuggerOptions {
  /** How many scripts run at once, each in a thread of up to 64 MB and what JavaScript takes there; 2. */
  threads?: number;
  /** Of `time.*`: an IANA name; Asia/Shanghai. */
  timeZone?: string;
  /** How many scripts may wait for a thread; 200. */
  maxWaiting?: number;
  /** The longest that a script waits for a thread; 30,000. */
  waitMs?: number;
  /** The longest that a script may take, however little of the CPU it gets; 10,000. */
  wallMs?: number;
  /** Threads without a script end after it; 60,000. */
  idleMs?: number;
}

export interface ScriptRun {
  signal: AbortSignal;
  /** Whose script it is: owners take turns. */
  owner?: string;
}

/** Runs scripts in threads, which end with those that cannot be stopped otherwise. */
export class LuaDebugger {
  readonly #timeZone: string;
  readonly #wallMs: number;
  readonly #idleMs: number;
  readonly #line: ScriptLine;
  readonly #idle: { thread: ScriptThread; timer: NodeJS.Timeout }[] = [];
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  #module: Promise<WebAssembly.Module> | undefined;

  /** RangeError where there is no such time zone. */
  constructor(options: LuaDebuggerOptions = {}) {
    const { threads = 2, timeZone = "Asia/Shanghai", maxWaiting = 200 } = options;
    const { waitMs = 30_000, wallMs = 10_000, idleMs = 60_000 } = options;
    new Intl.DateTimeFormat("en-US", { timeZone });
    this.#timeZone = timeZone;
    this.#wallMs = wallMs;
    this.#idleMs = idleMs;
    this.#line = new ScriptLine({ places: threads, maxWaiting, waitMs });
  }

  /**
   * What is wrong with the script is in the outcome. RESOURCE_EXHAUSTED where too many wait, UNAVAILABLE where it is being closed;
   * an aborted signal stops the script at once.
   */
  async run(script: string, data: ScriptData, { signal, owner = "" }: ScriptRun): Promise<ScriptOutcome> {
    if (Buffer.byteLength(script) > LIMITS.scriptBytes) {
      return failed("the script is longer than 1 MB");
    }
    await this.#line.enter(owner, signal);
    const running = this.#runInThread(script, data, AbortSignal.any([signal, this.#closing.signal]));
    this.#running.add(running);
    try {
      return await running;
    } catch (error) {
      signal.throwIfAborted();
      this.#closing.signal.throwIfAborted();
      throw error;
    } finally {
      this.#running.delete(running);
      this.#line.leave();
    }
  }

  /** Ends all threads, and the scripts in them. */
  async close(): Promise<void> {
    this.#line.close();
    this.#closing.abort(unavailable("the node is stopping"));
    await Promise.allSettled(this.#running);
    const idle = this.#idle.splice(0);
    await Promise.all(
      idle.map(({ thread, timer }) => {
        clearTimeout(timer);
        return thread.end();
      }),
    );
  }

  async #runInThread(script: string, data: ScriptData, signal: AbortSignal): Promise<ScriptOutcome> {
    const thread = await this.#thread(signal);
    try {
      return await thread.run(script, data, signal);
    } finally {
      if (thread.alive) this.#rest(thread);
    }
  }

  async #thread(signal: AbortSignal): Promise<ScriptThread> {
    for (let rested = this.#idle.pop(); rested; rested = this.#idle.pop()) {
      clearTimeout(rested.timer);
      if (rested.thread.alive) return rested.thread;
    }
    this.#module ??= compileLua();
    return ScriptThread.start({ module: await this.#module, timeZone: this.#timeZone }, this.#wallMs, signal);
  }

  #rest(thread: ScriptThread): void {
    const rested = { thread, timer: setTimeout(() => this.#retire(thread), this.#idleMs).unref() };
    this.#idle.push(rested);
  }

  #retire(thread: ScriptThread): void {
    const index = this.#idle.findIndex((rested) => rested.thread === thread);
    if (index >= 0) this.#idle.splice(index, 1);
    void thread.end();
  }
}
