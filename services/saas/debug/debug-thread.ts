import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { Sandbox, threadCpuMs } from "./sandbox.ts";
import type { ScriptData, ScriptOutcome } from "./script.ts";

export interface DebugThreadStart {
  module: WebAssembly.Module;
  timeZone: string;
}

export interface ToDebugThread {
  script: string;
  data: ScriptData;
}

/** Once without an outcome, when the thread can be used; then one for each script. */
export interface FromDebugThread {
  outcome?: ScriptOutcome;
  /** What the thread has had of the CPU, in milliseconds. */
  cpuMs: number;
}

const port = parentPort!;
// The node's own work goes before. On Linux this is the thread's priority, elsewhere it would be the whole process's.
if (process.platform === "linux") setPriority(constants.priority.PRIORITY_LOW);
const { module, timeZone } = workerData as DebugThreadStart;
const sandbox = new Sandbox(module, timeZone);
port.on("message", ({ script, data }: ToDebugThread) => {
  const outcome = sandbox.run(script, data);
  port.postMessage({ outcome, cpuMs: threadCpuMs() } satisfies FromDebugThread);
});
port.postMessage({ cpuMs: threadCpuMs() } satisfies FromDebugThread);
