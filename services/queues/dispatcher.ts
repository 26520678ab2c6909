/**
 * Brings waiting receivers of this node and tasks of the datastore together. One claim at a time and channel serves
 * many receivers, first come first served; a hint or the poll starts it, and nothing is asked of the datastore for a
 * channel in which nobody waits.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { endOfTurn } from "../../lib/end-of-turn.ts";
import type { ClaimRequest } from "./task-claims.ts";
import type { Offer } from "./task-creates.ts";
import type { Task } from "./task.ts";

export interface ReceiveRequest extends ClaimRequest {
  channel: string;
  /** How long to wait for the first task, in milliseconds. */
  waitMs: number;
  signal: AbortSignal;
}

export interface DispatcherOptions {
  claim: (channel: string, requests: ClaimRequest[]) => Promise<Task[][]>;
  /** For tasks that were claimed for a receiver that is gone. */
  giveBack: (tasks: Task[]) => Promise<void>;
  onError: (error: unknown) => void;
  /** The poll's mean interval in milliseconds: how long a lost hint delays a task. */
  pollMs?: number;
}

interface Receiver {
  request: ReceiveRequest;
  settle: (tasks: Task[]) => void;
  fail: (error: unknown) => void;
  done: boolean;
  /** Its wait is over, but a claim that may serve it is under way. */
  overdue: boolean;
  /** It is to have tasks that are being made: no claim need serve it. */
  promised: boolean;
}

interface Channel {
  receivers: Set<Receiver>;
  claiming: boolean;
  /** Tasks may have come since the claim under way began. */
  stale: boolean;
  /** The last claim left no task, and none has come since. */
  empty: boolean;
}

const POLL_MS = 1_000;
const CLOSED_WAIT_MS = 500;
/** Receivers that one claim serves. */
const MAX_RECEIVERS = 64;

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #channels = new Map<string, Channel>();
  #poll: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  start(): void {
    const interval = this.#options.pollMs ?? POLL_MS;
    // Jitter keeps the nodes of a cluster from asking all at once.
    this.#poll = setTimeout(
      () => {
        for (const channel of this.#channels.keys()) this.hint(channel);
        this.start();
      },
      interval * (0.75 + Math.random() / 2),
    );
  }

  /** Answers all who wait with no task. */
  stop(): void {
    this.#closed = true;
    clearTimeout(this.#poll);
    for (const { receivers } of this.#channels.values()) for (const receiver of receivers) receiver.settle([]);
  }

  /** 1 to `max` tasks, or none when the wait is over, the signal aborts or the dispatcher stops. */
  receive(request: ReceiveRequest): Promise<Task[]> {
    if (request.signal.aborted) return Promise.resolve([]);
    // Who asks again at once must not do so in a tight loop until another node is known to it.
    if (this.#closed) return sleep(Math.min(request.waitMs, CLOSED_WAIT_MS), [], { ref: false });
    return new Promise((resolve, reject) => {
      const channel = this.#channel(request.channel);
      const leave = () => {
        receiver.done = true;
        clearTimeout(timer);
        request.signal.removeEventListener("abort", onAbort);
        channel.receivers.delete(receiver);
        if (channel.receivers.size === 0 && !channel.claiming) this.#channels.delete(request.channel);
      };
      const receiver: Receiver = {
        request,
        done: false,
        overdue: false,
        promised: false,
        settle: (tasks) => {
          leave();
          resolve(tasks);
        },
        fail: (error) => {
          leave();
          reject(error as Error);
        },
      };
      const onAbort = () => receiver.settle([]);
      // Also who does not wait at all gets what is there.
      const onTimeout = () => {
        if (channel.claiming || receiver.promised) receiver.overdue = true;
        else receiver.settle([]);
      };
      const timer = setTimeout(onTimeout, request.waitMs);
      request.signal.addEventListener("abort", onAbort);
      channel.receivers.add(receiver);
      this.hint(request.channel);
    });
  }

  /** A task may be there. */
  hint(name: string): void {
    const channel = this.#channels.get(name);
    if (!channel) return;
    channel.stale = true;
    channel.empty = false;
    if (!channel.claiming) void this.#serve(name, channel);
  }

  /** A receiver that waits where no task does, for tasks that are about to be made: it is served first when they are. */
  offer(name: string): Offer | undefined {
    const channel = this.#channels.get(name);
    if (!channel?.empty || channel.claiming) return undefined;
    const [receiver] = unpromised(channel, 1);
    if (!receiver) return undefined;
    receiver.promised = true;
    const settle = (tasks: Task[]) => {
      receiver.promised = false;
      if (tasks.length > 0) this.#share([receiver], [tasks]);
      else if (receiver.overdue) receiver.settle([]);
      // Hints that came while it was promised have passed it by.
      else this.hint(name);
    };
    return { request: receiver.request, settle };
  }

  #channel(name: string): Channel {
    const known = this.#channels.get(name);
    if (known) return known;
    const channel = { receivers: new Set<Receiver>(), claiming: false, stale: false, empty: false };
    this.#channels.set(name, channel);
    return channel;
  }

  async #serve(name: string, channel: Channel): Promise<void> {
    channel.claiming = true;
    try {
      while (channel.stale && channel.receivers.size > 0) {
        // All receivers that arrive in this turn of the loop share the claim.
        await endOfTurn("group");
        channel.stale = false;
        const receivers = unpromised(channel, MAX_RECEIVERS);
        if (receivers.length === 0) break;
        const shares = await this.#options.claim(
          name,
          receivers.map(({ request }) => request),
        );
        this.#share(receivers, shares);
        settleOverdue(receivers);
        // Somebody was served: there may be more for those who were not.
        if (shares.some((share) => share.length > 0)) channel.stale = true;
        else channel.empty = !channel.stale;
      }
    } catch (error) {
      // The poll tries again for those who go on waiting; each failed claim fails one, so that it is seen.
      this.#options.onError(error);
      channel.receivers.values().next().value?.fail(error);
    } finally {
      channel.claiming = false;
      settleOverdue([...channel.receivers]);
      if (channel.receivers.size === 0) this.#channels.delete(name);
    }
  }

  #share(receivers: Receiver[], shares: Task[][]): void {
    const orphans: Task[] = [];
    for (const [index, receiver] of receivers.entries()) {
      const tasks = shares[index] ?? [];
      if (tasks.length === 0) continue;
      if (receiver.done) orphans.push(...tasks);
      else receiver.settle(tasks);
    }
    if (orphans.length) this.#options.giveBack(orphans).catch(this.#options.onError);
  }
}

/** The first receivers that no task is promised to. */
function unpromised({ receivers }: Channel, most: number): Receiver[] {
  const found: Receiver[] = [];
  for (const receiver of receivers) {
    if (found.length === most) break;
    if (!receiver.promised) found.push(receiver);
  }
  return found;
}

function settleOverdue(receivers: Receiver[]): void {
  for (const receiver of receivers) if (receiver.overdue && !receiver.done) receiver.settle([]);
}
