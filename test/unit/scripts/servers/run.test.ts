import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { access } from "node:fs/promises";
import { Run } from "../../../../scripts/servers/run.ts";

let run: Run;
beforeEach(() => void (run = new Run()));
afterEach(() => run.stop());

/** Starts a shell that is ready at once and then does what the script says. */
async function startShell(script: string): Promise<void> {
  const args = ["-c", `echo ready; ${script}`];
  await run.start("server", { command: "sh", args, ready: /ready/, fatal: /^fatal/m });
}

test("a server that ends during the run is lost, and what it printed last is told", async () => {
  await startShell("echo no space left; sleep 0.2; exit 14");
  expect(await run.loss).toBe("server: lost during the run: ended with code 14; its last lines:\nready\nno space left");
});

test("a server that prints that it crashes is lost though its process lives on", async () => {
  await startShell("sleep 0.2; echo fatal: access violation; exec sleep 60");
  expect(await run.loss).toContain("lost during the run: crashed");
  expect(await run.loss).toContain("fatal: access violation");
});

test("the end of the run loses no server and removes its directory", async () => {
  await startShell("exec sleep 60");
  let lost = false;
  void run.loss.then(() => (lost = true));
  await run.stop();
  expect(lost).toBe(false);
  expect(run.signal.aborted).toBe(true);
  await expect(access(run.directory)).rejects.toThrow("ENOENT");
});

test("a server that ends before it is ready fails to start, and what it printed is told", async () => {
  const args = ["-c", "echo bad option >&2; sleep 0.2; exit 2"];
  const start = run.start("server", { command: "sh", args, ready: /ready/ });
  await expect(start).rejects.toThrow("server: ended with code 2; its last lines:\nbad option");
});
