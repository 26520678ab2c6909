/**
 * Whatever is done to tasks, in whatever order and on whichever of two nodes: after each step the store shows what the model
 * says. Time stands still but for the steps.
 */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Collection, Datastore } from "../../lib/datastore/datastore.ts";
import { openDatastore } from "../../lib/datastore/open.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { ClaimRequest } from "../../services/queues/task-claims.ts";
import type { Task } from "../../services/queues/task.ts";
import { cancel, lose, report } from "../../services/queues/task.ts";
import type { QueueNode } from "../queue-nodes.ts";
import { openQueueNodes, withClock } from "../queue-nodes.ts";
import { describeWith } from "../servers.ts";
import { amount, STRESS_TIMEOUT_MS } from "../stress.ts";
import { withTempDir } from "../temp-dir.ts";
import { ownDatabase } from "../topologies.ts";
import type { ChannelStatus, ModelReport, ModelTask, NewModelTask } from "./queue-model.ts";
import { LOSS_RANDOM, QueueModel, RETRY_DELAYS_MS } from "./queue-model.ts";

const MAX_LOST = 4;
const CHANNELS = ["a", "b"];
const STREAMS = ["stream-1", "stream-2"];
const WORKERS = ["worker-1", "worker-2"];
const STATUSES: ChannelStatus[] = ["ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE", "PAUSED", "DRAINING"];
const RETRY_POLICY = { initialMs: 1_000, multiplier: 2, maxMs: 600_000, delaysMs: RETRY_DELAYS_MS };
const lossRandom = () => LOSS_RANDOM;
const { signal } = new AbortController();

interface Real {
  nodes: QueueNode[];
  tasks: Collection<Task>;
}

type Run = (model: QueueModel, node: QueueNode, real: Real) => Promise<void>;

/** One thing that somebody does, through one of the nodes. */
class Step implements fc.AsyncCommand<QueueModel, Real> {
  readonly #name: string;
  readonly #node: number;
  readonly #run: Run;
  readonly #needsTask: boolean;

  constructor(name: string, node: number, needsTask: boolean, run: Run) {
    this.#name = name;
    this.#node = node;
    this.#needsTask = needsTask;
    this.#run = run;
  }

  check(model: Readonly<QueueModel>): boolean {
    return !this.#needsTask || model.tasks.length > 0;
  }

  async run(model: QueueModel, real: Real): Promise<void> {
    // No two things happen at the same time: of those, the order would be that of the IDs, which are each node's own.
    model.now += 1;
    await this.#run(model, real.nodes[this.#node]!, real);
    const stored = await real.tasks.find({}, { sort: { _id: 1 } }).toArray();
    expect(stored.map(shown)).toEqual(model.tasks.toSorted((left, right) => left.id - right.id));
  }

  toString(): string {
    return `node ${this.#node}: ${this.#name}`;
  }
}

function shown(task: Task): ModelTask {
  const { _id, hash, channel, priority, state, input, output, retryMax, retries, losses, attempts } = task;
  const common = { id: _id, hash, channel, priority, state, input, output, retryMax, retries, losses, attempts };
  const times = { availableAt: task.availableAt?.getTime(), startTime: task.startTime?.getTime() };
  const ends = { deadline: task.deadline?.getTime(), endTime: task.endTime?.getTime() };
  const { next, prior, maxRunMs, holder, stream, leaseMs } = task;
  const lease = { holder, stream, leaseMs, leaseUntil: task.leaseUntil?.getTime() };
  const inherits = task.inherits === true;
  return { ...common, readyAt: task.readyAt.getTime(), ...times, ...ends, next, prior, maxRunMs, ...lease, inherits };
}

/** Whether it was done, and not refused as the client's fault. */
async function taken(done: Promise<unknown>): Promise<boolean> {
  try {
    await done;
    return true;
  } catch (error) {
    if (error instanceof LongshoreError && error.type === "FAILED_PRECONDITION") return false;
    throw error;
  }
}

