/** A system under measurement: what to aim load at, and its own processes. */
import type { Target } from "./load.ts";

export interface Peer {
  name: string;
  target: Target;
  /** Processes of the system itself, without producer and workers, by name. */
  processes: Record<string, number>;
}
