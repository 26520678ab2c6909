/** Operations one by one: what each state of a task looks like, names, cancel, delete, wait and watch. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { status } from "@grpc/grpc-js";
import type { Operation } from "../operations-client.ts";
import { inJson, OperationsClient } from "../operations-client.ts";
import { ExportClient } from "../export-client.ts";
import type { ReceivedMessage, ReportMessage, TaskMessage } from "../queues-client.ts";
import { QueuesClient } from "../queues-client.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const SUCCESS = 1;
const FAILURE = 2;
const CANCEL = 4;
const PROCEEDING = 6;
const TYPE = "type.googleapis.com/longshore.v1";
/** Timers may be early by a little, and each node measures the datastore's clock for itself. */
const CLOCKS_MS = 20;
const WIRES = ["rest", "grpc"] as const;

onEveryTopology("operations", (start) => {
  let cluster: Cluster;
  let queues: QueuesClient;
  /** Through another gateway, where there is one. */
  let other: QueuesClient;
  /** REST through the one gateway, gRPC through the other. */
  let client: OperationsClient;
  let channels = 0;
  const fresh = () => `operations-${(channels += 1)}`;
  const inMs = (ms: number) => new Date(Date.now() + ms).toISOString();
  const http = () => cluster.gateways[0].http;
  const nameOf = ({ HashCode }: TaskMessage) => `operations/${HashCode}`;

  beforeAll(async () => {
    // The first loss of a task is its end, and all nodes make the same links.
    cluster = await start({ maxLost: 1, publicUrl: "http://longshore.test" });
    queues = new QueuesClient(cluster.gateways[0].grpc);
    other = new QueuesClient(cluster.gateways[1].grpc);
    client = new OperationsClient(cluster.gateways[0].http, cluster.gateways[1].grpc);
  });

  afterAll(async () => {
    client?.close();
    queues?.close();
    other?.close();
    await cluster?.stop();
  });

  async function receive(Channel: string, LeaseSeconds = 60): Promise<TaskMessage> {
    const request = { Channel, LeaseSeconds, WaitSeconds: 15 };
    const [task] = (await queues.call<TaskMessage[]>("ReceiveTasks", request)).Data;
    if (!task) throw new Error(`no task came in ${Channel}`);
    return task;
  }

  /** A task that a worker has. */
  async function begun(more: object = {}, LeaseSeconds?: number): Promise<TaskMessage> {
    const { Channel } = await queues.create({ Channel: fresh(), ...more });
    return receive(Channel, LeaseSeconds);
  }

  /** Reports through the other gateway. */
  async function report(report: ReportMessage): Promise<void> {
    expect(await other.report(report)).toMatchObject({ State: "200" });
  }

  /** The operation once it is done. */
  async function done(name: string): Promise<Operation> {
    await waitFor(async () => {
      const { answer } = await client.rest("GetOperation", { name });
      return (answer as Operation).done;
    });
    return client.get(name);
  }

  /** For what is only there in REST. */
  async function raw(method: string, path: string): Promise<{ status: number; type: string | null; body: unknown }> {
    const response = await fetch(http() + path, { method });
    return { status: response.status, type: response.headers.get("content-type"), body: await response.json() };
  }

  describe("an operation", () => {
    test.each([
      ["waits", {}],
      ["waits for its time", { DelaySeconds: 3_600 }],
      ["waits for what it follows", { follows: true }],
    ])(
      "of a task that %s is not done",
      async (_, { follows, ...more }: { follows?: boolean; DelaySeconds?: number }) => {
        const Channel = fresh();
        const Next = follows ? (await queues.create({ Channel })).ID : "0";
        const task = await queues.create({ Channel, Next, Owner: "18446744073709551615", ...more });
        expect(await client.get(nameOf(task))).toEqual({
          name: nameOf(task),
          done: false,
          metadata: {
            "@type": `${TYPE}.OperationMetadata`,
            kind: "queues.task",
            channel: Channel,
            state: "WAITING",
            progressPercent: 0,
            doneUnits: "0",
            totalUnits: "0",
            createTime: inJson(task.CreateTime),
            updateTime: inJson(task.UpdateTime),
            attempts: 0,
            owner: "18446744073709551615",
            message: "",
          },
        });
      },
    );

    test("of a task that runs tells how far it is", async () => {
      const task = await begun();
      const metadata = { state: "PROCEEDING", attempts: 1, progressPercent: 0, message: "" };
      const before = await client.get(nameOf(task));
      expect(before).toMatchObject({ done: false, metadata });
      expect(Date.parse(String(before.metadata["startTime"]))).toBeGreaterThanOrEqual(Date.parse(task.CreateTime));
      await report({ ID: task.ID, State: PROCEEDING, Progress: 40, Output: "page 4 of 10" });
      const { metadata: now } = await client.get(nameOf(task));
      expect(now).toMatchObject({ ...metadata, progressPercent: 40, message: "page 4 of 10" });
      expect(now).not.toHaveProperty("endTime");
      expect(now["startTime"]).toBe(before.metadata["startTime"]);
    });

    test("of a task that succeeded has its output as the response", async () => {
      const task = await begun();
      await report({ ID: task.ID, State: PROCEEDING, Progress: 40, Output: "page 4 of 10" });
      await report({ ID: task.ID, State: SUCCESS, Output: "é🦀" });
      const operation = await client.get(nameOf(task));
      expect(operation).toMatchObject({
        done: true,
        metadata: { state: "SUCCESS", progressPercent: 100, message: "" },
      });
      expect(operation.response).toEqual({ "@type": `${TYPE}.QueueTaskResult`, id: task.ID, output: "é🦀" });
    });

    test("of a task whose worker reported FAILURE is UNKNOWN, with its output", async () => {
      const task = await begun();
      await report({ ID: task.ID, State: FAILURE, Output: "no such address" });
      const operation = await client.get(nameOf(task));
      expect(operation).toMatchObject({ done: true, metadata: { state: "FAILURE", message: "" } });
      expect(operation.error).toEqual({
        code: 2,
        message: "no such address",
        details: [
          {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            reason: "TASK_FAILED",
            domain: "longshore",
            metadata: { name: nameOf(task) },
          },
        ],
      });
    });

    test("is DEADLINE_EXCEEDED where the deadline, the lease or the time to run was over", async () => {
      const tasks = await Promise.all([
        queues.create({ Channel: fresh(), Deadline: inMs(300) }),
        begun({}, 1),
        begun({ MaxRunSeconds: 1 }),
      ]);
      const operations = await Promise.all(tasks.map((task) => done(nameOf(task))));
      const messages = [/^the task had not ended by its deadline/, /its lease ran out$/, /longer than 1 seconds/];
      for (const [index, { error, metadata }] of operations.entries()) {
        expect(metadata["state"]).toBe("FAILURE");
        expect(error).toMatchObject({ code: 4, message: expect.stringMatching(messages[index]!) });
        expect(error!.details).toMatchObject([{ reason: "DEADLINE_EXCEEDED", domain: "longshore" }]);
      }
    });

    test("is CANCELLED whoever cancelled it, and what follows it is, too", async () => {
      const cancelled = await begun();
      const follower = await queues.create({ Channel: fresh(), Next: cancelled.ID });
      await other.call("CancelTaskByID", { ID: cancelled.ID });
      const givenUp = await begun();
      await report({ ID: givenUp.ID, State: CANCEL, Output: "not needed any more" });
      for (const task of [cancelled, follower, givenUp]) {
        const { error, metadata } = await done(nameOf(task));
        expect(metadata["state"]).toBe("CANCEL");
        expect(error).toMatchObject({ code: 1, details: [{ reason: "CANCELLED", metadata: { name: nameOf(task) } }] });
      }
    });

    test("has no error while its task is to be tried again", async () => {
      const task = await begun({ RetryMaxLimit: 1, RetryPolicy: { DelaySeconds: [0] } });
      await report({ ID: task.ID, State: FAILURE, Output: "first" });
      // It becomes ready meanwhile, so that the two wires may differ.
      const { answer } = await client.rest("GetOperation", { name: nameOf(task) });
      expect(answer).toMatchObject({ done: false, metadata: { state: "WAITING", attempts: 1, message: "" } });
      await receive(task.Channel);
      await report({ ID: task.ID, State: FAILURE, Output: "second" });
      expect(await client.get(nameOf(task))).toMatchObject({ metadata: { attempts: 2 }, error: { message: "second" } });
      await queues.call("RedriveTasks", { ID: task.ID });
      const again = await client.get(nameOf(task));
      expect(again).toMatchObject({ done: false, metadata: { state: "WAITING" } });
      expect(again.metadata).not.toHaveProperty("endTime");
    });

    test("is protobuf JSON over REST", async () => {
      const task = await begun({ Owner: 7 });
      await report({ ID: task.ID, State: SUCCESS, Output: "done" });
      const { UpdateTime } = await queues.byID(task.ID);
      const answer = await raw("GET", `/v1/${nameOf(task)}`);
      expect(answer).toEqual({
        status: 200,
        type: "application/json; charset=utf-8",
        body: {
          name: nameOf(task),
          metadata: {
            "@type": `${TYPE}.OperationMetadata`,
            kind: "queues.task",
            channel: task.Channel,
            state: "SUCCESS",
            progressPercent: 100,
            doneUnits: "0",
            totalUnits: "0",
            createTime: inJson(task.CreateTime),
            startTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/),
            updateTime: inJson(UpdateTime),
            endTime: inJson(UpdateTime),
            attempts: 1,
            owner: "7",
            message: "",
          },
          done: true,
          response: { "@type": `${TYPE}.QueueTaskResult`, id: task.ID, output: "done" },
        },
      });
    });

    test("may be an export", async () => {
      const request = { ext_type: "CSV", title: "t", user_id: "7", source_raw: '[{"a":"A"},{"a":1}]' };
      const key = await new ExportClient(http()).submit("raw", { ...request, timestamp: Date.now() });
      const operation = await done(`operations/${key}`);
      expect(operation.metadata).toMatchObject({ kind: "export.raw", channel: "export.raw", state: "SUCCESS" });
      expect(operation.response).toMatchObject({ "@type": `${TYPE}.ExportResult`, rows: "1", fileName: `${key}.zip` });
    });
  });

  describe("a name", () => {
    const methods = ["GetOperation", "CancelOperation", "DeleteOperation", "WaitOperation"] as const;

    test.each(methods)("that is unknown is NOT_FOUND: %s", async (method) => {
      for (const name of ["operations/nobody", `operations/${"x".repeat(300)}`]) {
        const told = name.slice(0, 200);
        expect(await client.refusal(method, { name })).toEqual({
          code: status.NOT_FOUND,
          message: `there is no operation ${told}`,
          info: { reason: "NOT_FOUND", domain: "longshore", metadata: { name: told } },
        });
      }
    });

    test.each(methods)("that is not operations/{id} is INVALID_ARGUMENT: %s", async (method) => {
      const refusal = (name: string) => ({
        code: status.INVALID_ARGUMENT,
        message: "name: must be operations/{id}",
        info: { reason: "INVALID_ARGUMENT", domain: "longshore", metadata: { name } },
        field: "name",
      });
      for (const name of ["", "x", "operations", "operations/", "Operations/x", "jobs/x", "/operations/x"]) {
        expect(await client.grpc(method, { name })).toEqual({ refusal: refusal(name) });
      }
      for (const name of ["operations/a/b", "operations/a/b/c"]) {
        expect(await client.grpc(method, { name })).toEqual({ refusal: refusal(name) });
        expect(await client.rest(method, { name })).toEqual({ refusal: refusal(name) });
      }
      expect(await client.rest(method, { name: "operations/a%2Fb" })).toEqual({ refusal: refusal("operations/a/b") });
    });

    test("that is wrong is an error in Google's form over REST", async () => {
      const answer = await raw("GET", "/v1/operations/nobody");
      const requestId: unknown = expect.any(String);
      expect(answer).toMatchObject({ status: 404, type: "application/json; charset=utf-8" });
      expect(answer.body).toEqual({
        error: {
          code: 404,
          message: "there is no operation operations/nobody",
          status: "NOT_FOUND",
          details: [
            {
              "@type": "type.googleapis.com/google.rpc.ErrorInfo",
              reason: "NOT_FOUND",
              domain: "longshore",
              metadata: { name: "operations/nobody" },
            },
            { "@type": "type.googleapis.com/google.rpc.RequestInfo", requestId },
          ],
        },
      });
    });

    test("may be operations%2F{id} in a path", async () => {
      const task = await begun();
      const path = `/v1/operations/operations%2F${task.HashCode}`;
      const name = nameOf(task);
      expect(await raw("GET", path)).toMatchObject({ status: 200, body: { name, done: false } });
      expect(await raw("POST", `${path}:cancel`)).toMatchObject({ status: 200, body: {} });
      expect(await raw("POST", `${path}:wait`)).toMatchObject({ status: 200, body: { name, error: { code: 1 } } });
      expect((await fetch(`${http()}${path}:watch`)).status).toBe(200);
      expect(await raw("DELETE", path)).toMatchObject({ status: 200, body: {} });
      expect(await raw("GET", path)).toMatchObject({ status: 404 });
    });

    test("may have all that a HashCode may", async () => {
      for (const HashCode of ["operations", "a.b_c~d-9", "x".repeat(128), "constructor", "..."]) {
        const task = await queues.create({ Channel: fresh(), HashCode });
        expect((await client.get(nameOf(task))).name).toBe(`operations/${HashCode}`);
      }
    });
  });

  describe("a cancel", () => {
    test.each(WIRES)("over %s reaches the running worker within a second, from another node", async (wire) => {
      const Channel = fresh();
      const worker = (wire === "rest" ? other : queues).receive();
      const tasks: TaskMessage[] = [];
      const stopped: string[] = [];
      worker
        .on("error", () => undefined)
        .on("data", ({ Tasks, Stopped }: ReceivedMessage) => {
          if (Tasks) tasks.push(Tasks);
          stopped.push(...Stopped);
        });
      worker.write({ Channel, Notices: true });
      const task = await queues.create({ Channel });
      await waitFor(() => tasks.length === 1);
      expect(await client[wire]("CancelOperation", { name: nameOf(task) })).toEqual({ answer: {} });
      await waitFor(() => stopped.includes(task.ID), 1_000);
      expect(await client.get(nameOf(task))).toMatchObject({ done: true, error: { code: 1 } });
      expect(await other.report({ ID: task.ID, State: SUCCESS })).toMatchObject({ State: "400" });
      worker.cancel();
    });

    test("is OK again, and at the same time", async () => {
      const name = nameOf(await begun());
      const cancels = Array.from({ length: 10 }, () => client.both("CancelOperation", { name }));
      expect(await Promise.all(cancels)).toEqual(cancels.map(() => ({})));
      expect(await client.both("CancelOperation", { name })).toEqual({});
    });

    test("changes nothing of what is done", async () => {
      const task = await begun();
      await report({ ID: task.ID, State: SUCCESS, Output: "kept" });
      const before = await client.get(nameOf(task));
      expect(await client.both("CancelOperation", { name: nameOf(task) })).toEqual({});
      expect(await client.get(nameOf(task))).toEqual(before);
    });

    test("ends what waits, and what follows it", async () => {
      const task = await queues.create({ Channel: fresh(), DelaySeconds: 3_600 });
      const follower = await queues.create({ Channel: fresh(), Next: task.ID });
      await client.both("CancelOperation", { name: nameOf(task) });
      for (const name of [nameOf(task), nameOf(follower)]) expect((await done(name)).error!.code).toBe(1);
    });
  });

  describe("a delete", () => {
    test.each(WIRES)("over %s forgets the operation, and its task goes on", async (wire) => {
      const task = await queues.create({ Channel: fresh() });
      const name = nameOf(task);
      const filter = `metadata.channel = "${task.Channel}"`;
      expect((await client.list({ filter })).operations).toMatchObject([{ name }]);
      expect(await client[wire]("DeleteOperation", { name })).toEqual({ answer: {} });
      for (const method of ["DeleteOperation", "GetOperation", "CancelOperation", "WaitOperation"] as const) {
        const { code, info } = await client.refusal(method, { name });
        expect([code, info.metadata]).toEqual([status.NOT_FOUND, { name }]);
      }
      expect(await client.list({ filter })).toEqual({ operations: [], nextPageToken: "" });
      await receive(task.Channel);
      await report({ ID: task.ID, State: PROCEEDING, Progress: 5 });
      await report({ ID: task.ID, State: SUCCESS, Output: "done all the same" });
      expect(await queues.byID(task.ID)).toMatchObject({ State: "SUCCESS", Output: "done all the same" });
      expect(await client.outcome("GetOperation", { name })).toMatchObject({ refusal: { code: status.NOT_FOUND } });
    });

    test("of what is done leaves the task as it is", async () => {
      const task = await begun();
      await report({ ID: task.ID, State: SUCCESS, Output: "kept" });
      await client.rest("DeleteOperation", { name: nameOf(task) });
      expect(await queues.byHash(task.HashCode)).toMatchObject({ State: "SUCCESS", Output: "kept" });
      expect(await client.refusal("GetOperation", { name: nameOf(task) })).toMatchObject({ code: status.NOT_FOUND });
    });

    test("among many at the same time is OK once", async () => {
      const name = nameOf(await begun());
      const outcomes = await Promise.all(
        Array.from({ length: 10 }, (_, index) => client[index % 2 ? "rest" : "grpc"]("DeleteOperation", { name })),
      );
      expect(outcomes.filter(({ answer }) => answer)).toHaveLength(1);
      expect(outcomes.filter(({ refusal }) => refusal?.code === status.NOT_FOUND)).toHaveLength(9);
    });
  });

  describe("a wait", () => {
    /** The waits of this operation on all nodes. */
    const waiting = ({ HashCode }: TaskMessage) =>
      cluster.nodes.filter(({ broker }) => {
        const service = broker.getLocalService("operations") as unknown as { waits: { hashes: string[] } } | null;
        return service?.waits.hashes.includes(HashCode);
      }).length;

    /** Waits over both wires, and says how long that took. */
    async function waited(name: string, timeout?: number): Promise<{ operation: Operation; ms: number }> {
      const asked = performance.now();
      const operation = (await client.both("WaitOperation", { name, timeout })) as Operation;
      return { operation, ms: performance.now() - asked };
    }

    test("answers at once where it is done", async () => {
      const task = await begun();
      await report({ ID: task.ID, State: SUCCESS, Output: "done" });
      for (const timeout of [undefined, 30]) {
        const { operation, ms } = await waited(nameOf(task), timeout);
        expect(operation).toEqual(await client.get(nameOf(task)));
        expect(ms).toBeLessThan(1_000);
      }
    });

    const endings: [string, (task: TaskMessage) => unknown][] = [
      ["its worker reports success", ({ ID }) => report({ ID, State: SUCCESS })],
      ["its worker reports failure", ({ ID }) => report({ ID, State: FAILURE })],
      ["it is cancelled", (task) => client.both("CancelOperation", { name: nameOf(task) })],
      ["its task is cancelled", ({ ID }) => other.call("CancelTaskByID", { ID })],
    ];

    test.each(endings)("answers when %s", async (_, end) => {
      const task = await begun();
      const wait = waited(nameOf(task), 60);
      await waitFor(() => waiting(task));
      const ended = performance.now();
      await end(task);
      expect((await wait).operation).toEqual(await client.get(nameOf(task)));
      expect((await wait).operation.done).toBe(true);
      expect(performance.now() - ended).toBeLessThan(1_000);
    });

    test("answers when time ends it, or what it follows, or a purge of its channel", async () => {
      const head = await begun();
      const purged = await queues.create({ Channel: fresh() });
      const tasks = [
        await queues.create({ Channel: fresh(), Deadline: inMs(1_000) }),
        await begun({}, 1),
        await begun({ MaxRunSeconds: 1 }),
        await queues.create({ Channel: fresh(), Next: head.ID }),
        purged,
      ];
      const waits = tasks.map((task) => waited(nameOf(task), 60));
      await waitFor(() => tasks.every(waiting));
      await report({ ID: head.ID, State: FAILURE });
      await other.call("PurgeChannel", { Channel: purged.Channel });
      for (const wait of waits) {
        const { operation, ms } = await wait;
        expect(operation.done).toBe(true);
        expect(ms).toBeLessThan(5_000);
      }
    });

    test("answers the latest state where the time is up, and is no error", async () => {
      const task = await begun();
      await report({ ID: task.ID, State: PROCEEDING, Progress: 10 });
      for (const timeout of [0, 0.3]) {
        const { operation, ms } = await waited(nameOf(task), timeout);
        expect(operation).toMatchObject({ done: false, metadata: { progressPercent: 10 } });
        expect(ms).toBeGreaterThanOrEqual(timeout * 1_000 - CLOCKS_MS);
        expect(ms).toBeLessThan(timeout * 1_000 + 1_000);
      }
      const wait = waited(nameOf(task), 0.7);
      await waitFor(() => waiting(task));
      await report({ ID: task.ID, State: PROCEEDING, Progress: 20 });
      expect((await wait).operation.metadata["progressPercent"]).toBe(20);
    });

    test("answers before the deadline of the RPC, and is no error", async () => {
      const name = nameOf(await begun());
      const settings = { timeout: 700 };
      const waits = [undefined, 3_600].map((timeout) => client.grpc("WaitOperation", { name, timeout }, settings));
      for (const wait of waits) expect(await wait).toMatchObject({ answer: { name, done: false } });
    });

    test.each(WIRES)("over %s is over when its client goes", async (wire) => {
      const task = await begun();
      const abort = new AbortController();
      const wait = client[wire]("WaitOperation", { name: nameOf(task), timeout: 3_600 }, { signal: abort.signal });
      await waitFor(() => waiting(task));
      abort.abort();
      await expect(wait).rejects.toMatchObject(wire === "rest" ? { name: "AbortError" } : { code: status.CANCELLED });
      await waitFor(() => !waiting(task));
    });

    test("can be that of 200 at a time", async () => {
      const task = await begun();
      const waits = Array.from({ length: 100 }, () => waited(nameOf(task), 60));
      await waitFor(() => waiting(task));
      await report({ ID: task.ID, State: SUCCESS, Output: "for all" });
      for (const wait of waits) expect((await wait).operation.response).toMatchObject({ output: "for all" });
      await waitFor(() => !waiting(task));
    });

    test.each(["-1s", "5", "1m", "1e3s", "", 5, [], { seconds: -1 }])("is refused a timeout of %j", async (timeout) => {
      const response = await fetch(`${http()}/v1/operations/any:wait`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ timeout }),
      });
      expect(response.status).toBe(400);
      const message = 'timeout: must be a duration of 0 or more: in JSON "10s"';
      expect(await response.json()).toMatchObject({ error: { status: "INVALID_ARGUMENT", message } });
    });

    test("is refused a timeout below zero over gRPC", async () => {
      const { refusal } = await client.grpc("WaitOperation", { name: "operations/any", timeout: -1 });
      expect(refusal).toMatchObject({ code: status.INVALID_ARGUMENT, field: "timeout" });
    });
  });

  describe("a watch", () => {
    /** What a watch told so far, and how it ended. */
    function collect<T>(watch: AsyncIterable<T>): { told: T[]; over: Promise<void> } {
      const told: T[] = [];
      const over = (async () => {
        for await (const one of watch) told.push(one);
      })();
      // It may fail before the test looks.
      over.catch(() => undefined);
      return { told, over };
    }

    test("sees progress and the end, and then it ends", async () => {
      const task = await begun();
      const overRest = collect(client.watchRest(nameOf(task)));
      const overGrpc = collect(client.watchGrpc(nameOf(task)));
      const both = (count: number) => [overRest, overGrpc].every(({ told }) => told.length === count);
      await waitFor(() => both(1));
      await report({ ID: task.ID, State: PROCEEDING, Progress: 30, Output: "a third" });
      await waitFor(() => both(2), 2_000);
      await report({ ID: task.ID, State: PROCEEDING, Progress: 30, Output: "still a third" });
      await waitFor(() => both(3), 2_000);
      await report({ ID: task.ID, State: SUCCESS, Output: "done" });
      await Promise.all([overRest.over, overGrpc.over]);
      expect(overGrpc.told.map(({ metadata }) => [metadata["progressPercent"], metadata["message"]])).toEqual([
        [0, ""],
        [30, "a third"],
        [30, "still a third"],
        [100, ""],
      ]);
      expect(overRest.told.map(({ operation }) => operation)).toEqual(overGrpc.told);
      expect(overGrpc.told.at(-1)).toEqual(await client.get(nameOf(task)));
    });

    test("of what is done tells it, and ends", async () => {
      const task = await begun();
      await report({ ID: task.ID, State: FAILURE, Output: "no" });
      const operation = await client.get(nameOf(task));
      const overRest = collect(client.watchRest(nameOf(task)));
      const overGrpc = collect(client.watchGrpc(nameOf(task)));
      await Promise.all([overRest.over, overGrpc.over]);
      expect(overRest.told).toEqual([{ id: expect.any(String), operation }]);
      expect(overGrpc.told).toEqual([operation]);
    });

    /** The ID of the first event of a watch that is left then. */
    async function firstId(task: TaskMessage): Promise<string> {
      for await (const { id } of client.watchRest(nameOf(task))) return id;
      throw new Error("the watch told nothing");
    }

    test("goes on after the last event, without what its client has", async () => {
      const task = await begun();
      const headers = { "last-event-id": await firstId(task) };
      const unchanged = collect(client.watchRest(nameOf(task), { headers }));
      await report({ ID: task.ID, State: PROCEEDING, Progress: 50 });
      await waitFor(() => unchanged.told.length > 0);
      const changed = collect(client.watchRest(nameOf(task), { headers }));
      await waitFor(() => changed.told.length > 0, 900);
      await report({ ID: task.ID, State: SUCCESS });
      await Promise.all([unchanged.over, changed.over]);
      for (const { told } of [unchanged, changed]) {
        expect(told.map(({ operation }) => operation.metadata["progressPercent"])).toEqual([50, 100]);
      }
    });

    test("ends at once where its client has the end", async () => {
      const task = await begun();
      await report({ ID: task.ID, State: SUCCESS });
      const headers = { "last-event-id": await firstId(task) };
      const again = collect(client.watchRest(nameOf(task), { headers, signal: AbortSignal.timeout(3_000) }));
      await again.over;
      expect(again.told).toEqual([]);
    });

    test("of an unknown name is NOT_FOUND, of a wrong one INVALID_ARGUMENT", async () => {
      for (const [id, code, http] of [
        ["nobody", status.NOT_FOUND, 404],
        ["a/b", status.INVALID_ARGUMENT, 400],
      ] as const) {
        await expect(collect(client.watchGrpc(`operations/${id}`)).over).rejects.toMatchObject({ code });
        expect(await raw("GET", `/v1/operations/${id}:watch`)).toMatchObject({
          status: http,
          body: { error: { code: http } },
        });
      }
    });

    test("is over where the operation is deleted", async () => {
      const task = await begun();
      const watch = collect(client.watchGrpc(nameOf(task)));
      await waitFor(() => watch.told.length === 1);
      await client.rest("DeleteOperation", { name: nameOf(task) });
      await expect(watch.over).rejects.toMatchObject({ code: status.NOT_FOUND });
    });

    test("is over when its client goes", async () => {
      const task = await begun();
      const watching = () =>
        cluster.nodes.some(({ broker }) => {
          const service = broker.getLocalService("operations") as unknown as {
            watched: { waits: { hashes: string[] } };
          } | null;
          return service?.watched.waits.hashes.includes(task.HashCode);
        });
      const abort = new AbortController();
      const overRest = collect(client.watchRest(nameOf(task), { signal: abort.signal }));
      const overGrpc = collect(client.watchGrpc(nameOf(task), abort.signal));
      await waitFor(() => [overRest, overGrpc].every(({ told }) => told.length === 1));
      await waitFor(watching);
      abort.abort();
      await expect(overRest.over).rejects.toThrow();
      await expect(overGrpc.over).rejects.toMatchObject({ code: status.CANCELLED });
      await waitFor(() => !watching());
    });
  });
});
