/** Starts the contract's ceiling (ceiling-server.ts). */
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Run } from "../../servers/run.ts";
import type { Peer } from "./peer.ts";

export async function startCeiling(run: Run): Promise<Peer> {
  const child = fork(join(import.meta.dirname, "ceiling-server.ts"), { detached: true });
  run.adopt(child);
  const [address] = (await once(child, "message")) as [string];
  const target = { kind: "grpc", address, mode: "unary" } as const;
  return { name: "ceiling", target, processes: { ceiling: child.pid! } };
}
