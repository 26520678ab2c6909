/** What processes cost, as Linux tells it in /proc. */
import { execFileSync } from "node:child_process";
import { readdir, readFile, readlink } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

const MS_PER_TICK = 1_000 / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
const SETTLE_LIMIT_SECONDS = 30;

/** Milliseconds of CPU that a process has had, all of its threads. */
export async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // The program's name comes second, in brackets, and may hold blanks.
  const [userTicks, systemTicks] = stat.slice(stat.lastIndexOf(")")).split(" ").slice(12, 14);
  return (Number(userTicks) + Number(systemTicks)) * MS_PER_TICK;
}

/** Bytes of memory that a process has. */
export function residentBytes(pid: number): Promise<number> {
  return statusBytes(pid, "VmRSS");
}

/** The most bytes of memory that a process has had at a time. */
export function peakBytes(pid: number): Promise<number> {
  return statusBytes(pid, "VmHWM");
}

async function statusBytes(pid: number, field: string): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1_024;
}

/** The process whose working directory is this one. */
export async function processIn(directory: string): Promise<number> {
  for (const pid of await readdir("/proc")) {
    const cwd = /^\d+$/.test(pid) ? await readlink(`/proc/${pid}/cwd`).catch(() => "") : "";
    if (cwd === directory) return Number(pid);
  }
  throw new Error(`no process works in ${directory}`);
}

/** Bytes of memory once they do not fall any more. */
export async function residentBytesSettled(pid: number): Promise<number> {
  let lowest = Infinity;
  for (let second = 0, unchanged = 0; second < SETTLE_LIMIT_SECONDS && unchanged < 8; second += 1, unchanged += 1) {
    await delay(1_000);
    const bytes = await residentBytes(pid);
    if (bytes < lowest * 0.995) unchanged = 0;
    lowest = Math.min(lowest, bytes);
  }
  return residentBytes(pid);
}
