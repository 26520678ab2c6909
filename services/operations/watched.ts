import type { OperationTask } from "./operation.ts";
import { versionOf } from "./operation.ts";
import { Waits } from "../../lib/waits.ts";

/** Progress is told as often, and no oftener. */
const LOOK_MS = 1_000;

/** Operations that clients watch on this node: looked at together, each once however many watch it. */
export class Watched {
  readonly waits = new Waits();
  readonly #load: (hashes: string[]) => Promise<Map<string, OperationTask>>;
  readonly #onError: (error: unknown) => void;
  #versions = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(load: (hashes: string[]) => Promise<Map<string, OperationTask>>, onError: (error: unknown) => void) {
    this.#load = load;
    this.#onError = onError;
  }

  start(): void {
    this.#timer = setTimeout(() => void this.#look(), LOOK_MS * (0.75 + Math.random() / 4));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const { hashes } = this.waits;
    try {
      const tasks = hashes.length > 0 ? await this.#load(hashes) : new Map<string, OperationTask>();
      const versions = new Map(hashes.map((hash) => [hash, seen(tasks.get(hash))]));
      this.waits.wake(hashes.filter((hash) => versions.get(hash) !== this.#versions.get(hash)));
      this.#versions = versions;
    } catch (error) {
      this.#onError(error);
    }
    if (!this.#stopped) this.start();
  }
}

/** A task that is gone has changed, too. */
function seen(task: OperationTask | undefined): string {
  return task && !task.forgotten ? versionOf(task) : "";
}
