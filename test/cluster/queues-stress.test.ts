/** Many at once, on three nodes over NATS and MongoDB. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Answer, QueuesClient, ReceivedMessage, ReportMessage, TaskMessage } from "../queues-client.ts";
import { describeWith } from "../servers.ts";
import { amount, STRESS_TIMEOUT_MS } from "../stress.ts";
import { waitFor } from "../wait-for.ts";
import type { QueueProcess } from "./queue-processes.ts";
import {
  clusterSettings,
  createTasks,
  InstantWorker,
  startQueueProcesses,
  tasksOf,
  withQueueProcesses,
} from "./queue-processes.ts";

const SUCCESS = 1;
const FAILURE = 2;
const TASKS = amount(3_000, 20_000);
const WORKERS = 50;
const CREDITS = 8;
const LONG_CHAIN = 1_000;
const TWICE = amount(400, 1_000);

describeWith(["mongodb", "nats"], "the queue on three nodes under stress", () => {
  let nodes: QueueProcess[];
  let client: QueuesClient;
  let stop: () => Promise<void>;

  beforeAll(async () => {
    const settings = clusterSettings();
    ({ nodes, stop } = await startQueueProcesses([settings, settings, settings]));
    client = nodes[0]!.client;
  }, STRESS_TIMEOUT_MS);

  afterAll(() => stop?.());

  test(
    "50 workers get each task once, and each ends once",
    async () => {
      const workers = Array.from({ length: WORKERS }, (_, index) => {
        return new InstantWorker(nodes[index % 3]!.client, `worker-${index}`, "many", CREDITS);
      });
      try {
        const each = Math.ceil(TASKS / 3);
        await Promise.all(
          nodes.map(({ client }, index) => {
            const count = Math.min(each, TASKS - index * each);
            return createTasks(client, Array<object>(count).fill({ Channel: "many", Owner: 7, Input: "x" }));
          }),
        );
        const answered = () => workers.reduce((sum, { answers }) => sum + answers.length, 0);
        await waitFor(() => answered() >= TASKS, STRESS_TIMEOUT_MS);
        expect((await client.call<string>("QueryLengthByChannel", { Channel: "many" })).Data).toBe("0");
      } finally {
        for (const worker of workers) worker.stop();
      }
      expect(workers.flatMap(({ answers }) => answers).filter(({ State }) => State !== "200")).toEqual([]);
      const receivers = new Map(
        workers.flatMap(({ received }, index) => received.map((ID) => [ID, `worker-${index}`])),
      );
      expect(workers.reduce((sum, { received }) => sum + received.length, 0)).toBe(TASKS);
      expect(receivers.size).toBe(TASKS);
      const tasks = await tasksOf(nodes[1]!.client, 7);
      expect(tasks).toHaveLength(TASKS);
      expect(tasks.filter(({ ID, State, Output }) => State !== "SUCCESS" || Output !== receivers.get(ID))).toEqual([]);
    },
    STRESS_TIMEOUT_MS,
  );

  test(
    "the same HashCode 100 times at once makes one task; the same report on two nodes at once counts once",
    async () => {
      const Task = { Channel: "once", HashCode: "once", Input: "x" };
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, index) => nodes[index % 3]!.client.call<string>("CreateTask", { Task })),
      );
      expect(answers.filter(({ State, Data }) => State !== "200" || Data !== "once")).toEqual([]);
      expect((await client.call<string>("QueryLengthByChannel", { Channel: "once" })).Data).toBe("1");

      const RetryPolicy = { DelaySeconds: [3_600] };
      const task = { Channel: "twice", Owner: 8, RetryMaxLimit: 5, RetryPolicy };
      await createTasks(client, Array<object>(TWICE).fill(task));
      const receive = client.receive();
      const received: string[] = [];
      receive.on("error", () => undefined);
      receive.on("data", ({ Tasks }: ReceivedMessage) => received.push(Tasks.ID));
      for (let credit = 0; credit < TWICE; credit += 1) receive.write({ Channel: "twice" });
      await waitFor(() => received.length === TWICE);

      // Half of them end, half are to be tried again; none of them twice.
      const reports = received.map((ID, index): ReportMessage => {
        return index % 2 ? { ID, State: SUCCESS, Output: "done" } : { ID, State: FAILURE, Output: "failed" };
      });
      const answered = await Promise.all(nodes.slice(1).map((node) => reportAll(node, reports)));
      expect(answered.flat().filter(({ State }) => State !== "200")).toEqual([]);
      receive.cancel();
      const tasks = await tasksOf(client, 8);
      const state = (ID: string) => (received.indexOf(ID) % 2 ? "SUCCESS 0" : "WAITING 1");
      expect(tasks).toHaveLength(TWICE);
      expect(tasks.filter(({ ID, State, RetryCount }) => `${State} ${RetryCount}` !== state(ID))).toEqual([]);
    },
    STRESS_TIMEOUT_MS,
  );

  test("a chain is cancelled as a whole", () => cancelChain(client, amount(100, LONG_CHAIN)), STRESS_TIMEOUT_MS);
});

test(
  "a chain of 1,000 is cancelled as a whole (embedded store)",
  () => withQueueProcesses([{}], ([one]) => cancelChain(one!.client, LONG_CHAIN)),
  STRESS_TIMEOUT_MS,
);

async function cancelChain(client: QueuesClient, length: number): Promise<void> {
  const ids: string[] = [];
  for (let index = 0; index < length; index += 1) {
    const { ID } = await client.createAtOnce({ Channel: "chain", Owner: 9, Next: ids.at(-1) ?? "0" });
    ids.push(ID);
  }
  const begun = performance.now();
  const cancelled = await client.call<TaskMessage[]>("CancelTaskByID", { ID: ids[0] });
  if (process.env.LONGSHORE_STRESS) console.log(`a chain of ${length}: ${Math.round(performance.now() - begun)} ms`);
  expect(cancelled).toMatchObject({ State: "200", Message: "" });
  expect(cancelled.Data.map(({ ID }) => ID)).toEqual(ids);
  const open = (await tasksOf(client, 9)).filter(({ State }) => State !== "CANCEL");
  expect(open).toEqual([]);
}

async function reportAll({ client }: QueueProcess, reports: ReportMessage[]): Promise<Answer<string>[]> {
  const stream = client.reports();
  const answers: Answer<string>[] = [];
  stream.on("data", (answer: Answer<string>) => answers.push(answer));
  for (const report of reports) stream.write(report);
  stream.end();
  await waitFor(() => answers.length === reports.length);
  return answers;
}
