/** How the collection of tasks is indexed. What most tasks do not have is in partial indexes, so that they pay nothing for it. */
import type { IndexDescription } from "../../lib/datastore/datastore.ts";

/** Every query of tasks names one of these. */
export const TASK_INDEXES: IndexDescription[] = [
  { name: "hash", key: { hash: 1 }, unique: true },
  {
    name: "claim",
    key: { channel: 1, priority: -1, readyAt: 1, _id: 1 },
    partialFilterExpression: { state: "READY" },
  },
  {
    name: "fair",
    key: { channel: 1, priority: -1, owner: 1, readyAt: 1, _id: 1 },
    partialFilterExpression: { state: "READY", fair: true },
  },
  { name: "due", key: { availableAt: 1 }, partialFilterExpression: { state: "DELAYED" } },
  { name: "delayed", key: { channel: 1 }, partialFilterExpression: { state: "DELAYED" } },
  { name: "chained", key: { channel: 1, _id: 1 }, partialFilterExpression: { state: "CHAINED" } },
  { name: "deadline", key: { deadline: 1 }, partialFilterExpression: { deadline: { $exists: true } } },
  { name: "lease", key: { leaseUntil: 1 }, partialFilterExpression: { state: "RUNNING" } },
  { name: "running", key: { channel: 1 }, partialFilterExpression: { state: "RUNNING" } },
  {
    name: "failed",
    key: { channel: 1, endTime: -1, _id: -1 },
    partialFilterExpression: { state: "FAILURE" },
  },
  { name: "stream", key: { stream: 1, _id: 1 }, partialFilterExpression: { stream: { $exists: true } } },
  { name: "created", key: { createTime: -1, _id: -1 } },
  { name: "owner", key: { owner: 1, createTime: -1, _id: -1 } },
  { name: "successor", key: { next: 1 }, unique: true, partialFilterExpression: { next: { $exists: true } } },
  {
    name: "label",
    key: { label: 1, createTime: -1, _id: -1 },
    partialFilterExpression: { label: { $exists: true } },
  },
  {
    name: "expiry",
    key: { expireAt: 1 },
    expireAfterSeconds: 0,
    partialFilterExpression: { expireAt: { $exists: true } },
  },
];
