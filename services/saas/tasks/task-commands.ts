/** What the commands of bulk loads do. */
import { randomUUID } from "node:crypto";
import type { Account, DataSpace } from "../account-store.ts";
import { placeIn } from "../place.ts";
import { refusal } from "../refusal.ts";
import type { SaasAnswer, TaskMessage, TaskNamed } from "../wire.ts";
import { encodeTask, statusName } from "../wire.ts";
import type { Attendant } from "./attendant.ts";
import type { BlockStore } from "./block-store.ts";
import type { LoadTask, WholeTask } from "./load-task.ts";
import { KEPT_MS, OPEN_STATES, STATES_OF_FILTER, demandReady, idOf, taskMessage, wholeMessage } from "./load-task.ts";
import type { LoadLimits } from "./task-request.ts";
import { readSha256, readTask } from "./task-request.ts";
import type { TaskStore } from "./task-store.ts";

export interface TaskLimits extends LoadLimits {
  /** Of an account, that have not ended. */
  tasks: number;
}

export interface TaskNeeds {
  tasks: TaskStore;
  blocks: BlockStore;
  attendant: Attendant;
  limits: TaskLimits;
}

/** A task is part of a message between nodes; one of NATS has a megabyte. */
const MAX_TASK_BYTES = 800_000;
const LISTED_TASKS = 1_000;
/** Each has some 3 KB at most without its files. */
const MAX_LIST_BYTES = 800_000;

export class TaskCommands {
  readonly #needs: TaskNeeds;

  constructor(needs: TaskNeeds) {
    this.#needs = needs;
  }

