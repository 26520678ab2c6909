/** Calls a node evenly, whether the calls before are answered or not, and tells how long answers take. */
import { setTimeout as delay } from "node:timers/promises";
import { demandDone, standardClient, unary, type Answer } from "../queue/contract.ts";
import { percentile } from "../queue/statistics.ts";
import { asChild } from "./child.ts";
import type { CallsTask, Latency } from "./node.ts";

const CHANNEL = "bench-export";
const WARM_UP_CALLS = 300;

async function callEvenly({ call, address, perSecond, seconds }: CallsTask): Promise<Latency> {
  const client = standardClient(address);
  const calls = {
    read: () => unary(client.QueryLengthByChannel.bind(client), { Channel: CHANNEL }),
    create: () => unary(client.CreateTask.bind(client), { Task: { Channel: CHANNEL, Input: "x" } }),
  };
  for (let made = 0; made < WARM_UP_CALLS; made += 1) await timeOf(calls[call]);
  const times: Promise<number>[] = [];
  const began = performance.now();
  while (times.length < perSecond * seconds) {
    await delay(Math.max(0, began + (times.length * 1_000) / perSecond - performance.now()));
    times.push(timeOf(calls[call]));
  }
  const sorted = (await Promise.all(times)).sort((a, b) => a - b);
  client.close();
  return { p50: percentile(sorted, 50), p99: percentile(sorted, 99) };
}

async function timeOf(call: () => Promise<Answer>): Promise<number> {
  const began = performance.now();
  demandDone(await call());
  return performance.now() - began;
}

await asChild<CallsTask>(callEvenly);
