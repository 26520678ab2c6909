/** A Redis for BullMQ that has written each answered command to disk, as Longshore has. */
import { findProgram } from "../../servers/command.ts";
import { freePort } from "../../servers/free-port.ts";
import type { Run } from "../../servers/run.ts";
import { processIn } from "./processes.ts";

/** Starts redis-server; undefined where there is no such program. */
export async function startRedis(run: Run): Promise<{ port: number; pid: number } | undefined> {
  const command = await findProgram("redis-server");
  if (!command) return undefined;
  const port = await freePort();
  const directory = run.makeDirectory("redis");
  const args = [
    ...["--bind", "127.0.0.1", "--port", String(port), "--dir", directory],
    ...["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
  ];
  await run.start("redis", { command, args, ready: /Ready to accept connections/ });
  return { port, pid: await processIn(directory) };
}
