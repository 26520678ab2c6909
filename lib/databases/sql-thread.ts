/** Statements are parsed in a thread: a parser may take seconds for what was written to make it, or run out of its stack. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { LongshoreError } from "../errors.ts";
import type { SqlVerdict } from "./sql-check-thread.ts";
import type { SqlToCheck } from "./sql-check.ts";

/** A long list of values of 1 MB takes less; what takes more is refused. */
const PARSE_MS = 3_000;
const START_MS = 30_000;
/** The thread holds parsers of some 50 MB. */
const IDLE_MS = 60_000;
const MAX_WAITING = 100;

let thread: Worker | undefined;
let idle: NodeJS.Timeout | undefined;
let waiting = 0;
let last: Promise<unknown> = Promise.resolve();

/** What is wrong with a statement or filter; undefined where nothing is. One after the other. */
export async function problemOf(check: SqlToCheck): Promise<string | undefined> {
  if (waiting >= MAX_WAITING) {
    throw new LongshoreError("RESOURCE_EXHAUSTED", `more than ${MAX_WAITING} statements wait to be checked`);
  }
  waiting += 1;
  const turn = last.then(() => judge(check));
  last = turn.catch(() => undefined);
  try {
    return await turn;
  } finally {
    waiting -= 1;
  }
}

async function judge(check: SqlToCheck): Promise<string | undefined> {
  clearTimeout(idle);
  thread ??= await start();
  thread.ref();
  const deadline = AbortSignal.timeout(PARSE_MS);
  try {
    const answer = once(thread, "message", { signal: deadline });
    thread.postMessage(check);
    const [verdict] = (await answer) as [SqlVerdict];
    thread.unref();
    idle = setTimeout(stop, IDLE_MS).unref();
    return verdict.problem;
  } catch (error) {
    stop();
    if (deadline.aborted) return `takes more than ${PARSE_MS / 1_000} s to parse; write it more simply`;
    if ((error as Error).name === "RangeError") return "is nested too deep, or too long a chain";
    throw error;
  }
}

async function start(): Promise<Worker> {
  const worker = new Worker(new URL("./sql-check-thread.ts", import.meta.url), {
    name: "sql-check",
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  });
  try {
    await once(worker, "message", { signal: AbortSignal.timeout(START_MS) });
    return worker;
  } catch (error) {
    void worker.terminate();
    throw error;
  }
}

function stop(): void {
  void thread?.terminate();
  thread = undefined;
}
