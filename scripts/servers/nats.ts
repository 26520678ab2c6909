import { aptInstall } from "./apt.ts";
import { findProgram } from "./command.ts";
import { freePort } from "./free-port.ts";
import type { Run } from "./run.ts";

/** Starts nats-server and answers its URL; undefined where there is no such program. */
export async function startNats(run: Run): Promise<string | undefined> {
  let command = await findProgram("nats-server");
  if (!command && (await aptInstall("nats-server"))) command = await findProgram("nats-server");
  if (!command) return undefined;

  const port = await freePort();
  const args = ["--addr", "127.0.0.1", "--port", String(port)];
  await run.start("nats-server", { command, args, ready: /Server is ready/ });
  return `nats://127.0.0.1:${port}`;
}
