/** What operators do with channels: longshore.v1.Queues, in gRPC and REST. */
import type { ActionSchema, Service } from "moleculer";
import { invalidArgument } from "../../lib/errors.ts";
import { readPageToken, writePageToken } from "../../lib/page-token.ts";
import type { ChannelCounts } from "./channel-counts.ts";
import type { Activity, RecentActivity } from "./channel-statistics.ts";
import type { Channel, ChannelSettings } from "./channels.ts";
import type { QueuesService } from "./queues.service.ts";
import { checkChannel } from "./task-request.ts";
import type { Params, StandardContext } from "./wire.ts";
import { done, readMessage, readPageSize, readText, readUint64 } from "./wire.ts";

type This = Service & QueuesService;

const SETTINGS_FIELDS = new Set(["Concurrency", "Rate", "RateSeconds", "Fair", "RetentionDays"]);
const MAX_CONCURRENCY = 100_000;
const MAX_RATE = 1_000_000;
const MAX_RATE_SECONDS = 86_400;
const MAX_RETENTION_DAYS = 3_650;

export const channelActions = {
  queryChannel: {
    rest: "GET /v1/queues/channels/{Channel}",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const name = readChannel(ctx.params.Channel);
      const [channel, counts, recent] = await Promise.all([
        this.channels.refresh(name),
        this.statistics.counts(name),
        this.statistics.recent(name),
      ]);
      return done({
        Data: { ...writeChannel(channel), Statistics: writeStatistics(counts, recent, this.tasks.now()) },
      });
    },
  },

  queryChannels: {
    rest: "GET /v1/queues/channels",
    idempotent: true,
    async handler(this: This, ctx: StandardContext) {
      const size = readPageSize(ctx.params);
      const token = readText("PageToken", ctx.params.PageToken);
      const [after = ""] = readPageToken("PageToken", token, "channels") ?? [];
      const page = await channelsAfter(this, String(after), size + 1);
      const channels = page.slice(0, size);
      const last = page.length > size ? channels.at(-1) : undefined;
      return done({
        Data: channels.map(writeChannel),
        NextPageToken: last ? writePageToken("channels", [last._id]) : "",
      });
    },
  },

  configureChannel: {
    rest: "PUT /v1/queues/channels/{Channel}",
    async handler(this: This, ctx: StandardContext) {
      const name = readChannel(ctx.params.Channel);
      const settings = readSettings(ctx.params.Settings);
      if (this.isInternal(name)) refuseForOurs(name, settings);
      return done({ Data: writeChannel(await this.channels.configure(name, settings)) });
    },
  },

  pauseChannel: {
    rest: "POST /v1/queues/channels/{Channel}:pause",
    async handler(this: This, ctx: StandardContext) {
      const channel = await this.channels.setStatus(readChannel(ctx.params.Channel), "PAUSED");
      return done({ Data: writeChannel(channel) });
    },
  },

  drainChannel: {
    rest: "POST /v1/queues/channels/{Channel}:drain",
    async handler(this: This, ctx: StandardContext) {
      const name = readChannel(ctx.params.Channel);
      if (this.isInternal(name)) {
        throw invalidArgument(
          "Channel",
          `channel ${name} belongs to a service of Longshore, which counts on its tasks being accepted: pause it instead`,
        );
      }
      return done({ Data: writeChannel(await this.channels.setStatus(name, "DRAINING")) });
    },
  },

  resumeChannel: {
    rest: "POST /v1/queues/channels/{Channel}:resume",
    async handler(this: This, ctx: StandardContext) {
      const channel = await this.channels.setStatus(readChannel(ctx.params.Channel), "ACTIVE");
      return done({ Data: writeChannel(channel) });
    },
  },
} satisfies Record<string, ActionSchema<This>>;

/** The channels for which something is set and those that were busy in the last day, by name. */
async function channelsAfter(service: This, after: string, limit: number): Promise<Channel[]> {
  const [set, active] = await Promise.all([
    service.channels.list(after, limit),
    service.statistics.active(after, limit),
  ]);
  const channels = new Map(active.map((name) => [name, withoutSettings(name)]));
  for (const channel of set) channels.set(channel._id, channel);
  return [...channels.values()].sort(byName).slice(0, limit);
}

