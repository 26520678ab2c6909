/** A client of standard.Queues made from its .proto file alone, as any user's would be. */
import { once } from "node:events";
import { join } from "node:path";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

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
}

export interface Answer<T> {
  State: string;
  Message: string;
  Data: T;
  Total?: string;
}

type Unary = (
  request: object,
  metadata: Metadata,
  options: { deadline: number },
  callback: (error: ServiceError | null, answer: never) => void,
) => void;

const PROTO = join(import.meta.dirname, "..", "proto", "standard", "standard.proto");
const definition = loadSync(PROTO, { keepCase: true, longs: String, defaults: true });
const { standard } = loadPackageDefinition(definition) as unknown as {
  standard: { Queues: new (address: string, creds: ReturnType<typeof credentials.createInsecure>) => RawClient };
};

interface RawClient {
  ReceiveQueueByChannel(
    metadata: Metadata,
  ): ClientDuplexStream<{ Channel: string; LeaseSeconds?: number }, { Tasks: TaskMessage }>;
  ReportTaskResult(
    metadata: Metadata,
  ): ClientDuplexStream<
    { ID: string; State: number; Output?: string; Progress?: number },
    { State: string; Message: string; Data: string }
  >;
  close(): void;
}

export class QueuesClient {
  readonly #client: RawClient;

  constructor(address: string) {
    this.#client = new standard.Queues(address, credentials.createInsecure());
  }

  close(): void {
    this.#client.close();
  }

  call<T>(method: string, request: object, metadata: Record<string, string> = {}): Promise<Answer<T>> {
    const unary = (this.#client as unknown as Record<string, Unary>)[method];
    if (!unary) throw new Error(`no RPC ${method}`);
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + 20_000 };
      unary.call(this.#client, request, toMetadata(metadata), options, (error, answer) => {
        if (error) reject(error);
        else resolve(answer);
      });
    });
  }

  /** Creates a task and answers it. */
  async create(task: Partial<Record<keyof TaskMessage, string | number>>): Promise<TaskMessage> {
    const created = await this.call<string>("CreateTask", { Task: task });
    if (created.State !== "200") throw new Error(`${created.State} ${created.Message}`);
    return this.byHash(created.Data);
  }

  async byHash(hash: string): Promise<TaskMessage> {
    return (await this.call<TaskMessage>("QueryTaskByHashCode", { HashCode: hash })).Data;
  }

  receive(metadata: Record<string, string> = {}) {
    return this.#client.ReceiveQueueByChannel(toMetadata(metadata));
  }

  reports(metadata: Record<string, string> = {}) {
    return this.#client.ReportTaskResult(toMetadata(metadata));
  }

  /** Reports once, on a stream of its own. */
  async report(
    report: { ID: string; State: number; Output?: string; Progress?: number },
    metadata: Record<string, string> = {},
  ): Promise<{ State: string; Message: string; Data: string }> {
    const stream = this.reports(metadata);
    stream.write(report);
    const [answer] = (await once(stream, "data")) as [{ State: string; Message: string; Data: string }];
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
  const [message] = (await once(stream, "data", { signal: AbortSignal.timeout(20_000) })) as [T];
  return message;
}
