/** Tasks that are made again and again, at the times of a cron expression. */
import type { Datastore } from "../../lib/datastore/datastore.ts";
import type { TaskRequest } from "./task-request.ts";

export interface SchedulesOptions {
  datastore: Datastore;
  /** Stores a task; a known HashCode makes none. Throws where it is refused. */
  create: (request: TaskRequest) => Promise<unknown>;
  onError: (error: unknown) => void;
}

export class Schedules {
  static async open(_options: SchedulesOptions): Promise<Schedules> {
    return new Schedules();
  }

  /** Begins to make tasks when they are due. Every node does; each time makes one task. */
  start(): void {}

  async stop(): Promise<void> {}
}
