/** What operators do with channels: longshore.v1.Queues, in gRPC and REST. */
import type { ActionSchema, Service } from "moleculer";
import type { QueuesService } from "./queues.service.ts";

type This = Service & QueuesService;

export const channelActions = {} satisfies Record<string, ActionSchema<This>>;
