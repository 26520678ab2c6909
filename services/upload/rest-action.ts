import type { ActionSchema, Context } from "moleculer";
import type protobuf from "protobufjs";
import type { Params } from "./request.ts";
import type { Message } from "./wire.ts";
import { json, protoNames } from "./wire.ts";

/** The REST path of an RPC: another action of the service answers it, and this one speaks protobuf JSON. */
export function restOf(path: string, action: string, answer: protobuf.Type, timeout?: number): ActionSchema {
  return {
    rest: path,
    ...(timeout !== undefined && { timeout }),
    async handler(ctx: Context<Params>) {
      return json(answer, await ctx.call<Message, Params>(`upload.${action}`, protoNames(ctx.params)));
    },
  };
}
