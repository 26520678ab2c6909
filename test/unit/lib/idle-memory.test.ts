import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { expect, test } from "@jest/globals";
import { waitFor } from "../../wait-for.ts";

const MODULE = new URL("../../../lib/idle-memory.ts", import.meta.url).href;

/** Fills its heap with what is soon garbage, says so, and rests. */
const SCRIPT = `
  import { releaseMemoryWhenIdle } from ${JSON.stringify(MODULE)};
  if (process.argv[1] === "release") releaseMemoryWhenIdle();
  let kept = Array.from({ length: 3_000_000 }, (_, number) => ({ number }));
  console.log(kept.length);
  kept = undefined;
  setInterval(() => undefined, 60_000);
`;

async function megabytes(pid: number): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

test("a process that rests after a burst gives back what it does not need any more", async () => {
  const children = ["release", "keep"].map((what) =>
    spawn(process.execPath, ["--input-type=module", "-e", SCRIPT, what], { stdio: ["ignore", "pipe", "inherit"] }),
  );
  const [releasing, keeping] = children.map(({ pid }) => pid!) as [number, number];
  try {
    await Promise.all(children.map(({ stdout }) => once(stdout, "data")));
    await waitFor(async () => (await megabytes(releasing)) < 100, 50_000);
    expect(await megabytes(keeping)).toBeGreaterThan(120);
  } finally {
    for (const child of children) child.kill();
  }
}, 60_000);