  /** Whether a load runs in the data space. */
  async runsIn({ _id, account }: DataSpace): Promise<boolean> {
    return (await this.#needs.tasks.running(account))?.space === _id;
  }

  /** Of a task that is there already TASK_EXISTS and that task: who did not get the first answer can go on. */
  async create(request: TaskMessage, space: DataSpace, account: Account): Promise<SaasAnswer> {
    const { tasks, blocks, limits } = this.#needs;
    const { app } = placeIn(space, request.appid);
    const message = readTask(request, limits);
    const task = this.#newTask(message, { account: account.id, space: space._id, app });
    const bytes = task.task.length + task.files.length;
    if (bytes > MAX_TASK_BYTES) {
      throw refusal("TASK_MARSHAL", `task_create: has ${bytes} bytes, more than ${MAX_TASK_BYTES}`);
    }
    const found = await this.#find(task._id);
    const known = found && (await tasks.whole(found));
    if (known) return this.#exists(known, task);
    await this.#demandRoom(account, limits.tasks - 1);
    if (!(await tasks.insert(task))) return this.create(request, space, account);
    try {
      // Others may have come at the same time.
      await this.#demandRoom(account, limits.tasks);
    } catch (error) {
      await tasks.remove(task);
      throw error;
    }
    await blocks.link(task);
    return { task_create_res: await this.#told(await this.settle(task)) };
  }

  async list({ status_filter }: { status_filter: number }, { id }: Account): Promise<SaasAnswer> {
    const name = statusName(status_filter);
    if (name === undefined) throw refusal("DATA_ERROR", "status_filter: is none of TaskStatus");
    return { task_list_res: { tasks: (await this.listed(id, name)).map((task) => taskMessage(task)) } };
  }

  /** The newest, as many as one message holds. */
  async listed(account: string, filter = "ALL"): Promise<LoadTask[]> {
    const found = await this.#needs.tasks.list(account, LISTED_TASKS, STATES_OF_FILTER[filter]);
    let bytes = 0;
    return found.filter((task) => {
      const { task_description, source_path } = taskMessage(task);
      bytes += 1_000 + 3 * (task_description.length + source_path.length);
      return task.state !== "DELETED" && bytes <= MAX_LIST_BYTES;
    });
  }

  async run(named: TaskNamed, account: Account): Promise<SaasAnswer> {
    const { tasks, attendant } = this.#needs;
    const task = await this.load(account.id, named);
    demandReady(task);
    if (!attendant.canRun) throw refusal("CMD_ERROR", "task_run: no node that offers queues can be reached now");
    const now = tasks.now();
    const queued = await tasks.change(task, ["READY"], { state: "QUEUED", queueTime: now, due: now });
    // It was something else a moment ago.
    if (!queued) return this.run(named, account);
    await attendant.giveTurn(account.id);
    return { task_run_res: taskMessage(await this.load(account.id, named)) };
  }

  async delete(named: TaskNamed, account: Account): Promise<SaasAnswer> {
    return { task_delete_res: taskMessage(await this.remove(await this.load(account.id, named))) };
  }

  /** The task as it was told of last. */
  async remove(task: LoadTask): Promise<LoadTask> {
    const { tasks, attendant } = this.#needs;
    const states = [...OPEN_STATES, "SUCCESS", "FAIL"] as const;
    const deleted = await tasks.change(task, states, { state: "DELETED", due: tasks.now() });
    if (!deleted) throw notThere();
    await attendant.remove(deleted);
    return deleted;
  }

  async info(named: TaskNamed, account: Account): Promise<SaasAnswer> {
    const task = await this.load(account.id, named);
    const whole = await this.#needs.tasks.whole(task);
    if (!whole) throw notThere();
    return { ...(whole.status !== "" && { status: whole.status }), task_info_res: await this.#told(whole) };
  }

  /** Throws TASK_IS_NOT_EXISTS. */
  async load(account: string, { task_sha256 }: TaskNamed): Promise<LoadTask> {
    const task = await this.#find(idOf(account, readSha256("task_sha256", task_sha256)));
    if (!task) throw notThere();
    return task;
  }

  /** READY once its blocks are all there; answers the task as it is then. */
  async settle(task: WholeTask): Promise<WholeTask> {
    if (!(await this.#needs.blocks.allUploaded(task))) return task;
    return { ...task, ...(await this.#needs.tasks.change(task, ["WAITING"], { state: "READY" })) };
  }

  /** What was deleted is gone, also where who deleted it died before all of it was. */
  async #find(id: string): Promise<LoadTask | undefined> {
    const task = await this.#needs.tasks.find(id);
    if (task?.state !== "DELETED") return task;
    await this.#needs.attendant.remove(task);
    return undefined;
  }

  async #exists(known: WholeTask, asked: WholeTask): Promise<SaasAnswer> {
    // Whoever created it may have died before its blocks were known.
    if (known.state === "WAITING") await this.#needs.blocks.link(known);
    const task = await this.settle(known);
    const isSame = known.task.equals(asked.task) && known.files.equals(asked.files);
    const other = isSame ? "" : ", and is another one";
    return {
      code: "TASK_EXISTS",
      status: `task_sha256: there is a task of that name${other}`,
      task_create_res: await this.#told(task),
    };
  }

  /** Of one that has ended no block is kept. */
  async #told(task: WholeTask): Promise<TaskMessage> {
    const isOpen = OPEN_STATES.includes(task.state);
    return wholeMessage(task, isOpen ? await this.#needs.blocks.uploaded(task) : new Map());
  }

  async #demandRoom({ id }: Account, most: number): Promise<void> {
    if ((await this.#needs.tasks.countOpen(id, most + 1)) <= most) return;
    throw refusal(
      "TASK_NUM_LIMIT",
      `task_create: the account has ${this.#needs.limits.tasks} tasks that have not ended`,
    );
  }

  #newTask(
    { task_file_infos, ...message }: TaskMessage,
    place: Pick<LoadTask, "account" | "space" | "app">,
  ): WholeTask {
    const { task_sha256: sha256, task_size } = message;
    const createTime = this.#needs.tasks.now();
    return {
      _id: idOf(place.account, sha256),
      ...place,
      sha256,
      run: randomUUID(),
      state: "WAITING",
      task: encodeTask(message),
      files: encodeTask({ task_file_infos }),
      size: Number(task_size),
      createTime,
      status: "",
      due: new Date(createTime.getTime() + KEPT_MS),
    };
  }
}

function notThere() {
  return refusal("TASK_IS_NOT_EXISTS", "task_sha256: the account has no such task");
}
