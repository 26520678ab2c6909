/**
 * A process that creates tasks or works on them, as the bench tells it over IPC (load-client.ts). What goes wrong ends it, and
 * with it the bench.
 */
import { now, readInput, writeInput } from "./bench-task.ts";
import { bullmqLoad } from "./bullmq-load.ts";
import { standardClient } from "./contract.ts";
import { grpcLoad } from "./grpc-load.ts";
import type { Load, Target, Work } from "./load.ts";
import type { Command, Produced, Worked } from "./load-client.ts";

/** How often the bench hears how far a worker is; the times that count are taken here. */
const TELL_EVERY_MS = 20;
const RECEIVERS_PER_CONNECTION = 100;

const target = JSON.parse(process.argv[2]!) as Target;
const load: Load = target.kind === "grpc" ? grpcLoad(target) : bullmqLoad(target);
let working: { work: Work; told: Worked; timer: NodeJS.Timeout } | undefined;

process.on("message", (command: Command) => void handle(command).then((answer) => process.send?.({ answer })));
process.on("disconnect", () => process.exit());

async function handle(command: Command): Promise<Produced | Worked | undefined> {
  switch (command.do) {
    case "produce":
      return command.rate === undefined
        ? produce(command.channel, command.first, command.count)
        : produceEvenly(command.channel, command.count, command.rate);
    case "work":
      return startWork(command.channel, command.tasks);
    case "stop":
      return stopWork();
    case "receivers":
      return openReceivers(command.channel, command.count);
  }
}

/** As fast as the peer takes them. */
async function produce(channel: string, first: number, count: number): Promise<Produced> {
  const end = first + count;
  let next = first;
  const began = now();
  const flight = async () => {
    while (next < end) {
      const from = next;
      next = Math.min(end, from + load.perCall);
      await load.create(channel, inputsOf(from, next));
    }
  };
  await Promise.all(Array.from({ length: load.inFlight }, flight));
  return { began, ended: now() };
}

/** `rate` a second, whether those before are answered or not; of a peer that takes many a call, those that are due are one. */
async function produceEvenly(channel: string, count: number, rate: number): Promise<Produced> {
  const began = now();
  const calls: Promise<void>[] = [];
  let next = 0;
  await new Promise<void>((resolve) => {
    const tick = () => {
      const due = Math.min(count, Math.floor(((now() - began) * rate) / 1_000) + 1);
      while (next < due) {
        const from = next;
        next = Math.min(due, from + load.perCall);
        calls.push(load.create(channel, inputsOf(from, next)));
      }
      if (next === count) resolve();
      else setTimeout(tick, Math.max(0, (next * 1_000) / rate - (now() - began)));
    };
    tick();
  });
  await Promise.all(calls);
  return { began, ended: now() };
}

/** Of tasks number `from` to before `end`. */
function inputsOf(from: number, end: number): string[] {
  return Array.from({ length: end - from }, (_, index) => writeInput(from + index));
}

async function startWork(channel: string, tasks: number): Promise<undefined> {
  const told: Worked = {
    reported: 0,
    began: 0,
    lastReported: 0,
    reports: new Uint8Array(tasks),
    pickups: new Float64Array(tasks),
  };
  const work = await load.work(channel, {
    received: (input) => {
      const { number, createdAt } = readInput(input);
      told.pickups[number] = now() - createdAt;
    },
    reported: (input) => {
      told.reports[readInput(input).number]! += 1;
      told.reported += 1;
      told.lastReported = now();
    },
  });
  let last = 0;
  const timer = setInterval(() => {
    if (told.reported > last) process.send?.({ reported: told.reported });
    last = told.reported;
  }, TELL_EVERY_MS);
  working = { work, told, timer };
  told.began = now();
  work.start();
  return undefined;
}

async function stopWork(): Promise<Worked> {
  const { work, told, timer } = working!;
  clearInterval(timer);
  await work.stop();
  return told;
}

/** Streams that each wait for one task. */
function openReceivers(channel: string, count: number): Promise<undefined> {
  if (target.kind !== "grpc") throw new Error("receivers are gRPC streams");
  for (let opened = 0; opened < count;) {
    const client = standardClient(target.address);
    const end = Math.min(count, opened + RECEIVERS_PER_CONNECTION);
    for (; opened < end; opened += 1) client.ReceiveQueueByChannel().write({ Channel: channel });
  }
  return Promise.resolve(undefined);
}
