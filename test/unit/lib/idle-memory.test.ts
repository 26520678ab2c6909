import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { expect, test } from "@jest/globals";
import { waitFor } from "../../wait-for.ts";

const MODULE = new URL("../../../lib/idle-memory.ts", import.meta.url).href;

/** Fills its heap with what is soon garbage, rests, and says what its heap has, again and again. */
const SCRIPT = `
  import { releaseMemoryWhenIdle } from ${JSON.stringify(MODULE)};
  if (process.argv[1] === "release") releaseMemoryWhenIdle();
  let kept = Array.from({ length: 3_000_000 }, (_, number) => ({ number }));
  const tell = () => console.log(process.memoryUsage().heapTotal / 2 ** 20);
  tell();
  kept = undefined;
  setInterval(tell, 500);
`;

class Child {
  /** MiB, as it told last; 0 before. */
  heap = 0;
  readonly #process: ChildProcess;

  constructor(what: "release" | "keep") {
    const args = ["--input-type=module", "-e", SCRIPT, what];
    this.#process = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface({ input: this.#process.stdout! });
    lines.on("line", (line) => (this.heap = Number(line)));
  }

  /** MiB of all of it that is in memory, as the system sees it. */
  async resident(): Promise<number> {
    const status = await readFile(`/proc/${this.#process.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }

  stop(): void {
    this.#process.kill();
  }
}

test("a process that rests after a burst gives back what it does not need any more", async () => {
  const [releasing, keeping] = [new Child("release"), new Child("keep")];
  try {
    await waitFor(() => releasing.heap > 100 && keeping.heap > 100);
    // V8 alone does so after some 16 s.
    await waitFor(() => releasing.heap < 16);
    expect(keeping.heap).toBeGreaterThan(64);
    // Beyond the heap a process holds more or less, by what its threads did.
    await waitFor(async () => (await releasing.resident()) < (await keeping.resident()) - 64);
  } finally {
    releasing.stop();
    keeping.stop();
  }
});
