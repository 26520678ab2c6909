/** The contract standard.Queues: its messages, and clients of it. */
import { fileURLToPath } from "node:url";
import type { Client, ClientDuplexStream, Metadata } from "@grpc/grpc-js";
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const PROTO = fileURLToPath(new URL("../../proto/standard/standard.proto", import.meta.url));

/** A task as the contract tells it, with more fields than these; 64-bit integers are text. */
export interface Task {
  ID: string;
  Owner: string;
  Channel: string;
  HashCode: string;
  Input: string;
  RetryCount: string;
  Tags: Record<string, string>;
}

export interface ReceiveRequest {
  Channel: string;
  LeaseSeconds: number;
  Notices: boolean;
}

export interface ReceiveAnswer {
  Tasks: Task | null;
  Stopped: string[];
}

/** ReportTaskResultRequest.State. */
export const SUCCESS = 1;
export const FAILURE = 2;
export const WAITING = 5;
export const PROCEEDING = 6;

export interface Result {
  State: typeof SUCCESS | typeof FAILURE | typeof WAITING;
  Output: string;
  NonRetryable?: boolean;
}

export type Report = { ID: string; Logs?: string[] } & (
  Result | { State: typeof PROCEEDING; Output: string; Progress: number }
);

export interface ReportAnswer {
  State: string;
  Message: string;
}

export type QueuesClient = Client & {
  ReceiveQueueByChannel(metadata: Metadata): ClientDuplexStream<ReceiveRequest, ReceiveAnswer>;
  ReportTaskResult(metadata: Metadata): ClientDuplexStream<Report, ReportAnswer>;
};

const OPTIONS = {
  // A server whose machine is gone is noticed within half a minute.
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // A new client connects at once, whatever pause after a failure an old one is in.
  "grpc.use_local_subchannel_pool": 1,
};

const { standard } = loadPackageDefinition(
  loadSync(PROTO, { keepCase: true, longs: String, defaults: true }),
) as unknown as { standard: { Queues: new (...args: ConstructorParameters<typeof Client>) => QueuesClient } };

/** A client of the node at that host and port. */
export function connect(address: string): QueuesClient {
  return new standard.Queues(address, credentials.createInsecure(), OPTIONS);
}
