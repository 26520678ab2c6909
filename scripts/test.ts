/** `npm test`: starts the servers that the tests use, runs Jest with the arguments of the command line, counts. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import path from "node:path";
import { COMPILE_CACHE } from "./node-flags.ts";
import { startServers, type Missing } from "./servers/all.ts";
import { Run, stopGroup } from "./servers/run.ts";
import type { TestCounts } from "./test-reporter.ts";

const root = path.dirname(import.meta.dirname);

/** How long Jest may take to end after its last test: what keeps it longer was left open by a test. */
const exitLimitMs = 10_000;
const runLimitMs = 30 * 60_000;

const run = new Run();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => void run.stop().finally(() => process.exit(128 + constants.signals[signal])));
}

let missing: Missing[] = [];
let counts: TestCounts = { passed: 0, failed: 0, skipped: 0 };
let ok = false;
try {
  const started = performance.now();
  const servers = await startServers(run);
  missing = servers.missing;
  console.log(`test servers: ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  if (missing.length === 0 || !process.env.CI) ({ ok, counts } = await runJest(servers.addresses));
} finally {
  await run.stop();
}

for (const { name, howToGet } of missing) console.log(`missing: ${name}: ${howToGet}`);
if (missing.length > 0) {
  console.log(
    process.env.CI ? "With CI set every server must be there: no test ran." : "Tests that need it were skipped.",
  );
}
console.log(`tests: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = ok && counts.failed === 0 && counts.passed > 0 ? 0 : 1;

async function runJest(addresses: Record<string, string>): Promise<{ ok: boolean; counts: TestCounts }> {
  // The cache is for the threads that nodes start in the tests' processes: each would compile all of its files anew.
  const nodeOptions = ["--experimental-vm-modules", "--disable-warning=ExperimentalWarning", ...COMPILE_CACHE];
  const jest = path.join(root, "node_modules/jest/bin/jest.js");
  const child = spawn(process.execPath, [...nodeOptions, jest, ...process.argv.slice(2)], {
    cwd: root,
    env: { ...process.env, ...addresses },
    detached: true,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  run.adopt(child);

  let counts: TestCounts = { passed: 0, failed: 0, skipped: 0 };
  let problem: string | undefined;
  const giveUp = (why: string) => {
    problem ??= why;
    void stopGroup(child);
  };
  void run.loss.then(giveUp);
  let limit = setTimeout(giveUp, runLimitMs, `the tests took longer than ${runLimitMs / 60_000} minutes`);
  child.on("message", (message) => {
    counts = message as TestCounts;
    clearTimeout(limit);
    limit = setTimeout(
      giveUp,
      exitLimitMs,
      `a test left something open: Jest had not ended ${exitLimitMs / 1000} s after the last test`,
    );
  });
  const [code] = (await once(child, "exit")) as [number | null];
  clearTimeout(limit);
  if (problem) {
    console.log(`failed: ${problem}`);
    counts.failed += 1;
  }
  return { ok: code === 0, counts };
}
