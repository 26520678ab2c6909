/** What a producer and a worker of any peer can do; grpc-load.ts and bullmq-load.ts say how. */
export type Target =
  | { kind: "grpc"; address: string; mode: "unary" | "stream" | "batch" }
  | { kind: "bullmq"; port: number; mode: "single" | "bulk" };

export interface Load {
  /** How many tasks one call of `create` takes, and how many calls a producer has under way. */
  readonly perCall: number;
  readonly inFlight: number;
  /** Resolves when the tasks are acknowledged. */
  create(channel: string, inputs: string[]): Promise<void>;
  /** Makes a worker ready. */
  work(channel: string, heard: Heard): Promise<Work>;
}

/** Called by a worker for each task, with its input: when it has come in, and when the answer to its report has. */
export interface Heard {
  received(input: string): void;
  reported(input: string): void;
}

export interface Work {
  start(): void;
  /** Resolves when what was received is reported. */
  stop(): Promise<void>;
}

/** Tasks that each worker has in hand at a time, where it takes them one by one. */
export const WORKER_CREDITS = 32;
