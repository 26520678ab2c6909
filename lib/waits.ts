import { CallScope } from "./call-scope.ts";
import { LongshoreError } from "./errors.ts";

/** Each is a call of a client's. */
const MAX_WAITING = 50_000;

/** Who comes again at once must not do so in a tight loop until another node is known to it. */
const CLOSED_WAIT_MS = 500;

/** Who waits for changes of what, by its name. Nothing is asked of anybody while they wait. */
export class Waits {
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #stops = new Set<() => void>();
  #closed = false;

  /**
   * Resolves when `look` answers true, which is asked at once and whenever the task was told of; when the time is up or the
   * call is given up it is asked a last time, whatever it answers.
   */
  async until(hash: string, ms: number, call: CallScope, look: () => Promise<boolean>): Promise<void> {
    let told = false;
    let over = call.reason !== undefined;
    let goOn = () => undefined as void;
    const wake = () => {
      told = true;
      goOn();
    };
    const stop = () => {
      over = true;
      wake();
    };
    this.#add(hash, wake, stop);
    const timer = setTimeout(stop, this.#closed ? Math.min(ms, CLOSED_WAIT_MS) : ms);
    const mine = new CallScope();
    mine.onAbort = stop;
    call.add(mine);
    try {
      for (;;) {
        const last = over;
        told = false;
        if ((await look()) || last) return;
        // What was told while it looked it may not have seen.
        if (!told) await new Promise<void>((resolve) => (goOn = resolve));
      }
    } finally {
      clearTimeout(timer);
      call.delete(mine);
      this.#remove(hash, wake, stop);
    }
  }

  /** The node is to stop: nobody waits any longer, and who comes only for a moment. */
  close(): void {
    this.#closed = true;
    for (const stop of this.#stops) stop();
  }

  /** These may have changed: whoever waits for one of them looks. */
  wake(hashes: Iterable<string>): void {
    for (const hash of hashes) for (const wake of this.#waiting.get(hash) ?? []) wake();
  }

  /** The tasks that somebody waits for. */
  get hashes(): string[] {
    return [...this.#waiting.keys()];
  }

  #add(hash: string, wake: () => void, stop: () => void): void {
    if (this.#stops.size >= MAX_WAITING) {
      throw new LongshoreError("RESOURCE_EXHAUSTED", "too many calls wait on this node");
    }
    this.#stops.add(stop);
    const others = this.#waiting.get(hash);
    if (others) others.add(wake);
    else this.#waiting.set(hash, new Set([wake]));
  }

  #remove(hash: string, wake: () => void, stop: () => void): void {
    this.#stops.delete(stop);
    const others = this.#waiting.get(hash);
    others?.delete(wake);
    if (others?.size === 0) this.#waiting.delete(hash);
  }
}
