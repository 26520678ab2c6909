/**
 * Sees to what follows from the state of a task: its check, its work, its end, its reminders. All of it is safe to do twice,
 * so it is done after every step, when a hint comes, and for each task now and then: what was missed, or died half-way, is
 * done then.
 */
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { configOf } from "../../lib/config.ts";
import { viewError } from "../../lib/errors.ts";
import { pauseAbout } from "../../lib/pause-about.ts";
import type { DataTask } from "./data-task.ts";
import type { State } from "./states.ts";
import { hasEnded } from "./states.ts";
import { checked, ended, expired, reminded, started } from "./data-task.ts";
import type { ImportDetail } from "./request.ts";
import type { This } from "./progress.service.ts";
import type { RunTask } from "./runs.ts";
import { CHANNELS, FILES, tempDir } from "./runs.ts";
import type { Known } from "./task-store.ts";
import { checkHash, runHash } from "./wire.ts";
import type { WorkResult } from "./work.ts";

const LOOK_EVERY_MS = 15_000;
const SWEEP_EVERY_MS = 3_600_000;
const BATCH = 100;
const DAY_MS = 86_400_000;
/** Longer than any statement may run. */
const DEAD_AFTER_MS = 8 * DAY_MS;

export class Attendant {
  readonly #service: This;
  readonly #stop = new AbortController();
  /** Tasks that are seen to now, and whether they must be once more. */
  readonly #seen = new Map<string, boolean>();
  readonly #busy = new Set<Promise<void>>();
  #loops: Promise<unknown> = Promise.resolve();

  constructor(service: This) {
    this.#service = service;
  }

  start(): void {
    this.#loops = Promise.all([
      this.#every(LOOK_EVERY_MS, () => this.#lookAround()),
      this.#every(SWEEP_EVERY_MS, () => this.#removeOldFiles()),
      this.#every(SWEEP_EVERY_MS, () => this.#removeDeadWork()),
    ]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loops;
    await Promise.all(this.#busy);
  }

  /** Soon, and once however often it is asked for meanwhile. */
  see(id: string): void {
    if (this.#stop.signal.aborted) return;
    if (this.#seen.has(id)) {
      this.#seen.set(id, true);
      return;
    }
    this.#seen.set(id, false);
    const done = this.#attendWhileAsked(id).finally(() => this.#busy.delete(done));
    this.#busy.add(done);
  }

  async #attendWhileAsked(id: string): Promise<void> {
    do {
      this.#seen.set(id, false);
      await this.attend(id).catch((error: unknown) => this.#tell(`task ${id} could not be seen to`, error));
    } while (this.#seen.get(id) && !this.#stop.signal.aborted);
    this.#seen.delete(id);
  }

  /** Sees to a task now. */
  async attend(id: string): Promise<void> {
    const known = await this.#service.tasks.load(id);
    const seeTo: Partial<Record<State, (known: Known) => Promise<unknown>>> = {
      PRE_CHECK: (one) => this.#check(one),
      APPROVING: (one) => this.#remind(one),
      APPROVED: (one) => this.#begin(one),
      SCHEDULED: (one) => this.#schedule(one),
      RUNNING: (one) => this.#work(one),
      CANCEL: (one) => this.#withdraw(one.task),
    };
    await seeTo[known.told.state]?.(known);
    if (hasEnded(known.told.state)) await this.#release(known);
  }

  /** Nobody wants the task any more: what the queue has of it ends. */
  async #withdraw({ _id: id }: DataTask): Promise<void> {
    const { broker } = this.#service;
    await broker.call("queues.unschedule", { name: runHash(id) });
    for (const hash of [checkHash(id), runHash(id)]) {
      await broker.call("queues.cancel", { hash }).catch((error: unknown) => {
        // It never was, or has ended by itself.
        if (!["NOT_FOUND", "FAILED_PRECONDITION"].includes(viewError(error).type)) throw error;
      });
    }
  }

  async #check({ task }: Known): Promise<void> {
    const check = await this.#inQueue(CHANNELS.check, checkHash(task._id), task._id);
    if (check.state !== "FAILURE" && check.state !== "CANCEL") return;
    // One that ends by itself has told before.
    const problem = check.output || "the pre-check was given up";
    await this.#service.change(task._id, (told) => checked(task, told, { problem }));
  }

