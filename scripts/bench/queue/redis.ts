/** A Redis for BullMQ that answers a command when it is on disk, as Longshore does. */
import { findProgram } from "../../servers/command.ts";
import { freePort } from "../../servers/free-port.ts";
import type { Run } from "../../servers/run.ts";
import { MissingProgram } from "./missing-program.ts";
import { processIn } from "./processes.ts";

export interface Redis {
  port: number;
  pid: number;
}

export async function startRedis(run: Run): Promise<Redis> {
  const command = await findProgram("redis-server");
  if (!command) throw new MissingProgram("redis-server is missing: apt-get install redis-server");
  const port = await freePort();
  const directory = run.makeDirectory("redis");
  const args = [
    ...["--bind", "127.0.0.1", "--port", String(port), "--dir", directory],
    ...["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
  ];
  await run.start("redis", { command, args, ready: /Ready to accept connections/ });
  return { port, pid: await processIn(directory) };
}
