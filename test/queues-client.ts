/** Clients of standard.Queues and longshore.v1.Queues made from their .proto files alone, as any user's would be. */
import { once } from "node:events";
import { join } from "node:path";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { PATIENCE_MS, waitFor } from "./wait-for.ts";

/** What the clocks of two nodes may differ by, as far as tests go. */
const CLOCKS_MS = 20;

export interface TaskMessage {
  ID: string;
  Next: string;
  Prior: string;
  Owner: string;
  State: string;
  Input: string;
  Output: string;
  Channel: string;
  HashCode: string;
  RetryCount: string;
  CreateTime: string;
  UpdateTime: string;
  RetryMaxLimit: string;
  Priority: number;
  StartTime: string;
  Deadline: string;
  MaxRunSeconds: string;
  RetryPolicy: { InitialSeconds: number; Multiplier: number; MaxSeconds: number; DelaySeconds: number[] } | null;
  Tags: Record<string, string>;
  Progress: string;
}

export interface Answer<T> {
  State: string;
  Message: string;
  Data: T;
  Total?: string;
  NextPageToken?: string;
}

export interface ReportMessage {
  ID: string;
  State: number;
  Output?: string;
  Progress?: number;
  NonRetryable?: boolean;
  Logs?: string[];
}

/** What a receive stream brings: a task, or where notices were asked for the IDs of tasks that were stopped. */
export interface ReceivedMessage {
  Tasks: TaskMessage;
  Stopped: string[];
}

type Unary = (
  request: object,
  metadata: Metadata,
  options: { deadline: number },
  callback: (error: ServiceError | null, answer: never) => void,
) => void;

const PROTO = join(import.meta.dirname, "..", "proto");
const definition = loadSync("longshore/v1/queues.proto", {
  keepCase: true,
  longs: String,
  defaults: true,
  includeDirs: [PROTO],
});
type NewClient<T> = new (address: string, creds: ReturnType<typeof credentials.createInsecure>) => T;
const { standard, longshore } = loadPackageDefinition(definition) as unknown as {
  standard: { Queues: NewClient<StandardClient> };
  longshore: { v1: { Queues: NewClient<LongshoreClient> } };
};

interface StandardClient {
  ReceiveQueueByChannel(
    metadata: Metadata,
  ): ClientDuplexStream<{ Channel: string; LeaseSeconds?: number; Notices?: boolean }, ReceivedMessage>;
  ReportTaskResult(metadata: Metadata): ClientDuplexStream<ReportMessage, Answer<string>>;
  close(): void;
}

interface LongshoreClient {
  StreamCreateTask(metadata: Metadata): ClientDuplexStream<{ Task: object }, Answer<string>>;
  close(): void;
}

/** Calls RPCs of both services by their names. */
export class QueuesClient {
  readonly #client: StandardClient;
  readonly #longshore: LongshoreClient;

  constructor(address: string) {
    this.#client = new standard.Queues(address, credentials.createInsecure());
    this.#longshore = new longshore.v1.Queues(address, credentials.createInsecure());
  }

  close(): void {
    this.#client.close();
    this.#longshore.close();
  }

  call<T>(method: string, request: object, metadata: Record<string, string> = {}): Promise<Answer<T>> {
    const client = method in this.#longshore ? this.#longshore : this.#client;
    const unary = (client as unknown as Record<string, Unary>)[method];
    if (!unary) throw new Error(`no RPC ${method}`);
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + 20_000 };
      unary.call(client, request, toMetadata(metadata), options, (error, answer) => {
        if (error) reject(error);
        else resolve(answer);
      });
    });
  }

  /** Creates a task and answers it, later than the clocks of two nodes may differ: what comes next is newer on each. */
  async create(task: Partial<TaskMessage> | Record<string, unknown>): Promise<TaskMessage> {
    const created = await this.createAtOnce(task);
    const later = Date.now() + CLOCKS_MS;
    await waitFor(() => Date.now() > later);
    return created;
  }

  /** The same without a wait: another node may take the next one for the older. */
  async createAtOnce(task: Partial<TaskMessage> | Record<string, unknown>): Promise<TaskMessage> {
    const created = await this.call<string>("CreateTask", { Task: task });
    if (created.State !== "200") throw new Error(`${created.State} ${created.Message}`);
    return this.byHash(created.Data);
  }

  async byHash(hash: string): Promise<TaskMessage> {
    return (await this.call<TaskMessage>("QueryTaskByHashCode", { HashCode: hash })).Data;
  }

  async byID(ID: string): Promise<TaskMessage> {
    return (await this.call<TaskMessage>("QueryTaskByID", { ID })).Data;
  }

  creates() {
    return this.#longshore.StreamCreateTask(new Metadata());
  }

  receive(metadata: Record<string, string> = {}) {
    return this.#client.ReceiveQueueByChannel(toMetadata(metadata));
  }

  reports(metadata: Record<string, string> = {}) {
    return this.#client.ReportTaskResult(toMetadata(metadata));
  }

  /** Reports once, on a stream of its own. */
  async report(report: ReportMessage, metadata: Record<string, string> = {}): Promise<Answer<string>> {
    const stream = this.reports(metadata);
    stream.write(report);
    const [answer] = (await once(stream, "data")) as [Answer<string>];
    stream.end();
    stream.resume();
    await once(stream, "end");
    return answer;
  }
}

function toMetadata(entries: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(entries)) metadata.set(key, value);
  return metadata;
}

/** The next message of a stream. */
export async function next<T>(stream: NodeJS.EventEmitter): Promise<T> {
  const [message] = (await once(stream, "data", { signal: AbortSignal.timeout(PATIENCE_MS) })) as [T];
  return message;
}

/** Calls REST paths under `/v1/queues/` of a node. */
export async function rest<T>(http: string, method: string, path: string, body?: unknown) {
  const response = await fetch(`${http}/v1/queues/${path}`, {
    method,
    headers: { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Answer<T> };
}