const node = fc.nat({ max: 1 });
const pick = fc.nat({ max: 1_000 });
const channel = fc.constantFrom(...CHANNELS);
let hashes = 0;

/** The one of the model's tasks that a random number means. */
function picked(model: QueueModel, index: number): ModelTask {
  return model.tasks[index % model.tasks.length]!;
}

const create = fc
  .record({
    node,
    channel,
    priority: fc.constantFrom(0, 0, 0, -1, 1),
    delayMs: fc.constantFrom(0, 0, 0, 1_000),
    retryMax: fc.nat({ max: 3 }),
    input: fc.constantFrom("", "input"),
    follows: fc.option(pick, { nil: undefined, freq: 2 }),
    maxRunMs: fc.option(fc.constant(2_000), { nil: undefined, freq: 5 }),
    deadlineMs: fc.option(fc.constant(3_000), { nil: undefined, freq: 8 }),
  })
  .map(({ node, follows, deadlineMs, ...fields }) => {
    const name = `create ${JSON.stringify({ ...fields, follows, deadlineMs })}`;
    return new Step(name, node, follows !== undefined, async (model, { store }) => {
      const request: NewModelTask = { ...fields, hash: `hash-${(hashes += 1)}` };
      if (follows !== undefined) request.next = picked(model, follows).id;
      if (deadlineMs) request.deadline = model.now + deadlineMs;
      const deadline = deadlineMs ? new Date(model.now + deadlineMs) : undefined;
      const creating = store.create({ ...request, deadline, retryPolicy: RETRY_POLICY });
      const accepted = model.accepts(request);
      expect(await taken(creating)).toBe(accepted);
      if (accepted) model.create((await creating).task._id, request);
    });
  });

/** Several at once, so that there is something to read ahead. */
const createMany = fc
  .record({ node, channel, priority: fc.constantFrom(0, 0, -1), count: fc.integer({ min: 4, max: 12 }) })
  .map(({ node, channel, priority, count }) => {
    return new Step(`create ${count} of priority ${priority} in ${channel}`, node, false, async (model, { store }) => {
      const fields = { channel, priority, input: "", delayMs: 0, retryMax: 0 };
      const requests = Array.from({ length: count }, () => ({ ...fields, hash: `hash-${(hashes += 1)}` }));
      const accepted = model.accepts(requests[0]!);
      for (const request of requests) {
        const creating = store.create(request);
        expect(await taken(creating)).toBe(accepted);
        if (accepted) model.create((await creating).task._id, request);
      }
    });
  });

const createAgain = fc
  .record({ node, index: pick, input: fc.constantFrom(undefined, "other") })
  .map(({ node, index, input }) => {
    return new Step(
      `create #${index} again, ${input ? "with other input" : "the same"}`,
      node,
      true,
      async (model, { store }) => {
        const { id, channel, hash, next, inherits, ...task } = picked(model, index);
        const request = { channel, hash, next, input: input ?? (inherits ? "" : task.input) };
        const creating = store.create(request);
        const accepted = input === undefined;
        expect(await taken(creating)).toBe(accepted);
        if (accepted) expect(await creating).toMatchObject({ created: false, task: { _id: id } });
      },
    );
  });

const receiver = fc.record({
  max: fc.integer({ min: 1, max: 3 }),
  holder: fc.constantFrom(...WORKERS),
  stream: fc.constantFrom(...STREAMS),
  leaseMs: fc.constantFrom(500, 2_500),
});

/** As the dispatcher does: it claims again while somebody gets something. */
async function receiveAll(
  model: QueueModel,
  { store }: QueueNode,
  channel: string,
  receivers: ClaimRequest[],
): Promise<number[]> {
  const received: number[] = [];
  let left = receivers;
  for (let served = true; served && left.length > 0;) {
    const shares = await store.claim(channel, left);
    for (const [index, { holder, stream = "", leaseMs }] of left.entries()) {
      for (const { _id } of shares[index] ?? []) {
        received.push(_id);
        model.claim(model.task(_id), holder, stream, leaseMs);
      }
    }
    served = shares.flat().length > 0;
    left = left.map((one, index) => ({ ...one, max: one.max - (shares[index]?.length ?? 0) })).filter(({ max }) => max);
  }
  return received;
}

