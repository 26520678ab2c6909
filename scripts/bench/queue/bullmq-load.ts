/** Producer and worker of BullMQ, as its documentation has them. */
import { Queue, Worker } from "bullmq";
import type { Heard, Load, Target, Work } from "./load.ts";
import { WORKER_CREDITS } from "./load.ts";

const SINGLES_IN_FLIGHT = 64;
const BULK = 500;
const BULKS_IN_FLIGHT = 4;

interface Data {
  input: string;
}

export function bullmqLoad({ port, mode }: Target & { kind: "bullmq" }): Load {
  const queues = new Map<string, Queue<Data, string>>();
  const queueOf = (name: string) => {
    const known = queues.get(name);
    if (known) return known;
    const queue = new Queue<Data, string>(name, { connection: { host: "127.0.0.1", port } });
    queues.set(name, queue);
    return queue;
  };
  const create = async (channel: string, inputs: string[]) => {
    const queue = queueOf(channel);
    if (mode === "single") await queue.add("task", { input: inputs[0]! });
    else await queue.addBulk(inputs.map((input) => ({ name: "task", data: { input } })));
  };
  const work = (channel: string, heard: Heard) => workOn(channel, port, heard);
  return mode === "single"
    ? { perCall: 1, inFlight: SINGLES_IN_FLIGHT, create, work }
    : { perCall: BULK, inFlight: BULKS_IN_FLIGHT, create, work };
}

async function workOn(channel: string, port: number, heard: Heard): Promise<Work> {
  const worker = new Worker<Data, string>(
    channel,
    ({ data }) => {
      heard.received(data.input);
      return Promise.resolve("done");
    },
    // What its documentation asks of a worker's connection: to wait for Redis as long as it takes.
    {
      connection: { host: "127.0.0.1", port, maxRetriesPerRequest: null },
      concurrency: WORKER_CREDITS,
      autorun: false,
    },
  );
  worker.on("error", (error) => {
    throw error;
  });
  worker.on("failed", (_job, error) => {
    throw error;
  });
  worker.on("completed", ({ data }) => heard.reported(data.input));
  await worker.waitUntilReady();
  return { start: () => void worker.run(), stop: () => worker.close() };
}