function withoutSettings(name: string): Channel {
  return { _id: name, status: "ACTIVE", settings: {}, updateTime: new Date(0) };
}

/** As the datastore sorts: by the bytes of UTF-8. */
function byName(left: Channel, right: Channel): number {
  return Buffer.compare(Buffer.from(left._id), Buffer.from(right._id));
}

function readChannel(value: unknown): string {
  const channel = readText("Channel", value);
  checkChannel("Channel", channel);
  return channel;
}

function readSettings(value: unknown): ChannelSettings {
  const message = readMessage("Settings", value, SETTINGS_FIELDS);
  const settings: ChannelSettings = {};
  const concurrency = readLimit(message, "Concurrency", MAX_CONCURRENCY);
  const rate = readLimit(message, "Rate", MAX_RATE);
  const rateSeconds = readLimit(message, "RateSeconds", MAX_RATE_SECONDS);
  const retentionDays = readLimit(message, "RetentionDays", MAX_RETENTION_DAYS);
  if (rateSeconds !== undefined && rate === undefined) {
    throw invalidArgument("Settings.RateSeconds", "must be given together with Rate");
  }
  if (message.Fair !== undefined && message.Fair !== null && typeof message.Fair !== "boolean") {
    throw invalidArgument("Settings.Fair", "must be true or false");
  }
  if (concurrency !== undefined) settings.concurrency = concurrency;
  if (rate !== undefined) Object.assign(settings, { rate, rateSeconds: rateSeconds ?? 1 });
  if (message.Fair) settings.fair = true;
  if (retentionDays !== undefined) settings.retentionDays = retentionDays;
  return settings;
}

/** Undefined where it is not given, which is no limit; 0 would be none that anything gets through. */
function readLimit(message: Params, name: string, max: number): number | undefined {
  const field = `Settings.${name}`;
  const value = message[name];
  if (value === undefined || value === null) return undefined;
  const limit = Number(readUint64(field, value));
  if (limit < 1 || limit > max) throw invalidArgument(field, `must be 1 to ${max}; without it there is no limit`);
  return limit;
}

function refuseForOurs(name: string, { fair, retentionDays }: ChannelSettings): void {
  const ours = `channel ${name} belongs to a service of Longshore`;
  if (fair) throw invalidArgument("Settings.Fair", `${ours}, whose tasks have no owners to take turns`);
  if (retentionDays !== undefined) {
    throw invalidArgument("Settings.RetentionDays", `${ours}, whose results are kept as TASK_RETENTION_DAYS says`);
  }
}

function writeChannel({ _id, status, settings }: Channel): Params {
  const { concurrency, rate, rateSeconds, fair, retentionDays } = settings;
  const message: Params = {};
  if (concurrency !== undefined) message.Concurrency = String(concurrency);
  if (rate !== undefined) Object.assign(message, { Rate: String(rate), RateSeconds: String(rateSeconds ?? 1) });
  if (fair) message.Fair = true;
  if (retentionDays !== undefined) message.RetentionDays = String(retentionDays);
  return { Name: _id, Status: status, Settings: message };
}

function writeStatistics(counts: ChannelCounts, recent: RecentActivity, now: Date): Params {
  const { oldestReadyAt = now } = counts;
  return {
    Ready: String(counts.ready),
    Delayed: String(counts.delayed),
    Chained: String(counts.chained),
    Running: String(counts.running),
    OldestReadySeconds: Math.max(0, now.getTime() - oldestReadyAt.getTime()) / 1_000,
    LastMinute: writeActivity(recent.lastMinute),
    LastHour: writeActivity(recent.lastHour),
    LastDay: writeActivity(recent.lastDay),
  };
}

function writeActivity(activity: Activity): Params {
  return {
    Created: String(activity.created),
    Succeeded: String(activity.succeeded),
    Failed: String(activity.failed),
    Cancelled: String(activity.cancelled),
    Retried: String(activity.retried),
    Lost: String(activity.lost),
    Throughput: activity.throughput,
    RunSecondsP50: activity.runP50 / 1_000,
    RunSecondsP95: activity.runP95 / 1_000,
    RunSecondsP99: activity.runP99 / 1_000,
  };
}