const receive = fc
  .record({
    node,
    channel,
    receivers: fc.array(receiver, { minLength: 1, maxLength: 2 }),
    times: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ node, channel, receivers, times }) => {
    const name = `receive from ${channel} ${times} times ${JSON.stringify(receivers)}`;
    return new Step(name, node, false, async (model, real) => {
      const wanted = receivers.reduce((sum, { max }) => sum + max, 0);
      for (let time = 0; time < times; time += 1) {
        const expected = model.claimable(channel).map(({ id }) => id);
        expect(await receiveAll(model, real, channel, receivers)).toEqual(expected.slice(0, wanted));
      }
    });
  });

/** Nodes that receive in turns find that what they know of is taken. */
const receiveInTurns = fc
  .record({ channel, turns: fc.array(node, { minLength: 3, maxLength: 10 }) })
  .map(({ channel, turns }) => {
    return new Step(
      `nodes ${turns.join()} receive one each from ${channel}`,
      0,
      false,
      async (model, _node, { nodes }) => {
        const request = { max: 1, holder: "worker-1", stream: "stream-1", leaseMs: 2_500 };
        for (const turn of turns) {
          const expected = model.claimable(channel).map(({ id }) => id);
          expect(await receiveAll(model, nodes[turn]!, channel, [request])).toEqual(expected.slice(0, 1));
        }
      },
    );
  });

const reports = fc
  .record({
    node,
    index: pick,
    said: fc.record({
      state: fc.constantFrom<ModelReport["state"][]>(
        "SUCCESS",
        "SUCCESS",
        "FAILURE",
        "FAILURE",
        "CANCEL",
        "RUNNING",
        "READY",
      ),
      output: fc.constantFrom("", "output"),
      nonRetryable: fc.constantFrom(undefined, undefined, true),
      worker: fc.constantFrom(undefined, undefined, ...WORKERS),
    }),
    running: fc.constantFrom(true, true, true, false),
  })
  .map(({ node, index, said, running }) => {
    return new Step(`report #${index} ${JSON.stringify(said)}`, node, true, async (model, { store }) => {
      const candidates = model.tasks.filter(({ state }) => !running || state === "RUNNING");
      const task = candidates[index % candidates.length] ?? picked(model, index);
      const done = await taken(store.change(task.id, (stored, now) => report(stored, said, now)));
      expect(done).toBe(model.report(task, said));
    });
  });

const loseStream = fc.record({ node, stream: fc.constantFrom(...STREAMS) }).map(({ node, stream }) => {
  return new Step(`${stream} breaks`, node, false, async (model, { store }) => {
    const held = await store.heldBy(stream, 0, 500);
    const why = "the stream of its worker broke";
    await Promise.all(
      held.map(({ _id }) =>
        store.change(_id, (task, now) => (task.stream === stream ? lose(task, why, MAX_LOST, now, lossRandom) : null)),
      ),
    );
    model.loseStream(stream);
  });
});

const time = fc.record({ node, ms: fc.constantFrom(100, 600, 1_000, 2_000) }).map(({ node, ms }) => {
  return new Step(`${ms} ms go by`, node, false, async (model, { reap }) => {
    model.now += ms;
    await reap();
    model.reap();
  });
});

/** Leases end, but nobody has come to see. */
const timeUnseen = fc.record({ node, ms: fc.constantFrom(600, 2_600) }).map(({ node, ms }) => {
  return new Step(`${ms} ms go by unseen`, node, false, (model) => {
    model.now += ms;
    return Promise.resolve();
  });
});

