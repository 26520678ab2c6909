/** Producer and worker on plain grpc-js, for Longshore and for the ceiling: they speak the same contract. */
import { once } from "node:events";
import type { ClientUnaryCall } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Answer, AnswerOf, BenchTask, LongshoreClient, StandardClient } from "./contract.ts";
import { demandDone, longshoreClient, standardClient, unary } from "./contract.ts";
import { Fifo } from "./fifo.ts";
import type { Heard, Load, Target, Work } from "./load.ts";
import { WORKER_CREDITS } from "./load.ts";

const UNARY_IN_FLIGHT = 64;
const STREAM_IN_FLIGHT = 256;
const BATCH = 500;
const BATCHES_IN_FLIGHT = 4;
const BATCH_RECEIVERS = 2;
const RECEIVE_WAIT_SECONDS = 20;

export function grpcLoad({ address, mode }: Target & { kind: "grpc" }): Load {
  const standard = standardClient(address);
  if (mode === "unary") {
    const create = async (Channel: string, [Input]: string[]) =>
      demandDone(await unary(standard.CreateTask.bind(standard), { Task: { Channel, Input } }));
    return { perCall: 1, inFlight: UNARY_IN_FLIGHT, create, work: (...given) => workOneByOne(standard, ...given) };
  }
  const longshore = longshoreClient(address);
  if (mode === "stream") {
    const create = createOnStream(longshore);
    return { perCall: 1, inFlight: STREAM_IN_FLIGHT, create, work: (...given) => workOneByOne(standard, ...given) };
  }
  const create = async (Channel: string, inputs: string[]) => {
    const Tasks = inputs.map((Input) => ({ Channel, Input }));
    demandAllDone(await unary(longshore.CreateTasks.bind(longshore), { Tasks }), Tasks.length);
  };
  return {
    perCall: BATCH,
    inFlight: BATCHES_IN_FLIGHT,
    create,
    work: (...given) => Promise.resolve(workInBatches(longshore, ...given)),
  };
}

/** One stream for all creates, opened with the first; answers come in the order of the creates. */
function createOnStream(client: LongshoreClient): Load["create"] {
  const waiting = new Fifo<() => void>();
  let stream: ReturnType<LongshoreClient["StreamCreateTask"]> | undefined;
  const open = () => {
    const opened = client.StreamCreateTask();
    opened.on("data", (answer: Answer) => {
      demandDone(answer);
      waiting.shift()?.();
    });
    return opened;
  };
  return (Channel, [Input]) =>
    new Promise((resolve) => {
      waiting.push(resolve);
      stream ??= open();
      stream.write({ Task: { Channel, Input } });
    });
}

/** Asks for the next task when a report is answered. Reports are answered in their order. */
async function workOneByOne(client: StandardClient, Channel: string, heard: Heard): Promise<Work> {
  const receive = client.ReceiveQueueByChannel();
  const reports = client.ReportTaskResult();
  const inHand = new Fifo<string>();
  const ended = once(receive, "end");
  let stopping = false;
  let onIdle: (() => void) | undefined;
  receive.on("data", ({ Tasks: { ID, Input } }: { Tasks: BenchTask }) => {
    heard.received(Input);
    inHand.push(Input);
    reports.write({ ID, State: 1, Output: "done" });
  });
  reports.on("data", (answer: Answer) => {
    demandDone(answer);
    heard.reported(inHand.shift()!);
    if (!stopping) receive.write({ Channel });
    else if (inHand.size === 0) onIdle?.();
  });
  const start = () => {
    for (let credit = 0; credit < WORKER_CREDITS; credit += 1) receive.write({ Channel });
  };
  const stop = async () => {
    stopping = true;
    // Half-closed: what was asked for and has not come is given up, what is on its way still comes. Until the server has heard
    // of that, it gives the next phase's tasks to this stream.
    receive.end();
    await ended;
    if (inHand.size > 0) await new Promise<void>((resolve) => (onIdle = resolve));
    reports.end();
  };
  return { start, stop };
}

function workInBatches(client: LongshoreClient, Channel: string, heard: Heard): Work {
  const waiting = new Set<ClientUnaryCall>();
  let stopping = false;
  const receive = (): Promise<BenchTask[]> =>
    new Promise((resolve, reject) => {
      const request = { Channel, Max: BATCH, WaitSeconds: RECEIVE_WAIT_SECONDS };
      const call = client.ReceiveTasks(request, (error, answer) => {
        waiting.delete(call);
        if (stopping && error?.code === status.CANCELLED) return resolve([]);
        if (error) return reject(error);
        demandDone(answer);
        resolve(answer.Data);
      });
      waiting.add(call);
    });
  const work = async () => {
    while (!stopping) {
      const tasks = await receive();
      for (const { Input } of tasks) heard.received(Input);
      if (tasks.length === 0) continue;
      const Reports = tasks.map(({ ID }) => ({ ID, State: 1, Output: "done" }));
      demandAllDone(await unary(client.ReportTasks.bind(client), { Reports }), Reports.length);
      for (const { Input } of tasks) heard.reported(Input);
    }
  };
  let working: Promise<void>[] = [];
  const start = () => {
    working = Array.from({ length: BATCH_RECEIVERS }, work);
  };
  const stop = async () => {
    stopping = true;
    for (const call of waiting) call.cancel();
    await Promise.all(working);
  };
  return { start, stop };
}

function demandAllDone(answer: AnswerOf<Answer[]>, count: number): void {
  demandDone(answer);
  answer.Data.forEach(demandDone);
  if (answer.Data.length !== count) throw new Error(`${answer.Data.length} answers to ${count} requests`);
}
