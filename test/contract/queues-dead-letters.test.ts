/** What is done with many tasks of a channel: those that failed, those that wait, and whose turn it is. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { ReceivedMessage, TaskMessage } from "../queues-client.ts";
import { QueuesClient, rest } from "../queues-client.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const SUCCESS = 1;
const FAILURE = 2;

onEveryTopology("dead letters of longshore.v1.Queues", (start) => {
  let cluster: Cluster;
  let client: QueuesClient;
  /** Through another gateway, where there is one. */
  let other: QueuesClient;
  let channels = 0;
  const fresh = () => `letters-${(channels += 1)}`;
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

  const deadLetters = (Channel: string, more: object = {}) =>
    other.call<TaskMessage[]>("QueryDeadLetters", { Channel, ...more });
  const redrive = (request: object) => client.call<string>("RedriveTasks", request);
  const length = async (Channel: string) => (await client.call<string>("QueryLengthByChannel", { Channel })).Data;

  async function receive(Channel: string, Max = 1): Promise<TaskMessage[]> {
    return (await client.call<TaskMessage[]>("ReceiveTasks", { Channel, Max, WaitSeconds: 10 })).Data;
  }

  /** Makes tasks of the channel and lets them fail, in their order; their IDs. */
  async function failed(Channel: string, tasks: object[]): Promise<string[]> {
    const IDs: string[] = [];
    for (let from = 0; from < tasks.length; from += 1_000) {
      const Tasks = tasks.slice(from, from + 1_000).map((task) => ({ Channel, ...task }));
      expect((await client.call("CreateTasks", { Tasks })).State).toBe("200");
    }
    while (IDs.length < tasks.length) {
      const received = await receive(Channel, 1_000);
      const Reports = received.map(({ ID }) => ({ ID, State: FAILURE, Output: "broken", NonRetryable: true }));
      expect((await client.call("ReportTasks", { Reports })).State).toBe("200");
      IDs.push(...received.map(({ ID }) => ID));
    }
    return IDs;
  }

  test("are the tasks that failed, the last first, in pages", async () => {
    const Channel = fresh();
    const IDs: string[] = [];
    for (let index = 0; index < 5; index += 1) IDs.unshift(...(await failed(Channel, [{ RetryMaxLimit: 3 }])));
    await client.create({ Channel });
    const [succeeded] = await receive(Channel);
    await client.report({ ID: succeeded!.ID, State: SUCCESS });
    const { ID: cancelled } = await client.create({ Channel });
    await client.call("CancelTaskByID", { ID: cancelled });
    await client.create({ Channel });
    const { State, Data, NextPageToken } = await deadLetters(Channel);
    expect([State, NextPageToken]).toEqual(["200", ""]);
    expect(Data.map(({ ID }) => ID)).toEqual(IDs);
    expect(Data[0]).toMatchObject({ State: "FAILURE", Output: "broken" });
    const pages: string[][] = [];
    let PageToken = "";
    do {
      const page = await deadLetters(Channel, { PageSize: 2, PageToken });
      pages.push(page.Data.map(({ ID }) => ID));
      PageToken = page.NextPageToken ?? "";
    } while (PageToken);
    expect(pages).toEqual([IDs.slice(0, 2), IDs.slice(2, 4), IDs.slice(4)]);
  });

  test("are found by owner, tags and when they ended", async () => {
    const Channel = fresh();
    const early = await failed(Channel, [
      { Owner: 0, Tags: { kind: "a" } },
      { Owner: 7, Tags: { kind: "a", size: "l" } },
    ]);
    const boundary = await waitFor(async () => {
      const { UpdateTime } = await client.byID(early[1]!);
      return Date.now() > Date.parse(UpdateTime) + 50 && new Date(Date.parse(UpdateTime) + 25).toISOString();
    });
    const late = await failed(Channel, [{ Owner: 7, Tags: { kind: "b" } }]);
    const found = async (Filter: object) =>
      (await deadLetters(Channel, { Filter })).Data.map(({ ID }) => [...early, ...late].indexOf(ID)).sort();
    expect(await found({})).toEqual([0, 1, 2]);
    expect(await found({ Owner: 0 })).toEqual([0]);
    expect(await found({ Owner: 7 })).toEqual([1, 2]);
    expect(await found({ Tags: { kind: "a" } })).toEqual([0, 1]);
    expect(await found({ Tags: { kind: "a", size: "l" }, Owner: 0 })).toEqual([]);
    expect(await found({ EndedFrom: boundary })).toEqual([2]);
    expect(await found({ EndedBefore: boundary })).toEqual([0, 1]);
    const path = `channels/${Channel}/dead-letters?Filter.Owner=7&Filter.Tags.kind=a&Filter.EndedBefore=${boundary}`;
    const { status, body } = await rest<TaskMessage[]>(cluster.gateways[0].http, "GET", path);
    expect([status, body.Data.map(({ ID }) => ID)]).toEqual([200, [early[1]]]);
  });

  test.each([
    [{ Channel: "" }, "Channel: must not be empty"],
    [{ Channel: "c", PageSize: 1_001 }, "PageSize: must be 1 to 1000"],
    [{ Channel: "c", PageToken: "AAAA" }, "PageToken: is not the token of a page of this query"],
    [
      { Channel: "c", Filter: { EndedFrom: "yesterday" } },
      "Filter.EndedFrom: must be an RFC 3339 time, such as 2030-01-31T12:00:00Z",
    ],
    [
      { Channel: "c", Filter: { Tags: { "a b": "" } } },
      'Filter.Tags: the name "a b" must be 1 to 64 of [0-9A-Za-z._-]',
    ],
  ])("are refused to a query that is wrong: %#", async (request, Message) => {
    expect(await client.call("QueryDeadLetters", request)).toMatchObject({ State: "400", Message });
  });

  describe("redrive", () => {
    test("makes a task wait again as if new, with all its retries", async () => {
      const Channel = fresh();
      const RetryPolicy = { DelaySeconds: [0] };
      const { ID } = await client.create({ Channel, Input: "in", RetryMaxLimit: 1, RetryPolicy, Tags: { Channel } });
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await receive(Channel);
        await client.report({ ID, State: FAILURE, Output: "no" });
      }
      expect((await deadLetters(Channel)).Data).toHaveLength(1);
      expect(await redrive({ ID })).toEqual({ State: "200", Message: "", Data: "1" });
      expect((await deadLetters(Channel)).Data).toEqual([]);
      const fields = { ID, Input: "in", Output: "", RetryCount: "0", Tags: { Channel } };
      expect(await client.byID(ID)).toMatchObject({ ...fields, State: "WAITING" });
      expect(await receive(Channel)).toMatchObject([fields]);
      await client.report({ ID, State: FAILURE });
      expect(await receive(Channel)).toMatchObject([{ ID, RetryCount: "1" }]);
      await client.report({ ID, State: SUCCESS, Output: "at last" });
      expect(await client.byID(ID)).toMatchObject({ State: "SUCCESS", Output: "at last" });
    });

    test("is refused for a task that runs, waits or ended otherwise, and where it names none or too much", async () => {
      const Channel = fresh();
      const { ID } = await client.create({ Channel });
      const refusal = (state: string) => ({
        State: "400",
        Message: `task ${ID} has not failed: its state is ${state}`,
      });
      expect(await redrive({ ID })).toMatchObject(refusal("WAITING"));
      await receive(Channel);
      expect(await redrive({ ID })).toMatchObject(refusal("PROCEEDING"));
      const answer = await rest(cluster.gateways[1].http, "POST", `tasks/${ID}:redrive`, {});
      expect(answer).toEqual({ status: 400, body: refusal("PROCEEDING") });
      await client.report({ ID, State: SUCCESS });
      expect(await redrive({ ID })).toMatchObject(refusal("SUCCESS"));
      expect(await redrive({ ID: "9007199254740000" })).toMatchObject({ State: "404" });
      expect(await redrive({})).toMatchObject({ State: "400", Message: "Channel: must not be empty" });
      expect(await redrive({ ID, Channel })).toMatchObject({
        State: "400",
        Message: "Channel: must not be given together with ID",
      });
      expect(await redrive({ Channel: "export.http" })).toMatchObject({
        State: "400",
        Message: "Channel: channel export.http belongs to a service of Longshore",
      });
    });

    test("takes those that a filter names, or all of a channel, however many", async () => {
      const Channel = fresh();
      await failed(
        Channel,
        many(1_200, (index) => ({ Owner: index % 3 })),
      );
      const path = `channels/${Channel}:redrive`;
      const some = await rest<string>(cluster.gateways[0].http, "POST", path, { Filter: { Owner: 2 } });
      expect(some).toMatchObject({ status: 200, body: { State: "200", Data: "400" } });
      expect(await length(Channel)).toBe("400");
      expect(await redrive({ Channel, Filter: { EndedBefore: "2020-01-01T00:00:00Z" } })).toMatchObject({ Data: "0" });
      expect((await redrive({ Channel })).Data).toBe("800");
      expect(await length(Channel)).toBe("1200");
      expect((await redrive({ Channel })).Data).toBe("0");
      expect((await deadLetters(Channel)).Data).toEqual([]);
    });
  });

  describe("purge", () => {
    const purge = (Channel: string) => other.call<string>("PurgeChannel", { Channel });

    test("cancels all that waits, delayed tasks and chains included, and counts them; what runs goes on", async () => {
      const Channel = fresh();
      const running = await client.create({ Channel });
      expect(await receive(Channel)).toMatchObject([{ ID: running.ID }]);
      const Tasks = many(600, () => ({ Channel }));
      await client.call("CreateTasks", { Tasks });
      await client.create({ Channel, DelaySeconds: 3_600 });
      let Next = (await client.create({ Channel })).ID;
      for (let link = 0; link < 3; link += 1) Next = (await client.create({ Channel, Next })).ID;
      const behind = await client.create({ Channel, Next: running.ID });
      const elsewhere = await client.create({ Channel: `${Channel}-other` });
      expect(await length(Channel)).toBe("606");
      expect(await purge(Channel)).toEqual({ State: "200", Message: "", Data: "606" });
      expect(await length(Channel)).toBe("0");
      expect(await client.byID(behind.ID)).toMatchObject({ State: "CANCEL", Output: "purged from its channel" });
      expect((await client.byID(Next)).State).toBe("CANCEL");
      expect((await client.byID(elsewhere.ID)).State).toBe("WAITING");
      expect((await client.report({ ID: running.ID, State: SUCCESS })).State).toBe("200");
      expect((await purge(Channel)).Data).toBe("0");
    });

    test("is refused for the channels of Longshore's own services, and where there is none", async () => {
      const Message = "Channel: channel export.http belongs to a service of Longshore";
      expect(await purge("export.http")).toEqual({ State: "400", Message, Data: "0" });
      expect(await purge("")).toMatchObject({ State: "400", Message: "Channel: must not be empty" });
      const answer = await rest(cluster.gateways[0].http, "POST", "channels/export.http:purge", {});
      expect(answer).toEqual({ status: 400, body: { State: "400", Message } });
    });
  });

  describe("a fair channel", () => {
    async function crowded(Fair: boolean): Promise<string> {
      const Channel = fresh();
      const configured = await client.call("ConfigureChannel", { Channel, Settings: { Fair } });
      expect(configured.State).toBe("200");
      // Every node knows of it, a moment later.
      await waitFor(async () => {
        const { Data } = await other.call<{ Settings: { Fair: boolean } }>("QueryChannel", { Channel });
        return Data.Settings.Fair === Fair;
      });
      for (let half = 0; half < 2; half += 1) {
        await client.call("CreateTasks", { Tasks: many(1_000, () => ({ Channel, Owner: 1 })) });
      }
      await client.call("CreateTasks", { Tasks: many(10, (index) => ({ Channel, Owner: 2, Input: `${index}` })) });
      return Channel;
    }

    async function owners(Channel: string, credits: number): Promise<TaskMessage[]> {
      const stream = client.receive();
      const tasks: TaskMessage[] = [];
      stream.on("error", () => undefined);
      stream.on("data", ({ Tasks }: ReceivedMessage) => tasks.push(Tasks));
      for (let credit = 0; credit < credits; credit += 1) stream.write({ Channel });
      await waitFor(() => tasks.length === credits);
      stream.cancel();
      return tasks;
    }

    test("gives the ten tasks of one owner among the first of another's 2,000, each owner's in their order", async () => {
      const tasks = await owners(await crowded(true), 40);
      const few = tasks.filter(({ Owner }) => Owner === "2");
      expect(few.map(({ Input }) => Input)).toEqual(many(10, String));
      expect(tasks.filter(({ Owner }) => Owner === "1")).toHaveLength(30);
    });

    test("takes turns also between receives of one task each", async () => {
      const Channel = await crowded(true);
      const tasks: TaskMessage[] = [];
      for (let count = 0; count < 8; count += 1) tasks.push(...(await receive(Channel)));
      const few = tasks.filter(({ Owner }) => Owner === "2").length;
      // Nodes take their turns each for itself.
      expect(few).toBeGreaterThanOrEqual(3);
      expect(few).toBeLessThanOrEqual(5);
    });

    test("that is not fair gives them in the order in which they came", async () => {
      const tasks = await owners(await crowded(false), 40);
      expect(tasks.every(({ Owner }) => Owner === "1")).toBe(true);
    });
  });
});
