import type { ActionSchema, Context } from "moleculer";
import type protobuf from "protobufjs";
import { fromJson } from "../../lib/protobuf/from-json.ts";
import type { Params } from "./request.ts";
import type { Message } from "./wire.ts";
import { json } from "./wire.ts";

/** The messages of an RPC. */
interface Messages {
  request: protobuf.Type;
  answer: protobuf.Type;
}

/** The REST path of an RPC: another action of the service answers it, and this one speaks protobuf JSON. */
export function restOf(path: string, action: string, { request, answer }: Messages, timeout?: number): ActionSchema {
  return {
    rest: path,
    ...(timeout !== undefined && { timeout }),
    async handler(ctx: Context<Params>) {
      return json(answer, await ctx.call<Message, Params>(`upload.${action}`, fromJson(request, ctx.params)));
    },
  };
}
