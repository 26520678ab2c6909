/** Schedules as longshore.v1.Queues tells them, in gRPC and REST. */
import type { ActionSchema, Context, Service } from "moleculer";
import { invalidArgument, LongshoreError, viewError } from "../../lib/errors.ts";
import { readPageToken, writePageToken } from "../../lib/page-token.ts";
import type { QueuesService } from "./queues.service.ts";
import type { Missed } from "./schedule.ts";
import { checkName, timeAfter } from "./schedule.ts";
import type { Schedule, SchedulePut } from "./schedules.ts";
import { requestOf } from "./standard.ts";
import type { TaskRequest } from "./task-request.ts";
import { newTask } from "./task-request.ts";
import type { Params, StandardContext } from "./wire.ts";
import { done, readMessage, readPageSize, readText, writeTask } from "./wire.ts";

type This = Service & QueuesService;

const SCHEDULE_FIELDS = new Set([
  "Name",
  "Cron",
  "TimeZone",
  "Task",
  "Missed",
  "Paused",
  "NextTime",
  "LastTime",
  "LastHashCode",
  "LastError",
]);
/** What a task has, and what it is made from has not. */
const FIELDS_OF_RUNS = new Set([
  "ID",
  "Next",
  "Prior",
  "State",
  "Output",
  "HashCode",
  "RetryCount",
  "CreateTime",
  "UpdateTime",
]);
const MISSED: readonly string[] = ["SKIP", "LAST", "ALL"] satisfies Missed[];

export const scheduleActions = {
  putSchedule: {
    rest: "PUT /v1/queues/schedules/{Name}",
    async handler(this: This, ctx: StandardContext) {
      return done({ Data: writeSchedule(await this.schedules.put(readPut(this, ctx.params))) });
    },
  },

  querySchedule: {
    rest: "GET /v1/queues/schedules/{Name}",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      return done({ Data: writeSchedule(await this.schedules.get(readName(ctx.params))) });
    },
  },

  querySchedules: {
    rest: "GET /v1/queues/schedules",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const size = readPageSize(ctx.params);
      const position = readPageToken("PageToken", readText("PageToken", ctx.params.PageToken), "schedules");
      const { schedules, more } = await this.schedules.list(String(position?.[0] ?? ""), size);
      const last = more ? schedules.at(-1) : undefined;
      return done({
        Data: schedules.map(writeSchedule),
        NextPageToken: last ? writePageToken("schedules", [last._id]) : "",
      });
    },
  },

  deleteSchedule: {
    rest: "DELETE /v1/queues/schedules/{Name}",
    async handler(this: This, ctx: StandardContext) {
      return done({ Data: writeSchedule(await this.schedules.delete(readName(ctx.params))) });
    },
  },
  /** For other services, whose tasks are on channels of their own; a schedule of that name is replaced. */
  schedule: {
    async handler(this: This, ctx: Context<Omit<SchedulePut, "missed" | "paused">>): Promise<void> {
      const request = { ...ctx.params.request, internal: true as const };
      newTask(request, this.schedules.now());
      await this.schedules.put({ ...ctx.params, request, missed: "LAST", paused: false });
    },
  },

  /** Also where there is none. */
  unschedule: {
    async handler(this: This, ctx: Context<{ name: string }>): Promise<void> {
      await this.schedules.delete(ctx.params.name).catch((error: unknown) => {
        if (viewError(error).type !== "NOT_FOUND") throw error;
      });
    },
  },

  /** When a schedule would run next, in RFC 3339; INVALID_ARGUMENT where it never would. */
  nextTime: {
    handler(this: This, { params }: Context<Pick<SchedulePut, "cron" | "timeZone">>): string {
      return timeAfter(params, this.schedules.now()).toISOString();
    },
  },
} satisfies Record<string, ActionSchema<This>>;

function readName(params: Params): string {
  const name = readText("Name", params.Name);
  checkName("Name", name);
  return name;
}

/** A PutScheduleRequest; REST names the schedule in the path. */
function readPut(service: This, params: Params): SchedulePut {
  const schedule = readMessage("Schedule", params.Schedule, SCHEDULE_FIELDS);
  const inPath = readText("Name", params.Name);
  const name = readText("Schedule.Name", schedule.Name) || inPath;
  checkName("Schedule.Name", name);
  if (inPath && name !== inPath) throw invalidArgument("Schedule.Name", `must be ${inPath}, as in the path`);
  return {
    name,
    cron: readText("Schedule.Cron", schedule.Cron),
    timeZone: readText("Schedule.TimeZone", schedule.TimeZone) || "UTC",
    missed: readMissed(schedule.Missed),
    paused: readPaused(schedule.Paused),
    request: readTemplate(service, schedule.Task),
  };
}

function readMissed(value: unknown): Missed {
  const missed = readText("Schedule.Missed", value) || "SKIP";
  if (!MISSED.includes(missed)) throw invalidArgument("Schedule.Missed", `must be ${MISSED.join(", ")} or empty`);
  return missed as Missed;
}

function readPaused(value: unknown): boolean {
  const paused = value ?? false;
  if (typeof paused !== "boolean") throw invalidArgument("Schedule.Paused", "must be true or false");
  return paused;
}

/** What each run asks for; a task that could not be made now is refused now. */
function readTemplate(service: This, message: unknown): TaskRequest {
  const request = inSchedule(() => requestOf(service, message));
  const { hash, next, delayMs, startAt, deadline } = request;
  const given = { HashCode: hash, Next: next, DelaySeconds: delayMs, StartTime: startAt, Deadline: deadline };
  for (const [name, value] of Object.entries(given)) {
    if (value) throw invalidArgument(`Schedule.Task.${name}`, "must not be given, each run has its own");
  }
  inSchedule(() => newTask(request, service.schedules.now()));
  return request;
}

/** Names the fields of the task as the client wrote them. */
function inSchedule<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof LongshoreError)) throw error;
    const { type, message, data } = error;
    throw new LongshoreError(type, `Schedule.${message}`, { ...data, field: `Schedule.${data.field}` });
  }
}

function writeSchedule(schedule: Schedule): Params {
  return {
    Name: schedule._id,
    Cron: schedule.cron,
    TimeZone: schedule.timeZone,
    Task: writeTemplate(schedule),
    Missed: schedule.missed,
    Paused: schedule.paused,
    NextTime: schedule.paused ? "" : schedule.nextAt.toISOString(),
    LastTime: schedule.lastAt?.toISOString() ?? "",
    LastHashCode: schedule.lastHash ?? "",
    LastError: schedule.lastError ?? "",
  };
}

function writeTemplate({ request, since }: Schedule): Params {
  const task = newTask(JSON.parse(request) as TaskRequest, since);
  const message = writeTask({ ...task, _id: 0, readyAt: since, createTime: since, updateTime: since });
  return Object.fromEntries(Object.entries(message).filter(([name]) => !FIELDS_OF_RUNS.has(name)));
}
