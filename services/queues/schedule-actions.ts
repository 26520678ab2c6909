/** Schedules as longshore.v1.Queues tells them, in gRPC and REST. */
import type { ActionSchema, Service } from "moleculer";
import type { QueuesService } from "./queues.service.ts";

type This = Service & QueuesService;

export const scheduleActions = {} satisfies Record<string, ActionSchema<This>>;
