/** Nodes on one datastore, and the parts of one, that change the same tasks at the same moment: each change is taken whole, or not at all. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Collection, Datastore } from "../../lib/datastore/datastore.ts";
import { openDatastore } from "../../lib/datastore/open.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { Report, Task } from "../../services/queues/task.ts";
import { isEnded, lapse, promote, report } from "../../services/queues/task.ts";
import type { QueueNode } from "../queue-nodes.ts";
import { openQueueNodes } from "../queue-nodes.ts";
import { describeWith } from "../servers.ts";
import { amount, STRESS_TIMEOUT_MS } from "../stress.ts";
import { withTempDir } from "../temp-dir.ts";
import { ownDatabase } from "../topologies.ts";

const MAX_LOST = 3;
const LEASE_MS = 150;
const BATCH = amount(100, 500);
const OPEN: Task["state"][] = ["READY", "DELAYED", "RUNNING"];
/** Of each kind of report that comes twice. */
const TWICE = 340;

function claimOf({ _id, token }: Task): string {
  return `${_id} ${token}`;
}

/** One or two nodes, a datastore for each. */
function races(open: (directory: string) => Promise<Datastore[]>, total: number): void {
  let first: QueueNode;
  let second: QueueNode;
  let tasks: Collection<Task>;
  let closed: Promise<void>;
  const over = Promise.withResolvers<void>();
  /** How and when each task has ended, by what the nodes committed. Two may say so where both did the same in one millisecond. */
  const ends = new Map<number, Set<string>>();
  const endsOf = (id: number): Set<string> => ends.get(id) ?? new Set();
  /** Of the claims whose leases ran out: when the task had last changed for who decided so. */
  const lapsed = new Map<string, Date>();

  beforeAll(async () => {
    const opened = Promise.withResolvers<void>();
    closed = withTempDir(async (directory) => {
      const datastores = await open(directory);
      const nodes = await openQueueNodes({
        datastores,
        maxLost: MAX_LOST,
        onChanged: ({ before, after }) => {
          if (isEnded(after.state) && !isEnded(before.state)) {
            ends.set(after._id, endsOf(after._id).add(`${after.state} ${after.endTime?.getTime()}`));
          }
          if (after.losses > before.losses) lapsed.set(claimOf(before), before.updateTime);
        },
      });
      [first, second = first] = nodes as [QueueNode];
      tasks = await datastores[0]!.collection<Task>("tasks");
      opened.resolve();
      await over.promise;
      await Promise.all(datastores.map((datastore) => datastore.close()));
    });
    await Promise.race([opened.promise, closed]);
  });

  afterAll(async () => {
    over.resolve();
    await closed;
  });

  function createMany(channel: string, count: number): Promise<unknown> {
    return Promise.all(Array.from({ length: count }, () => first.store.create({ channel, retryMax: 3 })));
  }

  async function claim({ store }: QueueNode, channel: string, max: number, leaseMs = 60_000): Promise<Task[]> {
    return (await store.claim(channel, [{ max, holder: "worker", leaseMs }])).flat();
  }

  /** The task as it is after the report; undefined where that was refused. */
  async function say({ store }: QueueNode, id: number, said: Report): Promise<Task | undefined> {
    try {
      return (await store.change(id, (task, now) => report(task, said, now))).after;
    } catch (error) {
      if (error instanceof LongshoreError && error.type === "FAILED_PRECONDITION") return undefined;
      throw error;
    }
  }

  /** Takes from their workers what they have had for too long, and makes what is due ready, again and again. */
  async function reapUntil({ store }: QueueNode, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const [expired, due] = await Promise.all([store.expired(store.now(), 500), store.due(store.now(), 500)]);
      await Promise.all([
        ...expired.map(({ _id }) => store.change(_id, (task, now) => lapse(task, MAX_LOST, now, () => 0))),
        ...due.map(({ _id }) => store.change(_id, promote)),
      ]);
      if (expired.length + due.length === 0) await sleep(1);
    }
  }

  async function whileReaping(body: () => Promise<void>): Promise<void> {
    const stop = new AbortController();
    const reaping = Promise.all([first, second].map((node) => reapUntil(node, stop.signal)));
    try {
      await body();
    } finally {
      stop.abort();
      await reaping;
    }
  }

  /**
   * Reports on the tasks just as their leases end; learns from what comes of it how much before it must send them for about
   * half to be taken.
   */
  class AtTheLast {
    #leadMs = 10;
    taken = 0;
    refused = 0;

    async report(task: Task, node: QueueNode, said: Report): Promise<Task | undefined> {
      const until = task.leaseUntil?.getTime() ?? 0;
      const lead = this.#leadMs + (Math.random() - 0.5) * 20;
      await sleep(Math.max(0, until - first.store.now().getTime() - lead));
      const taken = await say(node, task._id, said);
      if (taken) this.taken += 1;
      else this.refused += 1;
      this.#leadMs = Math.min(LEASE_MS, Math.max(-10, this.#leadMs + (taken ? -0.1 : 0.1)));
      return taken;
    }
  }

  test(
    "a report at the moment its lease runs out ends the task, or the task is lost: never both",
    async () => {
      const last = new AtTheLast();
      const takenFrom = new Map<number, number>();
      const refusals = new Map<number, number>();
      const attempt = async (task: Task, index: number) => {
        const said = { state: "SUCCESS" as const, output: `attempt ${task.attempts}`, worker: "worker" };
        const taken = await last.report(task, index % 2 ? first : second, { ...said, attempt: task.attempts });
        if (taken) takenFrom.set(task._id, task.attempts);
        else refusals.set(task._id, (refusals.get(task._id) ?? 0) + 1);
      };
      await whileReaping(async () => {
        for (let left = total; left > 0; left -= BATCH) {
          await createMany("last", Math.min(BATCH, left));
          for (;;) {
            const claimed = await claim(first, "last", BATCH, LEASE_MS);
            if (claimed.length > 0) await Promise.all(claimed.map(attempt));
            else if (!(await tasks.findOne({ channel: "last", state: { $in: OPEN } }))) break;
          }
        }
      });
      const stored = await tasks.find({ channel: "last" }).toArray();
      expect(stored).toHaveLength(total);
      const wrong = stored.filter(({ _id, state, output, attempts, losses }) => {
        const from = takenFrom.get(_id);
        const byReport =
          state === "SUCCESS" && output === `attempt ${from}` && attempts === from && losses === from - 1;
        const byLoss = state === "FAILURE" && from === undefined && losses === MAX_LOST && attempts === MAX_LOST;
        return !(byReport || byLoss) || endsOf(_id).size !== 1 || (refusals.get(_id) ?? 0) !== losses;
      });
      expect(wrong).toEqual([]);
      // Else it has not met the moment.
      expect(Math.min(last.taken, last.refused)).toBeGreaterThan(total / 50);
    },
    STRESS_TIMEOUT_MS,
  );

  test(
    "who was told that his lease is renewed does not lose it by what was decided before",
    async () => {
      const last = new AtTheLast();
      const renewals = new Map<string, Date>();
      await whileReaping(async () => {
        for (let left = total; left > 0; left -= BATCH) {
          const channel = `renewed-${left}`;
          await createMany(channel, Math.min(BATCH, left));
          const renew = async (task: Task, index: number) => {
            const renewed = await last.report(task, index % 2 ? first : second, { state: "RUNNING", output: "" });
            if (renewed) renewals.set(claimOf(task), renewed.updateTime);
          };
          const claimed = await Promise.all([first, second].map((node) => claim(node, channel, BATCH / 2, LEASE_MS)));
          await Promise.all(claimed.flat().map(renew));
        }
      });
      const lost = [...renewals].filter(
        ([claimed, at]) => lapsed.has(claimed) && lapsed.get(claimed)?.getTime() !== at.getTime(),
      );
      expect(lost).toEqual([]);
      expect(Math.min(last.taken, last.refused)).toBeGreaterThan(total / 50);
    },
    STRESS_TIMEOUT_MS,
  );

  test("the same report from two nodes at once counts once, and of two different ones one is taken", async () => {
    const both = (task: Task, one: Report, other: Report) =>
      Promise.all([say(first, task._id, one), say(second, task._id, other)]);
    await createMany("twice", 3 * TWICE);
    const [same, failing, different] = [
      await claim(first, "twice", TWICE),
      await claim(second, "twice", TWICE),
      await claim(first, "twice", TWICE),
    ] as [Task[], Task[], Task[]];
    const success: Report = { state: "SUCCESS", output: "done" };
    const failure: Report = { state: "FAILURE", output: "failed" };
    const answers = await Promise.all([
      ...same.map((task) => both(task, success, success)),
      ...failing.map((task) => both(task, failure, failure)),
    ]);
    expect(answers.flat().filter((taken) => !taken)).toEqual([]);
    const oneOfTwo = await Promise.all(different.map((task) => both(task, success, failure)));
    expect(oneOfTwo.filter(([one, other]) => Boolean(one) === Boolean(other))).toEqual([]);

    const stored = await tasks.find({ channel: "twice" }).toArray();
    const of = (claimed: Task[]) => {
      const ids = new Set(claimed.map(({ _id }) => _id));
      return stored.filter(({ _id }) => ids.has(_id));
    };
    expect(of(same).filter(({ _id, state }) => state !== "SUCCESS" || endsOf(_id).size !== 1)).toEqual([]);
    expect(of(failing).filter(({ state, retries }) => state !== "DELAYED" || retries !== 1)).toEqual([]);
    const succeeded = of(different).filter(({ state }) => state === "SUCCESS");
    expect(succeeded).toHaveLength(oneOfTwo.filter(([one]) => one).length);
    expect([same, failing, different].map(({ length }) => length)).toEqual([TWICE, TWICE, TWICE]);
  });
}

describe("races (embedded store)", () => {
  races(
    async (dataDir) => {
      const datastore = await openDatastore({ dataDir });
      return [datastore, datastore];
    },
    amount(5_000, 10_000),
  );
});

describeWith("mongodb", "races (MongoDB)", () => {
  races(
    (dataDir) => {
      const mongodbUri = ownDatabase();
      return Promise.all([openDatastore({ dataDir, mongodbUri }), openDatastore({ dataDir, mongodbUri })]);
    },
    amount(1_000, 10_000),
  );
});