  async #remind({ task, told }: Known): Promise<void> {
    const { tasks, broker } = this.#service;
    const { progressExpire, progressRemind } = configOf(broker);
    const now = tasks.now().getTime();
    const since = told.approvingSince?.getTime() ?? now;
    if (now >= since + progressExpire) {
      await this.#service.change(task._id, (latest) =>
        latest.state === "APPROVING" ? expired(task, latest) : undefined,
      );
      return;
    }
    const before = told.remindedAt?.getTime() ?? since;
    if (progressRemind === 0 || now < before + progressRemind) return;
    await this.#service.change(task._id, (latest) =>
      latest.state === "APPROVING" && latest.remindedAt?.getTime() === told.remindedAt?.getTime()
        ? reminded(task, latest)
        : undefined,
    );
    const waiting = told.terms.approvers.filter((each) => each !== task.submitter && !told.approvals.includes(each));
    await broker.broadcast("progress.reminder", { id: task._id, name: task.name, approvers: waiting });
  }

  async #begin({ task }: Known): Promise<void> {
    if (task.executor !== "AUTO") return;
    await this.#service.change(task._id, (told) => (told.state === "APPROVED" ? started(task, told, "") : undefined));
  }

  async #schedule({ task }: Known): Promise<void> {
    const { cron, timeZone } = task.schedule!;
    const request = { channel: CHANNELS.cron, input: task._id };
    await this.#service.broker.call("queues.schedule", { name: runHash(task._id), cron, timeZone, request });
  }

  /** The work has its task in the queue; when that has ended, so has this one. */
  async #work({ task }: Known): Promise<void> {
    const run = await this.#inQueue(CHANNELS.run, runHash(task._id), task._id);
    const { state, output } = run;
    if (state === "SUCCESS") {
      const result = JSON.parse(output) as WorkResult;
      await this.#service.change(task._id, (told) => ended(told, state, { reason: "", result }));
    } else if (state === "FAILURE" || state === "CANCEL") {
      const reason = state === "FAILURE" ? output : "cancelled";
      await this.#service.change(task._id, (told) => ended(told, state, { reason }));
    }
  }

  /** The file of an import is no longer kept for it. */
  async #release({ task }: Known): Promise<void> {
    if (task.kind !== "IMPORT") return;
    const { upload_key: key } = JSON.parse(task.detail) as ImportDetail;
    await this.#service.broker.call("upload.release", { key, owner: "progress" });
  }

  async #inQueue(channel: string, hash: string, input: string): Promise<RunTask> {
    const { task } = await this.#service.broker.call<{ task: RunTask }, object>("queues.create", {
      channel,
      hash,
      input,
    });
    return task;
  }

  async #lookAround(): Promise<void> {
    // A node that has just started may know of no queue yet.
    if (!this.#service.broker.registry.actions.isAvailable("queues.create")) return;
    for (let ids = await this.#service.tasks.due(BATCH); ids.length > 0; ids = await this.#service.tasks.due(BATCH)) {
      for (const id of ids) this.see(id);
      await Promise.all(this.#busy);
      if (this.#stop.signal.aborted) return;
    }
  }

  async #removeOldFiles(): Promise<void> {
    const { objects, broker } = this.#service;
    const before = Date.now() - configOf(broker).fileRetentionDays * DAY_MS;
    for await (const { key, modifiedAt } of objects.list(FILES)) {
      if (this.#stop.signal.aborted) return;
      if (modifiedAt.getTime() < before) await objects.delete(key);
    }
  }

  /** What a process has left that died at its work. */
  async #removeDeadWork(): Promise<void> {
    const directory = tempDir(configOf(this.#service.broker).dataDir);
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      const { mtimeMs } = await stat(path);
      if (mtimeMs < Date.now() - DEAD_AFTER_MS) await rm(path, { recursive: true, force: true });
    }
  }

  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await work().catch((error: unknown) => this.#tell("tasks could not be looked at", error));
      await pauseAbout(ms, signal);
    }
  }

  #tell(what: string, error: unknown): void {
    if (!this.#stop.signal.aborted) this.#service.logger.warn(what, error);
  }
}
