/** What a task can be asked to be, beyond standard.Queues: when it is given, for how long it is tried, tags and logs. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { ReceivedMessage, ReportMessage, TaskMessage } from "../queues-client.ts";
import { next, QueuesClient, rest } from "../queues-client.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const SUCCESS = 1;
const FAILURE = 2;
const PROCEEDING = 6;
/** Each node measures the datastore's clock for itself. */
const CLOCKS_MS = 20;

interface LogLine {
  Number: string;
  Time: string;
  Text: string;
}

onEveryTopology("tasks of longshore.v1.Queues", (start) => {
  let cluster: Cluster;
  let client: QueuesClient;
  /** Through another gateway, where there is one. */
  let other: QueuesClient;
  let channels = 0;
  const fresh = () => `tasks-${(channels += 1)}`;
  const inMs = (ms: number) => new Date(Date.now() + ms).toISOString();

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

  async function receive(Channel: string, Max = 1, WaitSeconds = 15): Promise<TaskMessage[]> {
    const received = await client.call<TaskMessage[]>("ReceiveTasks", { Channel, Max, WaitSeconds });
    expect(received).toMatchObject({ State: "200" });
    return received.Data;
  }

  async function receiveOne(Channel: string): Promise<TaskMessage> {
    const [task] = await receive(Channel);
    if (!task) throw new Error(`no task came in ${Channel}`);
    return task;
  }

  /** A receive stream that asks for notices, and all that has come on it. */
  function listen(Channel: string, credits: number) {
    const stream = client.receive();
    const received: (ReceivedMessage & { at: number })[] = [];
    stream.on("data", (message: ReceivedMessage) => received.push({ ...message, at: Date.now() }));
    stream.on("error", () => undefined);
    for (let credit = 0; credit < credits; credit += 1) stream.write({ Channel, Notices: true });
    const tasks = () => received.flatMap(({ Tasks }) => Tasks ?? []);
    const stopped = () => received.flatMap(({ Stopped }) => Stopped);
    return { stream, received, tasks, stopped };
  }

  const ended = (ID: string) =>
    waitFor(async () => {
      const task = await client.byID(ID);
      return ["SUCCESS", "FAILURE", "CANCEL"].includes(task.State) && task;
    });

  describe("order", () => {
    test("is by priority, then by age, also below zero", async () => {
      const Channel = fresh();
      for (const Priority of [0, 5, -1000, 5, 1000]) await client.create({ Channel, Priority });
      const tasks = await receive(Channel, 10);
      expect(tasks.map(({ Priority }) => Priority)).toEqual([1000, 5, 5, 0, -1000]);
      expect(tasks[1]!.CreateTime <= tasks[2]!.CreateTime).toBe(true);
    });

    test.each([
      [0, 1],
      [-1, 0],
      [-2, -1],
    ])("puts a task before those of priority %d that were read already, where it has %d", async (low, high) => {
      const Channel = fresh();
      const Tasks = Array.from({ length: 40 }, (_, index) => ({ Channel, Priority: low, Input: `${index}` }));
      await client.call("CreateTasks", { Tasks });
      for (let index = 0; index < 10; index += 1) expect((await receiveOne(Channel)).Input).toBe(`${index}`);
      await other.create({ Channel, Priority: high, Input: "high" });
      // Another node hears of it a moment later.
      let before = 0;
      while ((await receiveOne(Channel)).Input !== "high") before += 1;
      expect(before).toBeLessThan(5);
    });
  });

  describe("a delayed task", () => {
    test("waits for its time, and comes in the order of these times", async () => {
      const Channel = fresh();
      const Tasks = [0.9, 0.3, 0.6].map((DelaySeconds) => ({ Channel, DelaySeconds, Input: `${DelaySeconds}` }));
      const { Data } = await client.call<{ Data: string }[]>("CreateTasks", { Tasks });
      const made = await Promise.all(Data.map(({ Data: hash }) => client.byHash(hash)));
      expect(made.every(({ State, StartTime }) => State === "WAITING" && StartTime !== "")).toBe(true);
      expect((await client.call<string>("QueryLengthByChannel", { Channel })).Data).toBe("3");
      const due = new Map(made.map(({ ID, StartTime }) => [ID, Date.parse(StartTime)]));
      const { stream, tasks, received } = listen(Channel, 3);
      await waitFor(() => tasks().length === 3);
      stream.cancel();
      expect(tasks().map(({ Input }) => Input)).toEqual(["0.3", "0.6", "0.9"]);
      for (const { Tasks: task, at } of received) expect(at).toBeGreaterThanOrEqual(due.get(task.ID)! - CLOCKS_MS);
    });

    test("may have its time in so many words; one that has passed is now", async () => {
      const Channel = fresh();
      const StartTime = inMs(700);
      const later = await client.create({ Channel, StartTime });
      expect(later.StartTime).toBe(StartTime);
      const offset = await client.create({ Channel, StartTime: "2020-01-01T00:00:00.5+05:30" });
      expect((await receive(Channel, 10, 0)).map(({ ID }) => ID)).toEqual([offset.ID]);
      expect((await receiveOne(Channel)).ID).toBe(later.ID);
      expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(StartTime) - CLOCKS_MS);
    });

    test("in a chain waits for both, its predecessor and its time", async () => {
      const Channel = fresh();
      const first = await client.create({ Channel });
      const second = await client.create({ Channel, Next: first.ID, DelaySeconds: 1.2 });
      const third = await client.create({ Channel, Next: second.ID, DelaySeconds: 0.01 });
      await receiveOne(Channel);
      await client.report({ ID: first.ID, State: SUCCESS, Output: "from first" });
      expect(await client.byID(second.ID)).toMatchObject({ State: "WAITING", StartTime: second.StartTime });
      const came = await receiveOne(Channel);
      expect(came).toMatchObject({ ID: second.ID, Input: "from first" });
      expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(second.StartTime) - CLOCKS_MS);
      expect(Date.parse(third.StartTime)).toBeLessThan(Date.now());
      expect(await receive(Channel, 1, 0)).toEqual([]);
      await client.report({ ID: second.ID, State: SUCCESS, Output: "from second" });
      expect(await receiveOne(Channel)).toMatchObject({ ID: third.ID, Input: "from second" });
    });
  });

  describe("a deadline", () => {
    test("ends a task FAILURE, whether it waits, waits for its time or is chained, and its chain", async () => {
      const Channel = fresh();
      const Deadline = inMs(1_000);
      const head = await client.create({ Channel: `${Channel}-elsewhere` });
      const waiting = await client.create({ Channel, Deadline });
      const delayed = await client.create({ Channel, Deadline, DelaySeconds: 3_600 });
      const chained = await client.create({ Channel, Deadline, Next: head.ID });
      const last = await client.create({ Channel, Next: chained.ID });
      expect(waiting.Deadline).toBe(Deadline);
      for (const { ID } of [waiting, delayed, chained]) {
        const Output = `the task had not ended by its deadline, ${Deadline}`;
        expect(await ended(ID)).toMatchObject({ State: "FAILURE", Output, RetryCount: "0" });
      }
      expect(await ended(last.ID)).toMatchObject({ State: "CANCEL" });
      expect((await client.byID(head.ID)).State).toBe("WAITING");
    });

    test("ends a running task, tells its worker, and does so whatever retries are left", async () => {
      const Channel = fresh();
      const { stream, tasks, stopped } = listen(Channel, 1);
      const { ID } = await client.create({ Channel, Deadline: inMs(1_000), RetryMaxLimit: 5 });
      await waitFor(() => tasks().length === 1);
      await waitFor(() => stopped().includes(ID));
      expect((await client.byID(ID)).State).toBe("FAILURE");
      expect(await client.report({ ID, State: SUCCESS })).toMatchObject({
        State: "400",
        Message: `task ${ID} has ended: its state is FAILURE`,
      });
      stream.cancel();
    });

    test("that is met is forgotten", async () => {
      const Channel = fresh();
      const { ID } = await client.create({ Channel, Deadline: inMs(60_000) });
      await receiveOne(Channel);
      await client.report({ ID, State: SUCCESS });
      expect(await client.byID(ID)).toMatchObject({ State: "SUCCESS", Deadline: "" });
    });
  });

  test("an attempt beyond MaxRunSeconds fails in spite of its renewals, and is tried again", async () => {
    const Channel = fresh();
    const RetryPolicy = { DelaySeconds: [0] };
    const { ID } = await client.create({ Channel, MaxRunSeconds: 1, RetryMaxLimit: 1, RetryPolicy });
    const { stream, tasks, stopped } = listen(Channel, 2);
    await waitFor(() => tasks().length === 1);
    const begun = Date.now();
    const reports = client.reports();
    let renewals = 0;
    for (;;) {
      reports.write({ ID, State: PROCEEDING, Output: "still at it" });
      const { State } = await next<{ State: string }>(reports);
      if (State === "400") break;
      renewals += 1;
    }
    expect(Date.now() - begun).toBeLessThan(4_000);
    expect(renewals).toBeGreaterThan(1);
    reports.end();
    await waitFor(() => tasks().length === 2);
    const Output = "the attempt took longer than 1 seconds (MaxRunSeconds)";
    expect(tasks()[1]).toMatchObject({ ID, RetryCount: "1", Output });
    expect(stopped()).toEqual([ID]);
    expect(await ended(ID)).toMatchObject({ State: "FAILURE", RetryCount: "1", Output });
    await waitFor(() => stopped().length === 2);
    stream.cancel();
  });

  describe("a failed attempt", () => {
    const fail = (ID: string, more: Partial<ReportMessage> = {}) => client.report({ ID, State: FAILURE, ...more });

    test("is followed by the next after the delays of its policy, the last of them for all that follow", async () => {
      const Channel = fresh();
      const RetryPolicy = { DelaySeconds: [0, 3_600.5] };
      const { ID } = await client.create({ Channel, RetryMaxLimit: 3, RetryPolicy });
      expect((await receiveOne(Channel)).RetryPolicy).toMatchObject({ ...RetryPolicy, InitialSeconds: 1 });
      await fail(ID);
      expect(await receiveOne(Channel)).toMatchObject({ ID, RetryCount: "1" });
      await fail(ID, { Output: "second" });
      const task = await client.byID(ID);
      expect(task).toMatchObject({ State: "WAITING", RetryCount: "2", Output: "second" });
      expect(Date.parse(task.StartTime) - Date.parse(task.UpdateTime)).toBe(3_600_500);
    });

    test("is tried again at once, again and again, where the delays are [0, 0]", async () => {
      const Channel = fresh();
      const { ID } = await client.create({ Channel, RetryMaxLimit: 2, RetryPolicy: { DelaySeconds: [0, 0] } });
      for (const RetryCount of ["0", "1", "2"]) {
        expect(await receiveOne(Channel)).toMatchObject({ ID, RetryCount });
        await fail(ID);
      }
      expect(await client.byID(ID)).toMatchObject({ State: "FAILURE", RetryCount: "2" });
    });

    test("that its worker calls hopeless is the last", async () => {
      const Channel = fresh();
      const { ID } = await client.create({ Channel, RetryMaxLimit: 5 });
      await receiveOne(Channel);
      expect(await fail(ID, { Output: "no such address", NonRetryable: true })).toMatchObject({ State: "200" });
      expect(await client.byID(ID)).toMatchObject({ State: "FAILURE", RetryCount: "0", Output: "no such address" });
    });
  });

  describe("a cancel", () => {
    test("reaches the stream of the worker within a second, from any node, and uses up no credit", async () => {
      const Channel = fresh();
      const { stream, tasks, stopped, received } = listen(Channel, 3);
      const first = await client.create({ Channel });
      const second = await client.create({ Channel });
      await waitFor(() => tasks().length === 2);
      for (const [by, { ID }] of [
        [other, first],
        [client, second],
      ] as const) {
        const asked = Date.now();
        expect((await by.call("CancelTaskByID", { ID })).State).toBe("200");
        await waitFor(() => stopped().includes(ID));
        expect(received.at(-1)!.at - asked).toBeLessThan(1_000);
        expect((await client.report({ ID, State: SUCCESS })).State).toBe("400");
      }
      const third = await client.create({ Channel });
      await waitFor(() => tasks().length === 3);
      expect(tasks()[2]!.ID).toBe(third.ID);
      expect(stopped()).toEqual([first.ID, second.ID]);
      stream.cancel();
    });

    test("is not told on a stream that did not ask for it", async () => {
      const Channel = fresh();
      const stream = client.receive();
      stream.on("error", () => undefined);
      const first = next<ReceivedMessage>(stream);
      for (let credit = 0; credit < 2; credit += 1) stream.write({ Channel });
      const { ID } = await client.create({ Channel });
      expect((await first).Tasks.ID).toBe(ID);
      const second = next<ReceivedMessage>(stream);
      await client.call("CancelTaskByID", { ID });
      const { ID: last } = await client.create({ Channel });
      expect(await second).toMatchObject({ Tasks: { ID: last }, Stopped: [] });
      stream.cancel();
    });
  });

  describe("tags", () => {
    const query = (request: object) => other.call<TaskMessage[]>("QueryTasks", request);

    test("find tasks, the newest first, in pages, by all of several and within a channel or a state", async () => {
      const [Channel, elsewhere] = [fresh(), fresh()];
      const customer = `customer of ${Channel} é🦀`;
      const IDs: string[] = [];
      for (const kind of ["a", "b", "a", "b", "a"]) {
        IDs.unshift((await client.create({ Channel, Tags: { customer, kind } })).ID);
      }
      IDs.unshift((await client.create({ Channel: elsewhere, Tags: { customer } })).ID);
      await client.create({ Channel, Tags: { customer: `${customer}!`, kind: "a" } });
      await client.create({ Channel });
      const found = async (request: object) => (await query(request)).Data.map(({ ID }) => IDs.indexOf(ID));

      expect(await found({ Tags: { customer } })).toEqual([0, 1, 2, 3, 4, 5]);
      expect(await found({ Tags: { customer, kind: "a" } })).toEqual([1, 3, 5]);
      expect(await found({ Tags: { customer }, Channel })).toEqual([1, 2, 3, 4, 5]);
      expect(await found({ Tags: { customer }, State: "CANCEL" })).toEqual([]);
      await client.call("CancelTaskByID", { ID: IDs[2] });
      expect(await found({ Tags: { customer }, State: "CANCEL" })).toEqual([2]);
      expect((await query({ Tags: { customer } })).Data[1]!.Tags).toEqual({ customer, kind: "a" });

      const pages: number[][] = [];
      let PageToken = "";
      do {
        const page = await query({ Tags: { customer }, PageSize: 2, PageToken });
        pages.push(page.Data.map(({ ID }) => IDs.indexOf(ID)));
        PageToken = page.NextPageToken ?? "";
      } while (PageToken);
      expect(pages).toEqual([
        [0, 1],
        [2, 3],
        [4, 5],
      ]);
      const path = `tasks:query?Tags.customer=${encodeURIComponent(customer)}&Tags.kind=b&PageSize=1`;
      const { status, body } = await rest<TaskMessage[]>(cluster.gateways[0].http, "GET", path);
      expect([status, body.Data.map(({ ID }) => IDs.indexOf(ID))]).toEqual([200, [2]]);
      expect(body.NextPageToken).not.toBe("");
    });

    test("may have any name that is allowed, and are told as they were given", async () => {
      const Channel = fresh();
      const Tags = { "a.b": "", "1": "é".repeat(256), [`n-${"x".repeat(62)}`]: "$x", "a.": "=", constructor: Channel };
      const { ID } = await client.create({ Channel, Tags });
      expect((await client.byID(ID)).Tags).toEqual(Tags);
      for (const [name, value] of Object.entries(Tags)) {
        const { Data } = await query({ Tags: { [name]: value, constructor: Channel } });
        expect(Data.map((task) => task.ID)).toEqual([ID]);
      }
    });

    test("cannot be asked for with a token that was altered or belongs to another query", async () => {
      const Channel = fresh();
      for (let count = 0; count < 3; count += 1) await client.create({ Channel, Tags: { Channel } });
      const { NextPageToken = "" } = await query({ Tags: { Channel }, PageSize: 1 });
      const altered = `${NextPageToken.slice(0, -2)}${NextPageToken.endsWith("AA") ? "BB" : "AA"}`;
      for (const request of [
        { Tags: { Channel }, PageToken: altered },
        { Tags: { Channel }, Channel, PageToken: NextPageToken },
        { Tags: { Channel }, State: "SUCCESS", PageToken: NextPageToken },
        { Tags: { Channel }, PageToken: "x" },
      ]) {
        const Message = "PageToken: is not the token of a page of this query";
        expect(await query(request)).toMatchObject({ State: "400", Message });
      }
      expect((await query({ Tags: { Channel }, PageSize: 5, PageToken: NextPageToken })).Data).toHaveLength(2);
    });

    test.each([
      [{}, "Tags: must be given, one at least"],
      [{ Tags: { a: "x".repeat(257) } }, "Tags.a: must be at most 256 characters of valid Unicode"],
      [{ Tags: { a: "b" }, State: "READY" }, /^State: must be one of WAITING, PROCEEDING, SUCCESS, FAILURE, CANCEL$/],
      [{ Tags: { a: "b" }, PageSize: 1_001 }, "PageSize: must be 1 to 1000"],
    ])("are refused in a query that is wrong: %#", async (request, message) => {
      const refused = await query(request);
      expect(refused).toMatchObject({ State: "400", Data: [] });
      expect(refused.Message).toEqual(typeof message === "string" ? message : expect.stringMatching(message));
    });
  });

  describe("the log of a task", () => {
    async function logOf(ID: string): Promise<LogLine[]> {
      const lines: LogLine[] = [];
      for (;;) {
        const After = lines.at(-1)?.Number ?? "0";
        const { Data } = await client.call<LogLine[]>("QueryTaskLogs", { ID, After });
        if (Data.length === 0) return lines;
        lines.push(...Data);
      }
    }

    test("has the lines of all reports that were taken, in their order, by whatever node", async () => {
      const Channel = fresh();
      const { ID } = await client.create({ Channel });
      await receiveOne(Channel);
      const expected: string[] = [];
      for (let beat = 0; beat < 12; beat += 1) {
        const Logs = [`${beat} begins`, `${beat} ends ✓`].slice(0, 1 + (beat % 2));
        const by = beat % 3 === 0 ? other : client;
        expect(await by.report({ ID, State: PROCEEDING, Logs })).toMatchObject({ State: "200" });
        expected.push(...Logs);
      }
      await client.report({ ID, State: SUCCESS, Output: "done", Logs: ["last"] });
      expected.push("last");
      // Neither the same report again nor one that is refused adds to it.
      expect((await client.report({ ID, State: SUCCESS, Output: "done", Logs: ["again"] })).State).toBe("200");
      expect((await client.report({ ID, State: PROCEEDING, Logs: ["refused"] })).State).toBe("400");
      const lines = await logOf(ID);
      expect(lines.map(({ Text }) => Text)).toEqual(expected);
      expect(lines.map(({ Number: number }) => Number(number))).toEqual(expected.map((_, index) => index + 1));
      for (const { Time } of lines) expect(Time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      const after = await rest<LogLine[]>(cluster.gateways[1].http, "GET", `tasks/${ID}/logs?After=17`);
      expect(after.body.Data.map(({ Text }) => Text)).toEqual(["11 ends ✓", "last"]);
    });

    test("keeps the last 1,000 lines", async () => {
      const Channel = fresh();
      const { ID } = await client.create({ Channel });
      await receiveOne(Channel);
      const Reports = Array.from({ length: 11 }, (_, report) => ({
        ID,
        State: PROCEEDING,
        Logs: Array.from({ length: 95 }, (_, line) => `${report * 95 + line + 1}`),
      }));
      expect((await client.call("ReportTasks", { Reports })).State).toBe("200");
      const lines = await logOf(ID);
      expect(lines).toHaveLength(1_000);
      expect(lines[0]).toMatchObject({ Number: "46", Text: "46" });
      expect(lines.every(({ Number: number, Text }) => number === Text)).toBe(true);
    });

    test("refuses what is too much, and is empty or not there where nothing was logged", async () => {
      const { ID } = await client.create({ Channel: fresh() });
      expect(await logOf(ID)).toEqual([]);
      expect(await client.call("QueryTaskLogs", { ID: "9007199254740000" })).toMatchObject({ State: "404" });
      const tooMany = await client.report({ ID, State: PROCEEDING, Logs: new Array<string>(101).fill("x") });
      expect(tooMany).toMatchObject({ State: "400", Message: "Logs: must be at most 100 lines a report", Data: ID });
      const tooLong = await client.report({ ID, State: PROCEEDING, Logs: ["x", "é".repeat(2_049)] });
      const Message = "Logs[1]: must be at most 4096 bytes of valid Unicode";
      expect(tooLong).toMatchObject({ State: "400", Message, Data: ID });
    });
  });

  test("progress is told while a task runs", async () => {
    const Channel = fresh();
    const { ID } = await client.create({ Channel });
    await receiveOne(Channel);
    await client.report({ ID, State: PROCEEDING, Progress: 40 });
    expect(await other.byID(ID)).toMatchObject({ State: "PROCEEDING", Progress: "40" });
  });

  const year = 31_536_000;
  test.each([
    [{ Priority: 1_001 }, "Task.Priority: must be -1000 to 1000"],
    [{ Priority: -1_001 }, "Task.Priority: must be -1000 to 1000"],
    [{ DelaySeconds: year + 1 }, "Task.DelaySeconds: must be 0 to 31536000"],
    [{ DelaySeconds: -0.1 }, "Task.DelaySeconds: must be 0 to 31536000"],
    [
      { DelaySeconds: 1, StartTime: "2020-01-01T00:00:00Z" },
      "Task.StartTime: must not be given together with DelaySeconds",
    ],
    [{ StartTime: "tomorrow" }, "Task.StartTime: must be an RFC 3339 time, such as 2030-01-31T12:00:00Z"],
    [{ StartTime: "2030-02-31" }, "Task.StartTime: must be an RFC 3339 time, such as 2030-01-31T12:00:00Z"],
    [{ StartTime: inMs((year + 3_600) * 1_000) }, "Task.StartTime: must be at most a year ahead"],
    [{ Deadline: inMs(-1_000) }, "Task.Deadline: must be in the future"],
    [{ Deadline: inMs((2 * year + 3_600) * 1_000) }, "Task.Deadline: must be at most two years ahead"],
    [{ MaxRunSeconds: 604_801 }, "Task.MaxRunSeconds: must be 1 to 604800"],
    [{ RetryPolicy: { InitialSeconds: 0.0001 } }, "Task.RetryPolicy.InitialSeconds: must be 0.001 to 86400"],
    [{ RetryPolicy: { Multiplier: 101 } }, "Task.RetryPolicy.Multiplier: must be 1 to 100"],
    [{ RetryPolicy: { MaxSeconds: 604_801 } }, "Task.RetryPolicy.MaxSeconds: must be 0.001 to 604800"],
    [{ RetryPolicy: { DelaySeconds: [0, -1] } }, "Task.RetryPolicy.DelaySeconds[1]: must be 0 to 604800"],
    [
      { RetryPolicy: { DelaySeconds: new Array<number>(101).fill(0) } },
      "Task.RetryPolicy.DelaySeconds: must be at most 100 delays",
    ],
    [{ Tags: { blob: "x".repeat(10_240) } }, "Task.Tags.blob: must be at most 256 characters of valid Unicode"],
    [{ Tags: { "a b": "" } }, 'Task.Tags: the name "a b" must be 1 to 64 of [0-9A-Za-z._-]'],
    [
      { Tags: Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`t${index}`, ""])) },
      "Task.Tags: must be at most 16 tags, not 17",
    ],
  ])("is refused with its reason, over gRPC and REST: %#", async (more, Message) => {
    const request = { Task: { Channel: "refused", ...more } };
    expect(await client.call("CreateTask", request)).toMatchObject({ State: "400", Message, Data: "" });
    const answer = await rest(cluster.gateways[1].http, "POST", "tasks", request);
    expect(answer).toEqual({ status: 400, body: { State: "400", Message } });
  });

  test.each([
    [{ Priority: 1.5 }, "Task.Priority: must be a whole number"],
    [{ Priority: "high" }, "Task.Priority: must be a number"],
    [{ DelaySeconds: "soon" }, "Task.DelaySeconds: must be a number"],
    [{ MaxRunSeconds: 1.5 }, "Task.MaxRunSeconds: must be an unsigned 64-bit integer, as a number or as text"],
    [{ RetryPolicy: { Retries: 1 } }, "Task.RetryPolicy.Retries: there is no such field"],
    [{ RetryPolicy: { DelaySeconds: 5 } }, "Task.RetryPolicy.DelaySeconds: must be a list"],
    [{ Tags: ["a"] }, "Task.Tags: must be given, as a message"],
    [{ Tags: { a: 5 } }, "Task.Tags.a: must be a string"],
  ])("is refused with its reason over REST, where a field may hold anything: %#", async (more, Message) => {
    const request = { Task: { Channel: "refused", ...more } };
    const answer = await rest(cluster.gateways[0].http, "POST", "tasks", request);
    expect(answer).toEqual({ status: 400, body: { State: "400", Message } });
  });

  test("a stream that was half-closed ends when what its worker had is cancelled", async () => {
    const Channel = fresh();
    const { stream, tasks } = listen(Channel, 1);
    const { ID } = await client.create({ Channel });
    await waitFor(() => tasks().length === 1);
    const over = once(stream, "end");
    stream.end();
    await other.call("CancelTaskByID", { ID });
    await over;
  });
});
