/** REST of the RPCs: protobuf JSON, and the task in the path. */
import type { ActionSchema, Context } from "moleculer";
import { rest } from "../../lib/rest-options.ts";
import type { This, WatchMeta } from "./progress.service.ts";
import type { Params } from "./request.ts";
import { readDigits } from "./request.ts";
import type { Message } from "./wire.ts";
import { fromRest, toRest } from "./wire.ts";

export const restActions = {
  restSubmit: {
    rest: "POST /v1/task/submit",
    async handler(this: This, ctx: Context<Params>) {
      const answer = await ctx.call<Message, Message>("progress.submitTask", fromRest("SubmitTaskRequest", ctx.params));
      return toRest("SubmitTaskResponse", answer);
    },
  },

  restDetail: {
    rest: "GET /v1/task/detail",
    idempotent: true,
    async handler(this: This, { params }: Context<Params>) {
      const id = readDigits(fromRest("GetTaskDetailRequest", params)["task_id"], "task_id");
      return toRest("GetTaskDetailResponse", await this.detail(await this.tasks.load(id)));
    },
  },

  restList: {
    rest: "GET /v1/tasks",
    idempotent: true,
    async handler(this: This, ctx: Context<Params>) {
      const answer = await ctx.call<Message, Message>("progress.listTasks", fromRest("ListTasksRequest", ctx.params));
      return toRest("ListTasksResponse", answer);
    },
  },

  restApprove: restChange("POST /v1/task/{id}:approve", "approve", "ApproveRequest"),
  restReject: restChange("POST /v1/task/{id}:reject", "reject", "ApproveRequest"),
  restStart: restChange("POST /v1/task/{id}:start", "start", "StartRequest"),
  restCancel: restChange("POST /v1/task/{id}:cancel", "cancel", "CancelRequest"),

  /** Server-sent events: the detail, and again when it has changed, until the task has ended. */
  restWatch: {
    rest: rest({ path: "GET /v1/task/{id}:watch", response: "events" }),
    timeout: 0,
    bulkhead: { enabled: false },
    async handler(this: This, ctx: Context<Params, WatchMeta>) {
      const { items, ...change } = await this.nextChange(ctx, readDigits(ctx.params["id"], "id"));
      return { items: items.map((item) => toRest("GetTaskDetailResponse", item)), ...change };
    },
  },
} satisfies Record<string, ActionSchema<This>>;

type RestRequest = "ApproveRequest" | "StartRequest" | "CancelRequest";

/** An RPC that answers the detail; REST names the task in the path. */
function restChange(path: string, action: string, request: RestRequest) {
  return {
    rest: path,
    async handler(this: This, ctx: Context<Params>) {
      const { id, ...params } = ctx.params;
      const message = fromRest(request, params);
      const answer = await ctx.call<Message, Message>(`progress.${action}`, { ...message, progress_id: id });
      return toRest("GetTaskDetailResponse", answer);
    },
  };
}
