/** A service that works on a channel by the worker mixin, in one process and on another node than the queue. */
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { ServiceBroker, ServiceSchema } from "moleculer";
import type { Config } from "../../lib/config.ts";
import { failedPrecondition } from "../../lib/errors.ts";
import type { Job } from "../../mixins/worker.mixin.ts";
import { worker } from "../../mixins/worker.mixin.ts";
import queues from "../../services/queues/queues.service.ts";
import type { TaskView } from "../../services/queues/task.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import type { ServerName } from "../servers.ts";
import { describeWith, serverUrl } from "../servers.ts";
import { withTempDir } from "../temp-dir.ts";
import { ownDatabase } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const CHANNEL = "test.jobs";
const CONCURRENCY = 2;

/** What is done with a job, by its input. */
const handlers = new Map<string, (job: Job) => Promise<string>>();
const started: Job[] = [];
const undone: string[] = [];
let underWay = 0;

const jobs = {
  name: "jobs",
  mixins: [
    worker({
      channel: CHANNEL,
      leaseSeconds: 1,
      concurrency: () => CONCURRENCY,
      undo: async (_, output) => void undone.push(output),
      async handler(_, job) {
        started.push(job);
        underWay += 1;
        try {
          return await (handlers.get(job.input)?.(job) ?? Promise.resolve(`done ${job.input}`));
        } finally {
          underWay -= 1;
        }
      },
    }),
  ],
} as ServiceSchema;

interface Nodes {
  /** Offers queues. */
  queue: TestNode;
  /** Works on the channel. */
  worker: TestNode;
  stop(): Promise<void>;
}

const shapes: {
  name: string;
  needs: ServerName[];
  place: (dataDir: string) => Partial<Config>;
  start: (config: Partial<Config>) => Promise<Nodes>;
}[] = [
  {
    name: "embedded store, one process",
    needs: [],
    place: (dataDir) => ({ dataDir }),
    async start(config) {
      const node = await startNode({ services: [queues as ServiceSchema, jobs], config });
      return { queue: node, worker: node, stop: () => node.stop() };
    },
  },
  {
    name: "on another node than queues",
    needs: ["mongodb", "nats"],
    place: () => ({
      mongodbUri: ownDatabase(),
      natsUrl: serverUrl("nats"),
      namespace: `test-${randomBytes(6).toString("hex")}`,
    }),
    async start(config) {
      const [queue, worker] = await Promise.all([
        startNode({ services: [queues as ServiceSchema], config }),
        startNode({ services: [jobs], config }),
      ]);
      return { queue, worker, stop: async () => void (await Promise.all([queue.stop(), worker.stop()])) };
    },
  },
];

async function create(broker: ServiceBroker, input: string, more: object = {}): Promise<TaskView> {
  const params = { channel: CHANNEL, input, ...more };
  return (await broker.call<{ task: TaskView }, object>("queues.create", params)).task;
}

function get(broker: ServiceBroker, { id }: TaskView): Promise<TaskView> {
  return broker.call<TaskView, object>("queues.get", { id });
}

async function ended(broker: ServiceBroker, task: TaskView): Promise<TaskView> {
  return waitFor(async () => {
    const now = await get(broker, task);
    return ["SUCCESS", "FAILURE", "CANCEL"].includes(now.state) ? now : undefined;
  });
}

/** Has a job wait until it is released or aborted. */
function hold(input: string): { begun: Promise<Job>; release: (output: string) => void } {
  const job = Promise.withResolvers<Job>();
  const output = Promise.withResolvers<string>();
  handlers.set(input, (held) => {
    job.resolve(held);
    held.signal.addEventListener("abort", () => output.reject(held.signal.reason as Error));
    return output.promise;
  });
  return { begun: job.promise, release: output.resolve };
}

