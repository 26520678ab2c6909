/** Every query of tasks, their tags and their logs reads an index in the order in which it wants them, on both stores. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Collection, Datastore, Document, Filter, FindOptions } from "../../lib/datastore/datastore.ts";
import { openDatastore } from "../../lib/datastore/open.ts";
import { readFilter } from "../../services/operations/filter.ts";
import { countChannel } from "../../services/queues/channel-counts.ts";
import { Channels } from "../../services/queues/channels.ts";
import { TASK_INDEXES } from "../../services/queues/task-indexes.ts";
import type { TaskSearch } from "../../services/queues/task-queries.ts";
import type { TaskListener } from "../../services/queues/task-store.ts";
import { TaskStore } from "../../services/queues/task-store.ts";
import type { Task } from "../../services/queues/task.ts";
import { cancel, promote } from "../../services/queues/task.ts";
import { describeWith } from "../servers.ts";
import { ownDatabase } from "../topologies.ts";

interface Query {
  name: string;
  collection: Collection<Document>;
  filter: Filter<Document>;
  options?: FindOptions;
}

const OBSERVED = new Set(["tasks", "task_tags", "task_logs"]);
const FILTERED = new Set([
  "find",
  "findOne",
  "findOneAndUpdate",
  "countDocuments",
  "updateOne",
  "updateMany",
  "deleteOne",
  "deleteMany",
]);

/** A query without its values, but for the states: there are indexes for some of them. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return [...new Set(value.map((item) => JSON.stringify(shapeOf(item))))];
  if (typeof value !== "object" || value === null || value instanceof Date) return typeof value;
  return Object.fromEntries(
    Object.entries(value).map(([field, item]) => [field, field === "state" ? item : shapeOf(item)]),
  );
}

/** The datastore itself, which also notes what is asked of the observed collections, each kind of query once. */
function observed(datastore: Datastore, queries: Map<string, Query>): Datastore {
  const note = (query: Query) => {
    const shape = JSON.stringify([query.name, shapeOf(query.filter), query.options]);
    queries.set(shape, query);
  };
  const collection = async <T extends Document>(...[name, indexes]: Parameters<Datastore["collection"]>) => {
    const opened = await datastore.collection<T>(name, indexes);
    if (!OBSERVED.has(name)) return opened;
    const plain = opened as unknown as Collection<Document>;
    return new Proxy(opened, {
      get(target, method: keyof Collection<T> & string) {
        // An async function that answers it asks whether it is a promise.
        if (typeof target[method] !== "function") return undefined;
        return (...args: unknown[]) => {
          if (FILTERED.has(method)) {
            const options =
              method.startsWith("find") || method === "countDocuments" ? (args.at(-1) as FindOptions) : {};
            const { sort, limit, hint, projection } = args.length > 1 ? options : {};
            note({
              name,
              collection: plain,
              filter: args[0] as Filter<Document>,
              options: { sort, limit, hint, projection },
            });
          }
          if (method === "bulkWrite") {
            for (const operation of args[0] as Record<string, { filter?: Filter<Document> }>[]) {
              const { filter } = Object.values(operation)[0] ?? {};
              if (filter) note({ name, collection: plain, filter });
            }
          }
          return Reflect.apply(target[method] as (...args: unknown[]) => unknown, target, args);
        };
      },
    });
  };
  return {
    kind: datastore.kind,
    collection,
    now: () => datastore.now(),
    ping: () => datastore.ping(),
    close: () => datastore.close(),
  };
}

/** Whatever a client asks for: an index says where to look, and how far. */
const OPERATION_FILTERS = [
  "",
  'name = "operations/known"',
  "done = false AND metadata.owner = 1",
  'metadata.channel = "ma*" OR NOT error.code = 2',
  "create_time > 2020-01-01T00:00:00Z metadata.progress_percent >= 0",
];

const listener: TaskListener = {
  created: () => undefined,
  changed: () => undefined,
  available: () => undefined,
  ended: () => undefined,
  due: () => undefined,
  stopped: () => undefined,
  failed: (error) => {
    throw error;
  },
};

