/** The contracts that Longshore and the ceiling serve, and clients for them on plain grpc-js. */
import { join } from "node:path";
import type { ClientDuplexStream, ClientUnaryCall, ServiceError } from "@grpc/grpc-js";
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const PROTO = join(import.meta.dirname, "..", "..", "..", "proto");

export const contract = loadSync(["standard/standard.proto", "longshore/v1/queues.proto"], {
  includeDirs: [PROTO],
  keepCase: true,
  longs: String,
  defaults: true,
});

export interface BenchTask {
  ID: string;
  Channel: string;
  Input: string;
}
/** As lists have it. */
export interface ListedTask extends BenchTask {
  State: string;
  Output: string;
}
export interface Answer {
  State: string;
  Message: string;
}
export type AnswerOf<T> = Answer & { Data: T };
export type UnaryCall<Request, Response> = (
  request: Request,
  answer: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;
export type Report = { ID: string; State: number; Output: string };
export type ReceiveStream = ClientDuplexStream<{ Channel: string }, { Tasks: BenchTask }>;

export interface StandardClient {
  CreateTask: UnaryCall<{ Task: object }, Answer>;
  QueryTaskByOwner: UnaryCall<{ Owner: number; Limit: number; Offset: number }, AnswerOf<ListedTask[]>>;
  QueryLengthByChannel: UnaryCall<{ Channel: string }, AnswerOf<string>>;
  ReceiveQueueByChannel(): ReceiveStream;
  ReportTaskResult(): ClientDuplexStream<Report, Answer>;
  close(): void;
}
export interface LongshoreClient {
  CreateTasks: UnaryCall<{ Tasks: object[] }, AnswerOf<Answer[]>>;
  StreamCreateTask(): ClientDuplexStream<{ Task: object }, Answer>;
  ReceiveTasks: UnaryCall<
    { Channel: string; Max: number; WaitSeconds: number; LeaseSeconds?: number },
    AnswerOf<BenchTask[]>
  >;
  ReportTasks: UnaryCall<{ Reports: Report[] }, AnswerOf<Answer[]>>;
  close(): void;
}

/** A client of `standard.Queues` with a connection of its own. */
export function standardClient(address: string): StandardClient {
  return clientOf("standard", address) as StandardClient;
}

/** A client of `longshore.v1.Queues` with a connection of its own. */
export function longshoreClient(address: string): LongshoreClient {
  return clientOf("longshore", address) as LongshoreClient;
}

function clientOf(name: "standard" | "longshore", address: string): unknown {
  const packages = loadPackageDefinition(contract) as unknown as {
    standard: { Queues: new (...args: unknown[]) => unknown };
    longshore: { v1: { Queues: new (...args: unknown[]) => unknown } };
  };
  const Client = name === "standard" ? packages.standard.Queues : packages.longshore.v1.Queues;
  return new Client(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
}

/** How many tasks wait in a channel. */
export async function channelLength(address: string, Channel: string): Promise<number> {
  const client = standardClient(address);
  try {
    const answer = await unary(client.QueryLengthByChannel.bind(client), { Channel });
    demandDone(answer);
    return Number(answer.Data);
  } finally {
    client.close();
  }
}

export function unary<Request, Response>(call: UnaryCall<Request, Response>, request: Request): Promise<Response> {
  return new Promise((resolve, reject) => {
    call(request, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

/** Throws where a request was not done. */
export function demandDone(answer: Answer): void {
  if (answer.State !== "200") throw new Error(`answered with ${answer.State} ${answer.Message}`);
}
