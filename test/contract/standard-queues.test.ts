import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Answer, TaskMessage } from "../queues-client.ts";
import { next, QueuesClient } from "../queues-client.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";

type Received = { Tasks: TaskMessage };
const SUCCESS = 1;
const FAILURE = 2;
const CANCEL = 4;
const PROCEEDING = 6;

onEveryTopology("standard.Queues", (start) => {
  let cluster: Cluster;
  let client: QueuesClient;
  /** Through another gateway, where there is one. */
  let other: QueuesClient;
  let channels = 0;
  const channel = () => `channel-${(channels += 1)}`;

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

  async function rest<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${cluster.gateways[0].http}${path}`, {
      method,
      headers: { "content-type": "application/json", ...headers },
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Answer<T> };
  }

  async function receiveOne(name: string, metadata: Record<string, string> = {}, lease?: number) {
    const stream = client.receive(metadata);
    stream.on("error", () => undefined);
    stream.write({ Channel: name, LeaseSeconds: lease });
    const { Tasks } = await next<Received>(stream);
    return { stream, task: Tasks };
  }

  test("1,000 tasks are received on one stream and reported on another, each SUCCESS once", async () => {
    const name = channel();
    const created = await Promise.all(
      Array.from({ length: 1_000 }, (_, index) =>
        client.call<string>("CreateTask", { Task: { Channel: name, Owner: 77, Input: `input ${index}` } }),
      ),
    );
    expect(new Set(created.map(({ Data }) => Data)).size).toBe(1_000);
    expect((await other.call<string>("QueryLengthByChannel", { Channel: name })).Data).toBe("1000");

    const receive = other.receive({ "x-worker-id": "w" });
    const reports = client.reports({ "x-worker-id": "w" });
    const inputs: string[] = [];
    const answers: Answer<string>[] = [];
    receive.on("data", ({ Tasks }: Received) => {
      inputs.push(Tasks.Input);
      reports.write({ ID: Tasks.ID, State: SUCCESS, Output: `done ${Tasks.Input}` });
    });
    reports.on("data", (answer: Answer<string>) => {
      answers.push(answer);
      if (answers.length === 1_000) {
        receive.end();
        reports.end();
      }
    });
    for (let credit = 0; credit < 1_000; credit += 1) receive.write({ Channel: name });
    await Promise.all([once(receive, "end"), once(reports, "end")]);

    expect(new Set(inputs).size).toBe(1_000);
    expect(answers.every(({ State }) => State === "200")).toBe(true);
    const ended = await client.call<TaskMessage[]>("QueryTaskByOwner", { Owner: 77, Limit: 1_000 });
    expect(ended.Total).toBe("1000");
    expect(ended.Data.every((task) => task.State === "SUCCESS" && task.Output === `done ${task.Input}`)).toBe(true);
    expect((await client.call<string>("QueryLengthByChannel", { Channel: name })).Data).toBe("0");
  });

  test("the same over REST", async () => {
    const name = channel();
    await Promise.all(
      Array.from({ length: 1_000 }, (_, index) =>
        rest("POST", "/v1/queues/tasks", { Task: { Channel: name, Owner: "88", Input: `input ${index}` } }),
      ),
    );
    const length = await rest<string>("GET", `/v1/queues/channels/${name}/length`);
    expect(length).toEqual({ status: 200, body: { State: "200", Message: "", Data: "1000" } });
    for (let left = 1_000; left > 0;) {
      const received = await rest<TaskMessage[]>("POST", `/v1/queues/channels/${name}:receive`, { wait: 5, max: 50 });
      expect(received.body.Data.length).toBeGreaterThan(0);
      left -= received.body.Data.length;
      const reported = await Promise.all(
        received.body.Data.map(({ ID }) =>
          rest("POST", `/v1/queues/tasks/${ID}:report`, { State: SUCCESS, Output: "ok" }),
        ),
      );
      expect(reported.every(({ status, body }) => status === 200 && body.State === "200")).toBe(true);
    }
    const listed = await rest<TaskMessage[]>("GET", "/v1/queues/tasks?owner=88&limit=1000");
    expect(listed.body.Total).toBe("1000");
    expect(listed.body.Data.every((task) => task.State === "SUCCESS" && task.Output === "ok")).toBe(true);
    const empty = await rest<TaskMessage[]>("POST", `/v1/queues/channels/${name}:receive`, { wait: 0 });
    expect(empty.body.Data).toEqual([]);
  });

  test("a request that does not wait gets what is there", async () => {
    const name = channel();
    const { ID } = await client.create({ Channel: name });
    const received = await rest<TaskMessage[]>("POST", `/v1/queues/channels/${name}:receive`, { wait: 0 });
    expect(received.body.Data.map((task) => task.ID)).toEqual([ID]);
  });

  test("a task is told with the document's names and its times in RFC 3339", async () => {
    const name = channel();
    const hash = `h-${name}-${Date.now()}`;
    const task = await client.create({
      Channel: name,
      Owner: "18446744073709551615",
      HashCode: hash,
      RetryMaxLimit: 3,
    });
    expect(task).toMatchObject({ Next: "0", Prior: "0", Owner: "18446744073709551615", State: "WAITING", Output: "" });
    expect(task).toMatchObject({ Channel: name, HashCode: hash, RetryCount: "0", RetryMaxLimit: "3" });
    expect(task.CreateTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const byRest = await rest<TaskMessage>("GET", `/v1/queues/tasks/${task.ID}`);
    expect(byRest.body).toMatchObject({ State: "200", Message: "" });
    // What Longshore added is left out of JSON where it has its default.
    expect(task).toMatchObject(byRest.body.Data);
    expect(Object.keys(byRest.body.Data)).toHaveLength(13);
    const byHash = await rest<TaskMessage>("GET", `/v1/queues/tasks/by-hash/${hash}`);
    expect(byHash.body.Data).toEqual(byRest.body.Data);
  });

  test("a task with the longest input and output comes whole from any node", async () => {
    const name = channel();
    const text = () => randomBytes(384 * 1024).toString("base64");
    const [input, output] = [text(), text()];
    expect(input.length).toBe(512 * 1024);
    const { ID } = await client.create({ Channel: name, Input: input });
    const { stream, task } = await receiveOne(name);
    expect(task.Input === input).toBe(true);
    expect((await other.report({ ID, State: SUCCESS, Output: output })).State).toBe("200");
    const shown = await client.call<TaskMessage>("QueryTaskByID", { ID });
    expect(shown.Data.Input === input && shown.Data.Output === output).toBe(true);
    stream.cancel();
  });

  test("the same HashCode 100 times at once makes one task; with other content it is refused", async () => {
    const name = channel();
    const task = { Channel: name, Owner: 9, HashCode: `once-${name}-${Date.now()}`, Input: "x" };
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        (index % 2 ? client : other).call<string>("CreateTask", { Task: task }),
      ),
    );
    expect(answers.every(({ State, Data }) => State === "200" && Data === task.HashCode)).toBe(true);
    expect((await client.call<string>("QueryLengthByChannel", { Channel: name })).Data).toBe("1");
    const refused = await client.call("CreateTask", { Task: { ...task, Input: "y" } });
    expect(refused.State).toBe("400");
    expect(refused.Message).toMatch(/^Task\.HashCode: .* is known with another Channel, Owner or Input$/);
  });

  test("a waiting receiver gets a task that is created on another node", async () => {
    const name = channel();
    const stream = client.receive();
    const received = next<Received>(stream);
    stream.write({ Channel: name });
    await other.create({ Channel: name, Input: "late" });
    expect((await received).Tasks.Input).toBe("late");
    stream.cancel();
    await once(stream, "error");
  });

  test("tasks come oldest first, and credits of many channels share a stream", async () => {
    const [left, right] = [channel(), channel()];
    for (let index = 0; index < 5; index += 1) {
      await client.create({ Channel: left, Input: `l${index}` });
      await client.create({ Channel: right, Input: `r${index}` });
    }
    const stream = client.receive();
    const inputs: string[] = [];
    stream.on("data", ({ Tasks }: Received) => {
      inputs.push(Tasks.Input);
      if (inputs.length === 10) stream.cancel();
    });
    for (let index = 0; index < 5; index += 1) {
      stream.write({ Channel: left });
      stream.write({ Channel: right });
    }
    await once(stream, "error");
    expect(inputs.filter((input) => input.startsWith("l"))).toEqual(["l0", "l1", "l2", "l3", "l4"]);
    expect(inputs.filter((input) => input.startsWith("r"))).toEqual(["r0", "r1", "r2", "r3", "r4"]);
  });

  test("a task that comes back is next, whatever was read before it did", async () => {
    const name = channel();
    for (let index = 0; index < 30; index += 1) await client.create({ Channel: name, Input: `${index}` });
    const receive = () => rest<TaskMessage[]>("POST", `/v1/queues/channels/${name}:receive`, { wait: 5 });
    const received: TaskMessage[] = [];
    for (let index = 0; index < 10; index += 1) received.push(...(await receive()).body.Data);
    expect(received.map(({ Input }) => Input)).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    expect((await rest("POST", `/v1/queues/tasks/${received[3]?.ID}:release`)).status).toBe(200);
    // Another node hears of it a moment later.
    const next = await until(
      async () => (await receive()).body.Data[0]?.Input,
      (input) => input === "3" || input === "20",
    );
    expect(next).toBe("3");
  });

  test("a broken stream gives its tasks back, and after MAX_LOST of them the task fails", async () => {
    const name = channel();
    const { ID } = await client.create({ Channel: name });
    for (let loss = 1; loss <= 5; loss += 1) {
      const { stream, task } = await receiveOne(name, {}, 3_600);
      expect(task.ID).toBe(ID);
      stream.cancel();
    }
    const failed = await until(
      () => client.call<TaskMessage>("QueryTaskByID", { ID }),
      ({ Data }) => Data.State === "FAILURE",
    );
    expect(failed.Data.Output).toBe("lost 5 times (MAX_LOST 5), the last time: the stream of its worker broke");
    expect(failed.Data.RetryCount).toBe("0");
  });

  test("a half-closed stream drops its credits and ends; what its worker has can still be reported", async () => {
    const name = channel();
    const idle = client.receive();
    idle.write({ Channel: name });
    idle.end();
    idle.resume();
    await once(idle, "end");
    const { ID } = await client.create({ Channel: name });
    const { stream, task } = await receiveOne(name, { "x-worker-id": "leaving" });
    expect(task.ID).toBe(ID);
    stream.end();
    stream.resume();
    const ended = once(stream, "end");
    const reported = await client.report({ ID, State: SUCCESS, Output: "last" }, { "x-worker-id": "leaving" });
    expect(reported).toEqual({ State: "200", Message: "", Data: ID });
    await ended;
  });

  test("a half-closed stream that goes before its worker has reported gives the task back, nothing lost", async () => {
    const name = channel();
    const { ID } = await client.create({ Channel: name });
    for (let round = 0; round < 6; round += 1) {
      const { stream, task } = await receiveOne(name, {}, 3_600);
      expect(task.ID).toBe(ID);
      stream.end();
      // The server has seen the end when it answers a later call on the same connection.
      await client.byHash(task.HashCode);
      stream.cancel();
    }
    const { stream } = await receiveOne(name);
    expect((await client.report({ ID, State: SUCCESS })).State).toBe("200");
    stream.cancel();
  });

  test("a lease that runs out gives the task to the next, and the late report is refused", async () => {
    const name = channel();
    const { ID } = await client.create({ Channel: name });
    const late = await receiveOne(name, { "x-worker-id": "slow" }, 1);
    const taken = await receiveOne(name, { "x-worker-id": "quick" });
    expect(taken.task.ID).toBe(ID);
    const refused = await client.report({ ID, State: SUCCESS, Output: "slow" }, { "x-worker-id": "slow" });
    expect(refused).toEqual({ State: "400", Message: `task ${ID} belongs to another worker`, Data: ID });
    const done = await client.report({ ID, State: SUCCESS, Output: "quick" }, { "x-worker-id": "quick" });
    expect(done.State).toBe("200");
    expect((await client.call<TaskMessage>("QueryTaskByID", { ID })).Data.Output).toBe("quick");
    for (const { stream } of [late, taken]) stream.cancel();
  });

  test("PROCEEDING renews the lease and shows the progress; a second report of the same result is taken, another refused", async () => {
    const name = channel();
    const { ID } = await client.create({ Channel: name });
    const { stream } = await receiveOne(name, {}, 2);
    const reports = client.reports();
    for (let beat = 0; beat < 4; beat += 1) {
      reports.write({ ID, State: PROCEEDING, Output: `${beat}`, Progress: beat * 25 });
      expect(await next(reports)).toMatchObject({ State: "200", Data: ID });
      const shown = await client.call<TaskMessage>("QueryTaskByID", { ID });
      expect(shown.Data).toMatchObject({ State: "PROCEEDING", Output: `${beat}` });
    }
    for (const expected of ["200", "200"]) {
      reports.write({ ID, State: SUCCESS, Output: "end" });
      expect(await next(reports)).toMatchObject({ State: expected });
    }
    reports.write({ ID, State: FAILURE, Output: "end" });
    expect(await next(reports)).toMatchObject({ State: "400", Message: `task ${ID} has ended: its state is SUCCESS` });
    reports.end();
    stream.cancel();
  });

  test("many reports of one task at once are taken in their order, each with its answer", async () => {
    const name = channel();
    const { ID } = await client.create({ Channel: name });
    const { stream } = await receiveOne(name);
    const reports = client.reports();
    const states: string[] = [];
    reports.on("data", ({ State }: Answer<string>) => states.push(State));
    for (let beat = 1; beat <= 200; beat += 1) reports.write({ ID, State: PROCEEDING, Output: `${beat}` });
    reports.write({ ID, State: SUCCESS, Output: "end" });
    reports.write({ ID, State: PROCEEDING, Output: "late" });
    reports.end();
    await once(reports, "end");
    expect(states).toEqual([...new Array<string>(201).fill("200"), "400"]);
    expect((await client.call<TaskMessage>("QueryTaskByID", { ID })).Data).toMatchObject({ Output: "end" });
    stream.cancel();
  });

  test("a failed task is tried again after its back-off until its retries are used up", async () => {
    const name = channel();
    const { ID } = await client.create({ Channel: name, RetryMaxLimit: 1 });
    const first = await receiveOne(name);
    await client.report({ ID, State: FAILURE, Output: "first" });
    const second = await receiveOne(name);
    expect(second.task).toMatchObject({ ID, RetryCount: "1", State: "PROCEEDING" });
    await client.report({ ID, State: FAILURE, Output: "second" });
    const failed = await client.call<TaskMessage>("QueryTaskByID", { ID });
    expect(failed.Data).toMatchObject({ State: "FAILURE", Output: "second", RetryCount: "1" });
    for (const { stream } of [first, second]) stream.cancel();
  });

  describe("a chain", () => {
    test("runs in order, and a task without input takes its predecessor's output", async () => {
      const name = channel();
      const first = await client.create({ Channel: name, Input: "1" });
      const second = await client.create({ Channel: name, Next: first.ID });
      const third = await client.create({ Channel: name, Next: second.ID, Input: "own" });
      expect((await client.call<string>("QueryLengthByChannel", { Channel: name })).Data).toBe("3");
      const inputs: string[] = [];
      for (const { ID } of [first, second, third]) {
        const { stream, task } = await receiveOne(name);
        expect(task.ID).toBe(ID);
        inputs.push(task.Input);
        await client.report({ ID, State: SUCCESS, Output: `out of ${inputs.length}` });
        stream.cancel();
      }
      expect(inputs).toEqual(["1", "out of 1", "own"]);
      const linked = await client.call<TaskMessage>("QueryTaskByID", { ID: second.ID });
      expect(linked.Data).toMatchObject({ Next: first.ID, Prior: third.ID });
    });

    test("is cancelled behind a task that fails, and as a whole by a cancel", async () => {
      const name = channel();
      const first = await client.create({ Channel: name });
      const second = await client.create({ Channel: name, Next: first.ID });
      const third = await client.create({ Channel: name, Next: second.ID });
      const { stream } = await receiveOne(name);
      await client.report({ ID: first.ID, State: FAILURE, Output: "broken" });
      stream.cancel();
      const last = await until(
        () => client.call<TaskMessage>("QueryTaskByID", { ID: third.ID }),
        ({ Data }) => Data.State === "CANCEL",
      );
      expect(last.Data.Output).toBe(`task ${second.ID}, which comes before it, ended CANCEL`);

      const head = await client.create({ Channel: name });
      const tail = await client.create({ Channel: name, Next: head.ID, Input: "tail" });
      const cancelled = await client.call<TaskMessage[]>("CancelTaskByID", { ID: head.ID });
      expect(cancelled.Data.map(({ ID, State }) => [ID, State])).toEqual([
        [head.ID, "CANCEL"],
        [tail.ID, "CANCEL"],
      ]);
      expect(cancelled.Data[1]?.Input).toBe("tail");
      const again = await client.call("CancelTaskByID", { ID: head.ID });
      expect(again).toMatchObject({ State: "400", Message: `task ${head.ID} has ended: its state is CANCEL` });
    });

    test("cannot follow a task that failed, is not there, or has a successor", async () => {
      const name = channel();
      const first = await client.create({ Channel: name });
      await client.create({ Channel: name, Next: first.ID });
      const taken = await client.call("CreateTask", { Task: { Channel: name, Next: first.ID } });
      expect(taken).toMatchObject({ State: "400", Message: `Task.Next: task ${first.ID} has a successor already` });
      await client.call("CancelTaskByID", { ID: first.ID });
      const failed = await client.call("CreateTask", { Task: { Channel: name, Next: first.ID } });
      expect(failed).toMatchObject({
        State: "400",
        Message: `Task.Next: task ${first.ID} ended CANCEL, nothing can follow it`,
      });
      const missing = await client.call("CreateTask", { Task: { Channel: name, Next: "9007199254740000" } });
      expect(missing).toMatchObject({ State: "400", Message: "Task.Next: there is no task 9007199254740000" });
    });
  });

  test("a cancelled task's worker is refused", async () => {
    const name = channel();
    const { ID } = await client.create({ Channel: name });
    const { stream } = await receiveOne(name);
    expect((await client.call("CancelTaskByID", { ID })).State).toBe("200");
    expect(await client.report({ ID, State: PROCEEDING, Output: "" })).toMatchObject({
      State: "400",
      Message: `task ${ID} has ended: its state is CANCEL`,
    });
    expect((await client.report({ ID, State: CANCEL, Output: "" })).State).toBe("200");
    stream.cancel();
  });

  test.each([
    [{}, "Task: must be given, as a message"],
    [{ Task: { Channel: "" } }, "Task.Channel: must not be empty"],
    [
      { Task: { Channel: "c", Input: "x".repeat(600 * 1024) } },
      "Task.Input: must be at most 524288 bytes (512 KiB), it is 614400",
    ],
    [{ Task: { Channel: "export.http" } }, "Task.Channel: channel export.http belongs to a service of Longshore"],
  ])("CreateTask is refused with State 400, over gRPC and REST: %#", async (request, message) => {
    expect(await client.call("CreateTask", request)).toMatchObject({ State: "400", Message: message });
    expect(await rest("POST", "/v1/queues/tasks", request)).toEqual({
      status: 400,
      body: { State: "400", Message: message },
    });
  });

  test.each([
    [{ Task: { Channel: 5 } }, "Task.Channel: must be a string"],
    [{ Task: { Channel: "c", Owner: "-1" } }, "Task.Owner: must be an unsigned 64-bit integer, as a number or as text"],
    [
      { Task: { Channel: "c", Owner: "18446744073709551616" } },
      "Task.Owner: must be an unsigned 64-bit integer, as a number or as text",
    ],
    [{ Task: { Chanel: "c" } }, "Task.Chanel: there is no such field"],
    [{ Task: [] }, "Task: must be given, as a message"],
    [[], "body: must be a JSON object"],
    ["{", /^body: /],
  ])("over REST a bad body is refused with the field named: %#", async (request, message) => {
    const refused = await rest("POST", "/v1/queues/tasks", request);
    expect(refused.status).toBe(400);
    expect(refused.body.Message).toEqual(typeof message === "string" ? message : expect.stringMatching(message));
  });

  test.each([
    [
      "GET",
      "/v1/queues/tasks/18446744073709551616",
      400,
      "ID: must be an unsigned 64-bit integer, as a number or as text",
    ],
    ["GET", "/v1/queues/tasks/18446744073709551615", 404, "ID: there is no task 18446744073709551615"],
    ["GET", "/v1/queues/tasks/by-hash/unknown", 404, "HashCode: there is no task unknown"],
    [
      "GET",
      "/v1/queues/tasks/by-hash/a%20b",
      400,
      'HashCode: must be 1 to 128 of [0-9A-Za-z._~-], and not "." or ".."',
    ],
    ["GET", "/v1/queues/channels/a%3Ab/length", 400, 'Channel: must hold no control character, ":" or "/"'],
    ["GET", "/v1/queues/tasks?owner=x", 400, "Owner: must be an unsigned 64-bit integer, as a number or as text"],
  ])("%s %s answers %d", async (method, path, status, message) => {
    const answer = await rest(method, path);
    expect(answer).toEqual({ status, body: { State: String(status), Message: message } });
  });

  test("an empty Channel ends a receive stream with INVALID_ARGUMENT", async () => {
    const stream = client.receive();
    stream.resume();
    stream.write({ Channel: "" });
    const [error] = (await once(stream, "error")) as [{ code: number; details: string }];
    expect(error).toMatchObject({ code: 3, details: "Channel: must not be empty" });
  });

  test("a message of more than 4 MiB is RESOURCE_EXHAUSTED", async () => {
    const call = client.call("CreateTask", { Task: { Channel: "c", Input: "x".repeat(5 * 1024 * 1024) } });
    await expect(call).rejects.toMatchObject({ code: 8 });
  });

  test("a report of an unknown task, or of a state that is none, is refused and the stream goes on", async () => {
    const reports = client.reports();
    reports.write({ ID: "9007199254740000", State: SUCCESS });
    expect(await next(reports)).toMatchObject({ State: "404", Message: "there is no task 9007199254740000" });
    reports.write({ ID: "9007199254740000", State: 9 });
    expect(await next(reports)).toMatchObject({ State: "400", Message: expect.stringContaining("State: must be") });
    reports.end();
    reports.resume();
    await once(reports, "end");
  });
});

async function until<T>(read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await read();
    if (holds(value)) return value;
  }
}
