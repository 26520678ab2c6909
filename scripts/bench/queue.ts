/**
 * The queue against BullMQ and against the contract's ceiling, in one run: producer, servers and workers in processes of their
 * own, every system with its durable settings. `npm run bench -- queue [PART …]`; without a part all of them. Linux only: what
 * processes cost is read from /proc.
 */
import { Run } from "../servers/run.ts";
import { startCeiling } from "./queue/ceiling.ts";
import { LongshoreNode } from "./queue/longshore-node.ts";
import type { Peer } from "./queue/peer.ts";
import { measureRates } from "./queue/rates.ts";
import { startRedis } from "./queue/redis.ts";
import { printVerdict, type Figure } from "./queue/verdict.ts";

const PARTS = ["unary"];

/** Measures the parts that are named and prints what they reach. */
export async function run(parts: string[]): Promise<void> {
  const unknown = parts.find((part) => !PARTS.includes(part));
  if (unknown !== undefined) {
    console.error(`queue has no part ${unknown}, only ${PARTS.join(", ")}`);
    process.exitCode = 1;
    return;
  }
  const servers = new Run();
  const figures: Figure[] = [];
  try {
    const redis = await startRedis(servers);
    if (!redis) {
      console.error("redis-server is missing: install that Debian package (apt-get install redis-server)");
      process.exitCode = 1;
      return;
    }
    const bullmq: Peer = {
      name: "BullMQ one by one",
      target: { kind: "bullmq", port: redis.port, mode: "single" },
      processes: { redis: redis.pid },
    };
    const node = await LongshoreNode.start(servers);
    const unary: Peer = {
      name: "Longshore unary",
      target: { kind: "grpc", address: node.address, mode: "unary" },
      processes: { node: node.pid },
    };
    const rates = await measureRates("unary", [await startCeiling(servers), bullmq, unary]);
    const ratio = (one: string, other: string) => rates.get(one)!.endToEnd / rates.get(other)!.endToEnd;
    figures.push(
      { measure: "end to end, unary / ceiling", value: ratio("Longshore unary", "ceiling"), gate: { atLeast: 0.85 } },
      {
        measure: "end to end, unary / BullMQ one by one",
        value: ratio("Longshore unary", "BullMQ one by one"),
        gate: { atLeast: 0.5 },
      },
    );
    printVerdict(figures);
  } finally {
    await servers.stop();
  }
}
