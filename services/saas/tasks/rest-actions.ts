/** What operators do with bulk loads, and how these look as operations. */
import type { ActionSchema, Context } from "moleculer";
import { notFound } from "../../../lib/errors.ts";
import { rest } from "../../../lib/rest-options.ts";
import type { Params } from "../admin.ts";
import { readAccountId } from "../admin.ts";
import type { This } from "../saas.service.ts";
import type { LoadProgress } from "./run-load.ts";
import type { RunTask } from "./attendant.ts";
import type { LoadTask } from "./load-task.ts";
import { hashOf, runOfHash, taskMessage, wholeMessage } from "./load-task.ts";

export const taskActions = {
  listTasks: {
    rest: "GET /v1/saas/accounts/{account}/tasks",
    async handler(this: This, { params }: Context<Params>) {
      const tasks = await this.taskCommands.listed(readAccountId(params));
      return { tasks: tasks.map((task) => taskView(task)) };
    },
  },

  getTask: {
    rest: "GET /v1/saas/accounts/{account}/tasks/{task}",
    async handler(this: This, { params }: Context<Params>) {
      return viewOf(this, await taskOf(this, params));
    },
  },

  deleteTask: {
    rest: "DELETE /v1/saas/accounts/{account}/tasks/{task}",
    async handler(this: This, { params }: Context<Params>) {
      return taskView(await this.taskCommands.remove(await taskOf(this, params)));
    },
  },

  /** The CSV of the lines that held no item. */
  getTaskReport: {
    rest: rest({ path: "GET /v1/saas/accounts/{account}/tasks/{task}/report", response: "object" }),
    async handler(this: This, { params }: Context<Params>) {
      const { run, sha256 } = await taskOf(this, params);
      const key = (await this.loads.find(run))?.report;
      if (key === undefined) throw notFound(`task: there is no report of ${sha256}`);
      return { key, fileName: `${sha256}.bad-lines.csv`, contentType: "text/csv" };
    },
  },

  /** What the operations of loads hold. */
  describeTasks: {
    idempotent: true,
    handler(this: This, { params }: Context<{ tasks: RunTask[] }>) {
      return Promise.all(
        params.tasks.map(async ({ hash, state, output }) => {
          const task = await this.tasks.findRun(runOfHash(hash) ?? "");
          if (!task) return {};
          const told = state === "PROCEEDING" && output !== "" ? (JSON.parse(output) as LoadProgress) : undefined;
          const message =
            told &&
            `${told.lines} lines, ${told.badLines} of them without an item, ${told.bytes} of ${task.size} bytes`;
          // The queue has ended it; that the task has too is a moment away.
          const status = state === "SUCCESS" ? state : taskMessage(task).status;
          return {
            message: message ?? `${status}: ${task.account}/${task.sha256}`,
            response: { ...taskMessage(task), status },
          };
        }),
      );
    },
  },
} satisfies Record<string, ActionSchema<This>>;

async function taskOf({ taskCommands }: This, params: Params): Promise<LoadTask> {
  return taskCommands.load(readAccountId(params), { task_sha256: String(params["task"]) });
}

/** With how far it is, while it runs, and where its report is. */
async function viewOf(service: This, task: LoadTask) {
  const whole = await service.tasks.whole(task);
  const load = task.runTime ? await service.loads.find(task.run) : undefined;
  return {
    ...taskView(task),
    ...(whole && { files: wholeMessage(whole, await service.blocks.uploaded(whole)).task_file_infos }),
    ...(task.runTime && { operation: `operations/${hashOf(task.run)}` }),
    ...(load && { lines: load.good + load.bad, bad_lines: load.bad }),
    ...(load?.report && { report: `/v1/saas/accounts/${task.account}/tasks/${task.sha256}/report` }),
  };
}

function taskView(task: LoadTask) {
  const { task_file_infos: _, status, ...message } = taskMessage(task);
  return { account: task.account, ...message, status, reason: task.status };
}
