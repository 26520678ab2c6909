/** Nodes whose clocks are five minutes fast and slow: all that has its time follows the datastore's clock. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { QueuesClient, ReceivedMessage, TaskMessage } from "../queues-client.ts";
import { next } from "../queues-client.ts";
import { describeWith } from "../servers.ts";
import { waitFor } from "../wait-for.ts";
import { clusterSettings, startQueueProcesses } from "./queue-processes.ts";

const FIVE_MINUTES_MS = 5 * 60_000;
/** Far less than the clocks are off, and enough for a busy machine. */
const SOON_MS = 20_000;

describeWith(["mongodb", "nats"], "nodes whose clocks are five minutes fast and slow", () => {
  let fast: QueuesClient;
  let slow: QueuesClient;
  let stop: () => Promise<void>;

  beforeAll(async () => {
    const shared = clusterSettings();
    const off = [FIVE_MINUTES_MS, -FIVE_MINUTES_MS];
    const logs = { LOG_LEVEL: "info", LOG_FORMAT: "json" };
    const settings = off.map((ms) => ({ ...shared, ...logs, NODE_OPTIONS: shifted(ms) }));
    const cluster = await startQueueProcesses(settings);
    [fast, slow] = cluster.nodes.map(({ client }) => client) as [QueuesClient, QueuesClient];
    stop = cluster.stop;
    const clocks = cluster.nodes.map(({ node }) => Date.parse(/"time":"([^"]+)"/.exec(node.output())?.[1] ?? ""));
    for (const [index, ms] of off.entries()) expect(Math.abs(clocks[index]! - ms - Date.now())).toBeLessThan(60_000);
  });

  afterAll(() => stop?.());

  /** Opens a stream that asks for one task. */
  function receiveOne(client: QueuesClient, Channel: string, LeaseSeconds: number) {
    const stream = client.receive();
    stream.on("error", () => undefined);
    stream.write({ Channel, LeaseSeconds });
    return { stream, task: next<ReceivedMessage>(stream).then(({ Tasks }) => Tasks) };
  }

  /** Both ways: what one node is told, the other must do in its time. */
  const ways = () => [
    { name: "fast to slow", from: fast, to: slow },
    { name: "slow to fast", from: slow, to: fast },
  ];

  test("a delayed task is received when its delay is over", async () => {
    await Promise.all(
      ways().map(async ({ name, from, to }) => {
        const channel = `delay ${name}`;
        const { stream, task } = receiveOne(to, channel, 60);
        const asked = Date.now();
        await from.create({ Channel: channel, DelaySeconds: 1 });
        const { CreateTime } = await task;
        expect(Date.now() - asked).toBeGreaterThanOrEqual(1_000);
        expect(Date.now() - asked).toBeLessThan(SOON_MS);
        expect(Math.abs(Date.parse(CreateTime) - asked)).toBeLessThan(SOON_MS);
        stream.cancel();
      }),
    );
  });

  test("a lease ends when it is over, and not before, whichever node gave it", async () => {
    await Promise.all(
      ways().map(async ({ name, from, to }) => {
        const kept = await from.create({ Channel: `kept ${name}` });
        const keeper = receiveOne(from, `kept ${name}`, 60);
        await keeper.task;
        const { ID } = await from.create({ Channel: `lease ${name}` });
        const holder = receiveOne(from, `lease ${name}`, 1);
        await holder.task;
        const held = Date.now();
        // The reaper that takes it back has seen the other one too.
        const second = receiveOne(to, `lease ${name}`, 60);
        expect((await second.task).ID).toBe(ID);
        expect(Date.now() - held).toBeGreaterThan(500);
        expect((await to.report({ ID: kept.ID, State: 1, Output: "in time" })).State).toBe("200");
        for (const { stream } of [keeper, holder, second]) stream.cancel();
      }),
    );
  });

  test("a task that misses its deadline fails then, and not before", async () => {
    await Promise.all(
      ways().map(async ({ name, from, to }) => {
        const deadline = Date.now() + 2_000;
        const Deadline = new Date(deadline).toISOString();
        const { ID, State } = await from.create({ Channel: `deadline ${name}`, Deadline });
        expect(State).toBe("WAITING");
        const failed = await waitFor(async () => {
          const task = await to.byID(ID);
          return task.State === "FAILURE" ? task : undefined;
        }, SOON_MS);
        const late = Date.parse(failed.UpdateTime) - deadline;
        // The test's clock and the datastore's are those of one machine, or two that agree.
        expect(late).toBeGreaterThan(-1_000);
        expect(late).toBeLessThan(SOON_MS);
      }),
    );
  });

  test("a schedule runs at its times", async () => {
    await Promise.all(
      ways().map(async ({ name, from, to }) => {
        const Name = name.replaceAll(" ", "-");
        const begun = Date.now();
        const Schedule = { Name, Cron: "* * * * * *", Task: { Channel: `schedule ${name}` } };
        expect((await from.call("PutSchedule", { Schedule })).State).toBe("200");
        const { stream, task } = receiveOne(to, `schedule ${name}`, 60);
        const [, seconds] = /^schedule\..*\.(\d+)$/.exec(((await task) as TaskMessage).HashCode) ?? [];
        expect(Math.abs(Number(seconds) * 1_000 - begun)).toBeLessThan(SOON_MS);
        expect((await from.call("DeleteSchedule", { Name })).State).toBe("200");
        stream.cancel();
      }),
    );
  });
});

function shifted(ms: number): string {
  const file = pathToFileURL(join(import.meta.dirname, "shifted-clock.ts"));
  file.searchParams.set("ms", String(ms));
  return `--import=${file.href}`;
}
