import { LongshoreError, unavailable } from "../../../lib/errors.ts";

interface Waiting {
  go: () => void;
  refuse: (error: unknown) => void;
}

export interface ScriptLineOptions {
  /** How many may go on at once. */
  places: number;
  maxWaiting: number;
  waitMs: number;
}

/** Who waits for a place. Owners take turns, so that one who asks for much holds up only itself. */
export class ScriptLine {
  readonly #options: ScriptLineOptions;
  /** Those whose turn is next come first. */
  readonly #owners = new Map<string, Waiting[]>();
  #waiting = 0;
  #free: number;
  #closed = false;

  constructor(options: ScriptLineOptions) {
    this.#options = options;
    this.#free = options.places;
  }

  /** Resolves when there is a place, which whoever has it must give back with `leave`. */
  async enter(owner: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#closed) throw stopping();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    const { maxWaiting, waitMs } = this.#options;
    if (this.#waiting >= maxWaiting) throw full(`more than ${maxWaiting} scripts wait to be run`);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = { go: resolve, refuse: reject };
    this.#add(owner, waiting);
    const giveUp = (error: unknown) => {
      if (this.#remove(owner, waiting)) reject(error);
    };
    const timer = setTimeout(() => giveUp(full(`no script could be run within ${waitMs / 1_000} s`)), waitMs);
    const abort = () => giveUp(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
  }

  leave(): void {
    const next = this.#owners.entries().next().value;
    if (!next) {
      this.#free += 1;
      return;
    }
    const [owner, [first]] = next;
    this.#remove(owner, first!);
    const others = this.#owners.get(owner);
    // Its next turn comes after that of all others.
    if (others && this.#owners.delete(owner)) this.#owners.set(owner, others);
    first!.go();
  }

  /** Nobody waits any longer, nor can anybody come. */
  close(): void {
    this.#closed = true;
    const all = [...this.#owners.values()].flat();
    this.#owners.clear();
    this.#waiting = 0;
    for (const { refuse } of all) refuse(stopping());
  }

  #add(owner: string, waiting: Waiting): void {
    const others = this.#owners.get(owner);
    if (others) others.push(waiting);
    else this.#owners.set(owner, [waiting]);
    this.#waiting += 1;
  }

  #remove(owner: string, waiting: Waiting): boolean {
    const all = this.#owners.get(owner);
    const index = all?.indexOf(waiting) ?? -1;
    if (!all || index < 0) return false;
    all.splice(index, 1);
    if (all.length === 0) this.#owners.delete(owner);
    this.#waiting -= 1;
    return true;
  }
}

function full(message: string): LongshoreError {
  return new LongshoreError("RESOURCE_EXHAUSTED", message);
}

function stopping(): LongshoreError {
  return unavailable("the node is stopping");
}