describe.each(shapes)("a worker", ({ name, needs, place, start }) => {
  describeWith(needs, `(${name})`, () => {
    let nodes: Nodes;
    let broker: ServiceBroker;
    let dataDir: string;

    beforeAll(async () => {
      dataDir = await mkdtemp(join(tmpdir(), "longshore-test-"));
      nodes = await start(place(dataDir));
      ({ broker } = nodes.queue);
      undone.length = 0;
    });

    afterAll(async () => {
      await nodes?.stop();
      await rm(dataDir, { recursive: true, force: true });
    });

    test("gets the tasks of its channel and gives their outputs", async () => {
      const tasks = await Promise.all(Array.from({ length: 20 }, (_, index) => create(broker, `quick ${index}`)));
      for (const task of tasks) {
        expect(await ended(broker, task)).toMatchObject({
          state: "SUCCESS",
          output: `done ${task.input}`,
          progress: 100,
          attempts: 1,
        });
      }
    });

    test("does no more jobs at once than it may, and the next when one is done", async () => {
      const inputs = ["held 1", "held 2", "held 3"];
      const held = inputs.map(hold);
      const tasks = [];
      for (const input of inputs) tasks.push(await create(broker, input));
      await Promise.all([held[0]!.begun, held[1]!.begun]);
      expect(underWay).toBe(CONCURRENCY);
      expect(await broker.call("queues.length", { channel: CHANNEL })).toBe(1);
      held[0]!.release("a");
      await held[2]!.begun;
      expect(underWay).toBe(CONCURRENCY);
      for (const { release } of held) release("b");
      expect((await Promise.all(tasks.map((task) => ended(broker, task)))).map(({ output }) => output)).toEqual([
        "a",
        "b",
        "b",
      ]);
    });

    test("shows how far a job is, and keeps it longer than a lease", async () => {
      const { begun, release } = hold("long");
      const task = await create(broker, "long");
      const job = await begun;
      job.progress(41.9, "two fifths");
      await waitFor(async () => (await get(broker, task)).progress === 41);
      expect(await get(broker, task)).toMatchObject({ state: "PROCEEDING", output: "two fifths" });
      const since = Date.parse(task.createTime);
      await waitFor(async () => Date.parse((await get(broker, task)).updateTime) > since + 2_500);
      release("whole");
      expect(await ended(broker, task)).toMatchObject({ output: "whole", attempts: 1 });
    });

    test("aborts a job within a second of its cancel, and what that throws is told to nobody", async () => {
      const { begun } = hold("cancelled");
      const task = await create(broker, "cancelled");
      const { signal } = await begun;
      const aborted = once(signal, "abort", { signal: AbortSignal.timeout(1_000) });
      await broker.call("queues.cancel", { id: task.id });
      await aborted;
      await waitFor(() => underWay === 0);
      expect(await get(broker, task)).toMatchObject({ state: "CANCEL", output: "" });
    });

    test("has a failed job tried again as often as its task says", async () => {
      const attempts: number[] = [];
      handlers.set("fails", async ({ attempt }) => {
        attempts.push(attempt);
        throw failedPrecondition(`the source is closed (${attempt})`);
      });
      const task = await create(broker, "fails", { retryMax: 1 });
      expect(await ended(broker, task)).toMatchObject({
        state: "FAILURE",
        output: "the source is closed (2)",
        retries: 1,
      });
      expect(attempts).toEqual([1, 2]);
    });

    test("tells nothing of the inside where a handler has a fault", async () => {
      handlers.set("faulty", async () => {
        throw new TypeError("secret is not a function");
      });
      expect(await ended(broker, await create(broker, "faulty"))).toMatchObject({
        state: "FAILURE",
        output: "internal error",
      });
    });

    test("stops a job that is not its own any more, and does the task again when it comes back", async () => {
      const { begun } = hold("lost");
      const task = await create(broker, "lost");
      const first = await begun;
      handlers.set("lost", async ({ attempt }) => `attempt ${attempt}`);
      // What the end of a lease does: the task is anyone's again, also this worker's.
      await broker.call("queues.report", { id: task.id, state: "READY", output: "" });
      expect(await ended(broker, task)).toMatchObject({ state: "SUCCESS", output: "attempt 2" });
      await waitFor(() => first.signal.aborted && underWay === 0);
      expect(undone).toEqual([]);
    });

    test("takes over from a worker that is not heard of any more, whose late report is refused", async () => {
      const channel = "test.others";
      const dead = { channel, max: 1, waitMs: 5_000, leaseMs: 1_000, worker: "dead" };
      const { task } = await broker.call<{ task: TaskView }, object>("queues.create", { channel });
      expect(await broker.call("queues.receive", dead)).toMatchObject([{ id: task.id, attempts: 1 }]);
      const next = await broker.call("queues.receive", { ...dead, worker: "alive", leaseMs: 60_000 });
      expect(next).toMatchObject([{ id: task.id, attempts: 2 }]);
      const late = broker.call("queues.report", { id: task.id, worker: "dead", state: "SUCCESS", output: "late" });
      await expect(late).rejects.toMatchObject({ message: `task ${task.id} belongs to another worker` });
    });

    test("takes back what a job made that was cancelled as it ended", async () => {
      const end = Promise.withResolvers<string>();
      const begun = Promise.withResolvers<void>();
      handlers.set("deaf", () => {
        begun.resolve();
        return end.promise;
      });
      const task = await create(broker, "deaf");
      await begun.promise;
      await broker.call("queues.cancel", { id: task.id });
      end.resolve("made for nothing");
      await waitFor(() => undone.length === 1);
      expect(undone).toEqual(["made for nothing"]);
      expect(await get(broker, task)).toMatchObject({ state: "CANCEL", output: "" });
    });
  });

  describeWith(needs, `that stops (${name})`, () => {
    test("finishes what is short, and gives back what is long without a loss", () =>
      withTempDir(async (dataDir) => {
        // A task that is lost once fails for good.
        const config = { ...place(dataDir), stopTimeout: 1_000, maxLost: 1 };
        const [short, long] = [hold("short"), hold("too long")];
        started.length = 0;
        const before = await start(config);
        const tasks: TaskView[] = [];
        try {
          for (const input of ["short", "too long", "waiting"]) tasks.push(await create(before.queue.broker, input));
          const [, job] = await Promise.all([short.begun, long.begun]);
          const stopped = before.worker.stop();
          short.release("in time");
          await stopped;
          expect(job.signal.reason).toMatchObject({ message: "the node stops" });
        } finally {
          await before.stop();
        }
        expect(started.some(({ input }) => input === "waiting")).toBe(false);
        handlers.set("too long", async ({ attempt }) => `attempt ${attempt}`);
        const after = await start(config);
        try {
          const [first, second, third] = await Promise.all(tasks.map((task) => ended(after.queue.broker, task)));
          expect(first).toMatchObject({ state: "SUCCESS", output: "in time", attempts: 1 });
          expect(second).toMatchObject({ state: "SUCCESS", output: "attempt 2" });
          expect(third).toMatchObject({ state: "SUCCESS", output: "done waiting", attempts: 1 });
        } finally {
          await after.stop();
        }
      }));
  });
});