/** Does all that the service asks of the store, at least once. */
async function useAll(store: TaskStore, channels: Channels, datastore: Datastore): Promise<void> {
  const { signal } = new AbortController();
  const later = new Date(Date.now() + 3_600_000);
  const channel = "mail";
  const claim = (from: string, max = 10) =>
    store.claim(from, [{ max, holder: "w", stream: "s", leaseMs: 60_000, notices: true }]);
  const make = (more: object = {}) => store.create({ channel, ...more });

  await channels.configure("fair", { fair: true });
  await channels.configure("limited", { concurrency: 1 });
  await Promise.all(
    Array.from({ length: 300 }, (_, owner) => make({ owner: `${owner % 7}`, tags: { kind: "a", of: "x" } })),
  );
  await Promise.all(Array.from({ length: 20 }, (_, owner) => make({ channel: "fair", owner: `${owner % 3}` })));
  const { task: known } = await make({ hash: "known", label: "job/1", priority: 3 });
  await make({ hash: "known", priority: 3 });
  await make({ delayMs: 3_600_000 });
  await make({ deadline: later, maxRunMs: 60_000 });
  await make({ channel: "limited" });
  const { task: head } = await make({ channel: "chain" });
  const { task: next } = await make({ channel: "chain", next: head._id });
  await make({ channel: "chain", next: next._id });
  await store.createRun("run", { channel, internal: true });
  await store.createRun("run", { channel, internal: true });

  const [claimed = []] = await claim(channel);
  await claim(channel);
  await claim(channel, 100);
  await claim("fair", 5);
  await claim("fair", 5);
  await claim("limited");
  const [one, two, three] = claimed as [Task, Task, Task];
  const check = () => undefined;
  await store.report(one._id, { state: "RUNNING", output: "" }, ["line"], check);
  await store.report(one._id, { state: "FAILURE", output: "" }, Array.from({ length: 1_001 }, String), check);
  await store.report(two._id, { state: "FAILURE", output: "" }, [], check);
  await store.report(three._id, { state: "FAILURE", output: "" }, [], check);
  await store.change(known._id, promote);
  await store.logs(one._id, 0);
  await store.sweeps.redrive(two._id, check);

  await store.get(one._id);
  await store.findByHash("known");
  await store.many([one._id, two._id]);
  await store.listByOwner("1", 10, 1);
  const [labelled] = await store.listByLabel("job/1", new Date(0), null);
  await store.listByLabel("job/1", new Date(0), labelled!);
  await store.countOpen("job/1", new Date(0), 5);
  await store.waiting(channel);
  await store.heldBy("s", 0, 10);
  await store.due(store.now(), 10);
  await store.overdue(store.now(), 10);
  await store.expired(store.now(), 10);
  await store.runningInternal(10);
  await countChannel(await datastore.collection<Task>("tasks"), channel);

  const tags = { kind: "a", of: "x" };
  const byTags = await store.queries.byTags({ tags }, 2, undefined);
  await store.queries.byTags({ tags, channel, state: "WAITING" }, 2, byTags.next);
  const dead = await store.queries.failed({ channel }, 1, undefined);
  await store.queries.failed({ channel }, 1, dead.next);
  const within = { channel, endedFrom: new Date(0), endedBefore: later };
  const narrowed = await store.queries.failed({ ...within, owner: "1" }, 1, undefined);
  await store.queries.failed(within, 1, narrowed.next ?? dead.next);
  for (const text of OPERATION_FILTERS) {
    const search = readFilter(text) as TaskSearch;
    const page = await store.queries.search(search, 1, undefined);
    await store.queries.search(search, 1, page.next ?? { _id: one._id, time: one.createTime });
  }
  await store.byHashes(["known"]);
  await store.sweeps.redriveAll({ channel }, signal);
  await store.settleChains(signal);
  await store.cancel(head._id, (task, now) => cancel(task, "", now));
  await store.sweeps.purge(channel, signal);
}

function everyQueryIsIndexed(open: () => Promise<Datastore>): void {
  let datastore: Datastore;
  let channels: Channels;
  const queries = new Map<string, Query>();

  beforeAll(async () => {
    datastore = await open();
    channels = await Channels.open(datastore, () => undefined);
    const seen = observed(datastore, queries);
    const store = await TaskStore.open({
      datastore: seen,
      channels,
      retentionDays: 1,
      listener,
      offer: () => undefined,
    });
    await useAll(store, channels, seen);
  });

  afterAll(async () => {
    await channels?.stop();
    await datastore?.close();
  });

  test("no query of tasks, tags or logs reads what it does not want or sorts what it has read", async () => {
    const explained = await Promise.all(
      [...queries.values()].map(async ({ name, collection, filter, options }) => {
        const { index, sorted, detail } = await collection.explain(filter, options);
        return { name, filter, sort: options?.sort, index, sorted, detail };
      }),
    );
    expect(explained.length).toBeGreaterThan(30);
    expect(explained.filter(({ index, sorted }) => index === null || sorted)).toEqual([]);
    const used = new Set(explained.map(({ name, index }) => `${name}.${index}`));
    // Nor is there an index that no query reads, but for what time removes.
    const declared = TASK_INDEXES.map(({ name }) => `tasks.${name}`);
    expect(declared.filter((name) => !used.has(name))).toEqual(["tasks.expiry"]);
  });
}

describe("the embedded store", () => {
  let directory: string;
  everyQueryIsIndexed(async () => {
    directory = await mkdtemp(join(tmpdir(), "longshore-test-"));
    return openDatastore({ dataDir: directory });
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));
});

describeWith("mongodb", "MongoDB", () => {
  everyQueryIsIndexed(() => openDatastore({ mongodbUri: ownDatabase(), dataDir: "" }));
});
