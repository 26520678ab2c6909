/** Chains that end as a whole: in few trips to the store, whoever else ends links of them, and where a node dies meanwhile. */
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Collection, Datastore, Document } from "../../lib/datastore/datastore.ts";
import { openDatastore } from "../../lib/datastore/open.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { Task } from "../../services/queues/task.ts";
import { cancel } from "../../services/queues/task.ts";
import type { QueueNode } from "../queue-nodes.ts";
import { openQueueNodes } from "../queue-nodes.ts";
import { describeWith } from "../servers.ts";
import { withTempDir } from "../temp-dir.ts";
import { ownDatabase } from "../topologies.ts";

const LINKS = 300;
/** Trips to the store for a chain of so many links. */
const MAX_TRIPS = 30;

/** The datastore itself, which also tells of each trip for tasks. */
function counted(datastore: Datastore, trip: () => void): Datastore {
  const collection = async <T extends Document>(...[name, indexes]: Parameters<Datastore["collection"]>) => {
    const opened = await datastore.collection<T>(name, indexes);
    if (name !== "tasks") return opened;
    return new Proxy(opened, {
      get(target, method: keyof Collection<T> & string) {
        if (typeof target[method] !== "function") return undefined;
        return (...args: unknown[]) => {
          trip();
          return Reflect.apply(target[method] as (...args: unknown[]) => unknown, target, args);
        };
      },
    });
  };
  const { kind } = datastore;
  return { kind, collection, now: () => datastore.now(), ping: () => datastore.ping(), close: () => datastore.close() };
}

function endAsAWhole(open: (dataDir: string) => Promise<Datastore>): void {
  let nodes: QueueNode[];
  let tasks: Collection<Task>;
  let trips: number;
  let over: PromiseWithResolvers<void>;
  let closed: Promise<void>;

  beforeEach(async () => {
    over = Promise.withResolvers();
    const opened = Promise.withResolvers<void>();
    closed = withTempDir(async (dataDir) => {
      const datastore = await open(dataDir);
      const seen = counted(datastore, () => (trips += 1));
      nodes = await openQueueNodes({ datastores: [seen, seen], maxLost: 5 });
      tasks = await datastore.collection<Task>("tasks");
      opened.resolve();
      await over.promise;
      await Promise.all(nodes.map(({ channels }) => channels.stop()));
      await datastore.close();
    });
    await Promise.race([opened.promise, closed]);
  });

  afterEach(async () => {
    over.resolve();
    await closed;
  });

  /** A chain whose links the nodes make by turns; those with these numbers follow however the one before ends. */
  async function makeChain(links: number, always: number[] = []): Promise<number[]> {
    const ids: number[] = [];
    for (let link = 0; link < links; link += 1) {
      const request = { channel: "chain", next: ids.at(-1), always: always.includes(link) };
      ids.push((await nodes[link % 2]!.store.create(request)).task._id);
    }
    return ids;
  }

  /** What the cancel answers; nothing where it is refused. */
  async function cancelled(node: number, id: number): Promise<number[]> {
    try {
      const answer = await nodes[node]!.store.cancel(id, (task, now) => cancel(task, "", now));
      return answer.map(({ _id }) => _id);
    } catch (error) {
      if (error instanceof LongshoreError && error.type === "FAILED_PRECONDITION") return [];
      throw error;
    }
  }

  async function statesOf(ids: number[]): Promise<string[]> {
    const stored = await tasks.find({ _id: { $in: ids } }).toArray();
    const states = new Map(stored.map(({ _id, state }) => [_id, state]));
    return ids.map((id) => states.get(id) ?? "gone");
  }

  test("a long one is cancelled in a few trips to the store, and the answer has all of it in its order", async () => {
    const ids = await makeChain(LINKS);
    trips = 0;
    expect(await cancelled(0, ids[0]!)).toEqual(ids);
    expect(trips).toBeLessThan(MAX_TRIPS);
    expect(new Set(await statesOf(ids))).toEqual(new Set(["CANCEL"]));
    const last = await tasks.findOne({ _id: ids.at(-1) });
    expect(last?.output).toBe(`task ${ids.at(-2)}, which comes before it, ended CANCEL`);
  });

  test("a link that follows in any case does so, and what is behind it waits on", async () => {
    const ids = await makeChain(40, [20]);
    expect(await cancelled(0, ids[0]!)).toEqual(ids.slice(0, 20));
    expect(await statesOf(ids.slice(20))).toEqual(["READY", ...Array<string>(19).fill("CHAINED")]);
  });

  test("what a node leaves with gaps as it dies, another one finds and cancels", async () => {
    const ids = await makeChain(40, [30]);
    const written = ids.filter((_, link) => link === 0 || (link < 25 && link % 3 === 0));
    await tasks.updateMany({ _id: { $in: written } }, { $set: { state: "CANCEL", endTime: new Date() } });
    await nodes[1]!.store.settleChains(new AbortController().signal);
    const expected = ids.map((_, link) => (link < 30 ? "CANCEL" : link === 30 ? "READY" : "CHAINED"));
    expect(await statesOf(ids)).toEqual(expected);
  });

  test("each link is in one answer where several cancel parts of it at once, while more is linked to its end", async () => {
    const ids = await makeChain(LINKS);
    const more: number[] = [];
    const extend = async () => {
      for (let last = ids.at(-1)!; ;) {
        const made = await nodes[1]!.store.create({ channel: "chain", next: last }).catch((error: unknown) => {
          if (error instanceof LongshoreError && error.type === "FAILED_PRECONDITION") return undefined;
          throw error;
        });
        if (!made) return;
        more.push((last = made.task._id));
      }
    };
    const extending = extend();
    const from = [0, 1, 7, LINKS / 2, LINKS / 2 + 1, LINKS - 1];
    const answers = await Promise.all(from.map((link, index) => cancelled(index % 2, ids[link]!)));
    await extending;
    const told = answers.flat();
    expect(new Set(told).size).toBe(told.length);
    expect(ids.filter((id) => !told.includes(id))).toEqual([]);
    expect(new Set(await statesOf([...ids, ...more]))).toEqual(new Set(["CANCEL"]));
  });
}

describe("chains (embedded store)", () => {
  endAsAWhole((dataDir) => openDatastore({ dataDir }));
});

describeWith("mongodb", "chains (MongoDB)", () => {
  endAsAWhole((dataDir) => openDatastore({ dataDir, mongodbUri: ownDatabase() }));
});
