/** Many tasks a call: created, received and reported in batches, and created on a stream. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Answer, TaskMessage } from "../queues-client.ts";
import { QueuesClient, rest } from "../queues-client.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";

const SUCCESS = 1;
const FAILURE = 2;

onEveryTopology("batches of longshore.v1.Queues", (start) => {
  let cluster: Cluster;
  let client: QueuesClient;
  /** Through another gateway, where there is one. */
  let other: QueuesClient;
  let channels = 0;
  const fresh = () => `batches-${(channels += 1)}`;
  const many = <T>(count: number, make: (index: number) => T) =>
    Array.from({ length: count }, (_, index) => make(index));

  beforeAll(async () => {
    cluster = await start();
    client = new QueuesClient(cluster.gateways[0].grpc);
    other = new QueuesClient(cluster.gateways[1].grpc);
  });

  afterAll(async () => {
    client?.close();
    other?.close();
    await cluster?.stop();
  });

  const create = (Tasks: object[]) => client.call<Answer<string>[]>("CreateTasks", { Tasks });
  const length = async (Channel: string) => (await client.call<string>("QueryLengthByChannel", { Channel })).Data;

  async function receiveAll(Channel: string, count: number): Promise<TaskMessage[]> {
    const tasks: TaskMessage[] = [];
    while (tasks.length < count) {
      const { Data } = await client.call<TaskMessage[]>("ReceiveTasks", { Channel, Max: 1_000, WaitSeconds: 10 });
      expect(Data.length).toBeGreaterThan(0);
      tasks.push(...Data);
    }
    return tasks;
  }

  test("1,000 tasks are created, received and reported, in their order and each SUCCESS", async () => {
    const Channel = fresh();
    const created = await create(many(1_000, (index) => ({ Channel, Owner: 5, Input: `${index}` })));
    expect(created).toMatchObject({ State: "200", Message: "" });
    expect(new Set(created.Data.map(({ Data }) => Data)).size).toBe(1_000);
    expect(created.Data.every(({ State }) => State === "200")).toBe(true);
    const tasks = await receiveAll(Channel, 1_000);
    expect(tasks.map(({ Input }) => Input)).toEqual(many(1_000, String));
    expect(tasks.map(({ HashCode }) => HashCode)).toEqual(created.Data.map(({ Data }) => Data));
    const Reports = tasks.map(({ ID, Input }) => ({ ID, State: SUCCESS, Output: `done ${Input}` }));
    const reported = await other.call<Answer<string>[]>("ReportTasks", { Reports });
    expect(reported.Data).toEqual(tasks.map(({ ID }) => ({ State: "200", Message: "", Data: ID })));
    const ended = await client.call<TaskMessage[]>("QueryTaskByOwner", { Owner: 5, Limit: 1_000 });
    expect(ended.Total).toBe("1000");
    expect(ended.Data.every(({ State, Input, Output }) => State === "SUCCESS" && Output === `done ${Input}`)).toBe(
      true,
    );
  });

  test("the same over REST", async () => {
    const Channel = fresh();
    const { http } = cluster.gateways[0];
    const Tasks = many(20, (index) => ({ Channel, Input: `${index}` }));
    const created = await rest<Answer<string>[]>(http, "POST", "tasks:batchCreate", { Tasks });
    expect([created.status, created.body.State, created.body.Data.length]).toEqual([200, "200", 20]);
    const body = { wait: 5, max: 20 };
    const received = await rest<TaskMessage[]>(http, "POST", `channels/${Channel}:receive`, body);
    expect(received.body.Data.map(({ Input }) => Input)).toEqual(many(20, String));
    const Reports = received.body.Data.map(({ ID }) => ({ ID, State: SUCCESS }));
    const reported = await rest<Answer<string>[]>(http, "POST", "tasks:batchReport", { Reports });
    expect(reported.body.Data).toEqual(Reports.map(({ ID }) => ({ State: "200", Message: "", Data: ID })));
  });

  test("a task that is refused is refused alone, in its place", async () => {
    const Channel = fresh();
    const HashCode = `known-${Channel}-${Date.now()}`;
    const answers = await create([
      { Channel, Input: "first" },
      { Channel, Priority: 1_001 },
      { Channel, HashCode, Input: "one" },
      { Channel, HashCode, Input: "one" },
      { Channel, HashCode, Input: "another" },
      { Channel, Next: "9007199254740000" },
      { Channel, Tags: { blob: "x".repeat(10_240) } },
      { Channel, Input: "last" },
    ]);
    expect(answers).toMatchObject({ State: "200", Message: "" });
    expect(answers.Data.map(({ State, Message }) => [State, Message])).toEqual([
      ["200", ""],
      ["400", "Task.Priority: must be -1000 to 1000"],
      ["200", ""],
      ["200", ""],
      ["400", `Task.HashCode: ${HashCode} is known with another Channel, Owner or Input`],
      ["400", "Task.Next: there is no task 9007199254740000"],
      ["400", "Task.Tags.blob: must be at most 256 characters of valid Unicode"],
      ["200", ""],
    ]);
    expect(answers.Data.map(({ Data }) => Data).slice(2, 5)).toEqual([HashCode, HashCode, ""]);
    expect((await receiveAll(Channel, 3)).map(({ Input }) => Input)).toEqual(["first", "one", "last"]);
    expect(await length(Channel)).toBe("0");
  });

  test("over REST also one that is no task at all", async () => {
    const Channel = fresh();
    const Tasks = [5, { Channel }, null, { Chanel: Channel }];
    const { body } = await rest<Answer<string>[]>(cluster.gateways[1].http, "POST", "tasks:batchCreate", { Tasks });
    expect(body.Data.map(({ State, Message }) => [State, Message])).toEqual([
      ["400", "Task: must be given, as a message"],
      ["200", ""],
      ["400", "Task: must be given, as a message"],
      ["400", "Task.Chanel: there is no such field"],
    ]);
    expect(await length(Channel)).toBe("1");
  });

  test("a report that is refused is refused alone, with the ID that it was about", async () => {
    const Channel = fresh();
    await create(many(3, () => ({ Channel })));
    const [first, second, third] = (await receiveAll(Channel, 3)).map(({ ID }) => ID) as [string, string, string];
    const Reports = [
      { ID: first, State: SUCCESS },
      { ID: "9007199254740000", State: SUCCESS },
      { ID: second, State: 9 },
      { ID: second, State: SUCCESS, Output: "x" },
      { ID: second, State: FAILURE, Output: "y" },
      { ID: third, State: SUCCESS, Logs: ["x".repeat(4_097)] },
    ];
    const reported = await client.call<Answer<string>[]>("ReportTasks", { Reports });
    expect(reported.Data).toEqual([
      { State: "200", Message: "", Data: first },
      { State: "404", Message: "there is no task 9007199254740000", Data: "9007199254740000" },
      { State: "400", Message: expect.stringContaining("State: must be 1 SUCCESS"), Data: second },
      { State: "200", Message: "", Data: second },
      { State: "400", Message: `task ${second} has ended: its state is SUCCESS`, Data: second },
      { State: "400", Message: "Logs[0]: must be at most 4096 bytes of valid Unicode", Data: third },
    ]);
  });

  test("reports in a batch are fenced by x-worker-id", async () => {
    const Channel = fresh();
    await create([{ Channel }]);
    const mine = { "x-worker-id": "mine" };
    const { Data } = await client.call<TaskMessage[]>("ReceiveTasks", { Channel, WaitSeconds: 10 }, mine);
    const Reports = [{ ID: Data[0]?.ID, State: SUCCESS }];
    const strange = await client.call<Answer<string>[]>("ReportTasks", { Reports }, { "x-worker-id": "other" });
    expect(strange.Data[0]).toMatchObject({ State: "400", Message: `task ${Data[0]?.ID} belongs to another worker` });
    const own = await client.call<Answer<string>[]>("ReportTasks", { Reports }, mine);
    expect(own.Data[0]).toMatchObject({ State: "200" });
  });

  test.each([
    ["CreateTasks", { Tasks: [] }, "Tasks: must be a list of 1 to 1000"],
    [
      "CreateTasks",
      { Tasks: many(1_001, () => ({ Channel: "c" })) },
      "Tasks: must be a list of 1 to 1000, not of 1001",
    ],
    ["ReportTasks", { Reports: [] }, "Reports: must be a list of 1 to 1000"],
    ["ReportTasks", { Reports: many(1_001, () => ({ ID: 1 })) }, "Reports: must be a list of 1 to 1000, not of 1001"],
    ["ReceiveTasks", { Channel: "" }, "Channel: must not be empty"],
    ["ReceiveTasks", { Channel: "c", Max: 1_001 }, "Max: must be 0 to 1000"],
    ["ReceiveTasks", { Channel: "c", WaitSeconds: 301 }, "WaitSeconds: must be 0 to 300"],
    ["ReceiveTasks", { Channel: "c", LeaseSeconds: 43_201 }, "LeaseSeconds: must be 1 to 43200 seconds"],
    ["ReceiveTasks", { Channel: "export.http" }, "Channel: channel export.http belongs to a service of Longshore"],
  ])("%s is refused as a whole where it is wrong: %#", async (method, request, Message) => {
    expect(await client.call(method, request)).toEqual({ State: "400", Message, Data: [] });
  });

  test("a receive takes one task where it does not say how many, and waits for one of any node", async () => {
    const Channel = fresh();
    expect((await client.call<TaskMessage[]>("ReceiveTasks", { Channel })).Data).toEqual([]);
    const received = client.call<TaskMessage[]>("ReceiveTasks", { Channel, WaitSeconds: 15 });
    await other.call("CreateTasks", { Tasks: many(3, (index) => ({ Channel, Input: `${index}` })) });
    expect((await received).Data.map(({ Input }) => Input)).toEqual(["0"]);
    expect(await length(Channel)).toBe("2");
  });

  test("a stream creates 2,000 tasks in their order, refusing some among them", async () => {
    const Channel = fresh();
    const stream = client.creates();
    const answers: Answer<string>[] = [];
    stream.on("data", (answer: Answer<string>) => answers.push(answer));
    for (let index = 0; index < 2_000; index += 1) {
      const Task = { Channel, Input: `${index}`, Priority: index === 1_000 ? 1_001 : 0 };
      stream.write(index === 1_500 ? ({} as { Task: object }) : { Task });
    }
    stream.end();
    await once(stream, "end");
    expect(answers).toHaveLength(2_000);
    const refused = [...answers.entries()].filter(([, { State }]) => State !== "200");
    expect(refused.map(([index, { State, Message }]) => [index, State, Message])).toEqual([
      [1_000, "400", "Task.Priority: must be -1000 to 1000"],
      [1_500, "400", "Task: must be given, as a message"],
    ]);
    for (const index of [0, 700, 1_999]) {
      expect((await client.byHash(answers[index]?.Data ?? "")).Input).toBe(`${index}`);
    }
    expect(await length(Channel)).toBe("1998");
  });

  test("a stream takes long inputs, each as long as a task may have", async () => {
    const Channel = fresh();
    const stream = client.creates();
    const answers: Answer<string>[] = [];
    stream.on("data", (answer: Answer<string>) => answers.push(answer));
    const Input = "é".repeat(256 * 1024);
    for (let index = 0; index < 6; index += 1) stream.write({ Task: { Channel, Input } });
    stream.end();
    await once(stream, "end");
    expect(answers.map(({ State }) => State)).toEqual(new Array(6).fill("200"));
    // What is answered is bounded, so it takes several receives.
    const tasks = await receiveAll(Channel, 6);
    expect(tasks.every((task) => task.Input === Input)).toBe(true);
  });

  test("a batch is taken that is larger than a message between nodes may be", async () => {
    const Channel = fresh();
    const Tasks = many(7, () => ({ Channel, Input: randomBytes(384 * 1024).toString("base64") }));
    expect((await create(Tasks)).Data.map(({ State }) => State)).toEqual(many(7, () => "200"));
    const received = await receiveAll(Channel, 7);
    expect(new Set(received.map(({ Input }) => Input))).toEqual(new Set(Tasks.map(({ Input }) => Input)));
  });
});