const cancels = fc.record({ node, index: pick }).map(({ node, index }) => {
  return new Step(`cancel #${index}`, node, true, async (model, { store }) => {
    const task = picked(model, index);
    const cancelling = store.cancel(task.id, (stored, now) => cancel(stored, stored.output, now));
    const done = await taken(cancelling);
    const expected = model.cancel(task);
    expect(done).toBe(expected.length > 0);
    if (done) expect((await cancelling).map(({ _id }) => _id)).toEqual(expected);
  });
});

const redrives = fc.record({ node, index: pick }).map(({ node, index }) => {
  return new Step(`redrive #${index}`, node, true, async (model, { store }) => {
    const task = picked(model, index);
    expect(await taken(store.sweeps.redrive(task.id, () => undefined))).toBe(model.redrive(task));
  });
});

const redriveAll = fc.record({ node, channel }).map(({ node, channel }) => {
  return new Step(`redrive all of ${channel}`, node, false, async (model, { store }) => {
    expect(await store.sweeps.redriveAll({ channel }, signal)).toBe(model.redriveAll(channel));
  });
});

const purge = fc.record({ node, channel }).map(({ node, channel }) => {
  return new Step(`purge ${channel}`, node, false, async (model, { store }) => {
    expect(await store.sweeps.purge(channel, signal)).toBe(model.purge(channel));
  });
});

const status = fc.record({ node, channel, status: fc.constantFrom(...STATUSES) }).map(({ node, channel, status }) => {
  return new Step(`${channel} is ${status}`, node, false, async (model, { channels }, { nodes }) => {
    await channels.setStatus(channel, status);
    // The other node's reading, for which it has a hint, may still be under way.
    await Promise.all(nodes.map((each) => each.channels.refresh(channel)));
    model.setStatus(channel, status);
  });
});

const steps = [
  ...[create, create, createMany, createMany, createMany, receive, receive, receiveInTurns, receiveInTurns],
  ...[reports, reports, reports, time, timeUnseen, loseStream, cancels, createAgain],
  ...[redrives, redriveAll, purge, status],
];

function keepsToTheModel(open: (directory: string) => Promise<Datastore>, numRuns: number): void {
  let datastore: Datastore;
  let closed: Promise<void>;
  const over = Promise.withResolvers<void>();

  beforeAll(async () => {
    const opened = Promise.withResolvers<void>();
    closed = withTempDir(async (directory) => {
      datastore = await open(directory);
      opened.resolve();
      await over.promise;
      await datastore.close();
    });
    await Promise.race([opened.promise, closed]);
  });

  afterAll(async () => {
    over.resolve();
    await closed;
  });

  async function setup(): Promise<{ model: QueueModel; real: Real }> {
    const model = new QueueModel(Date.now(), MAX_LOST);
    const tasks = await datastore.collection<Task>("tasks");
    await tasks.deleteMany({});
    await (await datastore.collection("channels")).deleteMany({});
    const clocked = withClock(datastore, () => new Date(model.now));
    const nodes = await openQueueNodes({ datastores: [clocked, clocked], maxLost: MAX_LOST, lossRandom });
    return { model, real: { nodes, tasks } };
  }

  test(
    "what is done to tasks does to them what the model says, on two nodes",
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.commands(steps, { maxCommands: 60, size: "max" }), async (commands) => {
          let opened: Real | undefined;
          const open = async () => {
            const { model, real } = await setup();
            opened = real;
            return { model, real };
          };
          try {
            await fc.asyncModelRun(open, commands);
          } finally {
            await Promise.all(opened?.nodes.map(({ channels }) => channels.stop()) ?? []);
          }
        }),
        { numRuns },
      );
    },
    STRESS_TIMEOUT_MS,
  );
}

describe("the life of tasks (embedded store)", () => {
  keepsToTheModel((dataDir) => openDatastore({ dataDir }), amount(40, 500));
});

describeWith("mongodb", "the life of tasks (MongoDB)", () => {
  keepsToTheModel((dataDir) => openDatastore({ dataDir, mongodbUri: ownDatabase() }), amount(6, 60));
});
