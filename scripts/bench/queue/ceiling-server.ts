/**
 * The contract's ceiling: `standard.Queues` on bare grpc-js and nothing but the contract. Tasks in memory, no order among
 * channels, no lease, no disk.
 */
import type { ServerDuplexStream, ServiceDefinition } from "@grpc/grpc-js";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { Answer, BenchTask } from "./contract.ts";
import { contract } from "./contract.ts";
import { Fifo } from "./fifo.ts";

type Receiver = ServerDuplexStream<BenchTask, { Tasks: BenchTask }>;

const waiting = new Map<string, Fifo<BenchTask>>();
const receivers = new Map<string, Fifo<Receiver>>();
let lastId = 0;

function queueOf<T>(queues: Map<string, Fifo<T>>, channel: string): Fifo<T> {
  const known = queues.get(channel);
  if (known) return known;
  const queue = new Fifo<T>();
  queues.set(channel, queue);
  return queue;
}

/** A receiver that went away is passed over: its credits go with it. */
function nextReceiver(channel: string): Receiver | undefined {
  const queue = queueOf(receivers, channel);
  for (;;) {
    const receiver = queue.shift();
    if (!receiver?.writableEnded && !receiver?.cancelled) return receiver;
  }
}

const server = new Server();
server.addService(contract["standard.Queues"] as unknown as ServiceDefinition, {
  CreateTask: (
    call: { request: { Task: BenchTask } },
    callback: (error: null, answer: Answer & { Data: string }) => void,
  ) => {
    lastId += 1;
    const task = { ...call.request.Task, ID: String(lastId), HashCode: `h${lastId}` };
    const receiver = nextReceiver(task.Channel);
    if (receiver) receiver.write({ Tasks: task });
    else queueOf(waiting, task.Channel).push(task);
    callback(null, { State: "200", Message: "", Data: task.HashCode });
  },
  ReceiveQueueByChannel: (call: Receiver) => {
    call.on("data", ({ Channel }: BenchTask) => {
      const task = queueOf(waiting, Channel).shift();
      if (task) call.write({ Tasks: task });
      else queueOf(receivers, Channel).push(call);
    });
    call.on("end", () => call.end());
  },
  ReportTaskResult: (call: ServerDuplexStream<BenchTask, Answer & { Data: string }>) => {
    call.on("data", ({ ID }: BenchTask) => call.write({ State: "200", Message: "", Data: ID }));
    call.on("end", () => call.end());
  },
});
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.send?.(`127.0.0.1:${port}`);
});
process.on("disconnect", () => process.exit());
