import { join } from "node:path";
import type { ServiceError } from "@grpc/grpc-js";
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startNode } from "../node.ts";
import type { Answer, TaskMessage } from "../queues-client.ts";
import { withTempDir } from "../temp-dir.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

type Activity = Record<string, string | number>;

interface ChannelMessage {
  Name: string;
  Status: string;
  Settings: Record<string, string | boolean>;
  Statistics?: { Ready: string; Delayed: string; Running: string; OldestReadySeconds: number } & Record<
    "LastMinute" | "LastDay",
    Activity
  >;
}

type Unary = (request: object, callback: (error: ServiceError | null, answer: Answer<ChannelMessage>) => void) => void;

const PROTO = join(import.meta.dirname, "..", "..", "proto");
const definition = loadSync("longshore/v1/queues.proto", {
  keepCase: true,
  longs: String,
  defaults: true,
  includeDirs: [PROTO],
});
const { Queues } = (
  loadPackageDefinition(definition) as unknown as {
    longshore: {
      v1: {
        Queues: new (
          address: string,
          channel: ReturnType<typeof credentials.createInsecure>,
        ) => Record<"ConfigureChannel" | "QueryChannel", Unary> & { close(): void };
      };
    };
  }
).longshore.v1;

const SUCCESS = 1;
const FAILURE = 2;
/** Each node measures the datastore's clock for itself. */
const CLOCKS_MS = 20;

onEveryTopology("channels of longshore.v1.Queues", (start) => {
  let cluster: Cluster;
  let channels = 0;
  const fresh = () => `channel ${(channels += 1)} 50 %é`;

  beforeAll(async () => {
    cluster = await start();
  });

  afterAll(() => cluster?.stop());

  async function rest<T>(method: string, path: string, body?: unknown, gateway = 0) {
    const response = await fetch(`${cluster.gateways[gateway]?.http}/v1/queues/${path}`, {
      method,
      headers: { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Answer<T> & { NextPageToken?: string } };
  }

  const at = (name: string) => `channels/${encodeURIComponent(name)}`;
  const configure = (name: string, settings: unknown) =>
    rest<ChannelMessage>("PUT", at(name), settings === undefined ? {} : { Settings: settings });
  const command = (name: string, verb: string) => rest<ChannelMessage>("POST", `${at(name)}:${verb}`);
  const query = async (name: string, gateway = 1) =>
    (await rest<ChannelMessage>("GET", at(name), undefined, gateway)).body.Data;
  const create = (name: string, task: object = {}) =>
    rest<string>("POST", "tasks", { Task: { Channel: name, ...task } });
  const report = (ID: string, State: number) => rest<string>("POST", `tasks/${ID}:report`, { State });

  async function receive(name: string, wait: number, max = 1, gateway = 0): Promise<TaskMessage[]> {
    const { status, body } = await rest<TaskMessage[]>("POST", `${at(name)}:receive`, { wait, max }, gateway);
    expect(status).toBe(200);
    return body.Data;
  }

  test("settings are replaced, and read back as they can be put again", async () => {
    const name = fresh();
    const settings = { Concurrency: 5, Rate: "10", RateSeconds: 2, Fair: true, RetentionDays: 3 };
    const told = { Concurrency: "5", Rate: "10", RateSeconds: "2", Fair: true, RetentionDays: "3" };
    const configured = await configure(name, settings);
    const expected = { Name: name, Status: "ACTIVE", Settings: told };
    expect(configured).toEqual({ status: 200, body: { State: "200", Message: "", Data: expected } });
    expect(await query(name)).toMatchObject(expected);
    expect((await configure(name, (await query(name)).Settings)).body.Data).toEqual(expected);
    expect((await configure(name, { Rate: 3 })).body.Data.Settings).toEqual({ Rate: "3", RateSeconds: "1" });
    expect((await configure(name, {})).body.Data.Settings).toEqual({});
    expect((await query(name)).Settings).toEqual({});
  });

  test("settings that cannot be are refused, naming the field, and change nothing", async () => {
    const name = fresh();
    await configure(name, { Concurrency: 7 });
    const wrong: [unknown, string][] = [
      [undefined, "Settings: must be given, as a message"],
      [{ Concurrency: 0 }, "Settings.Concurrency: must be 1 to 100000; without it there is no limit"],
      [{ Concurrency: 100_001 }, "Settings.Concurrency: must be 1 to 100000; without it there is no limit"],
      [{ Concurrency: "many" }, "Settings.Concurrency: must be an unsigned"],
      [{ Rate: "0" }, "Settings.Rate: must be 1 to 1000000; "],
      [{ Rate: 1_000_001 }, "Settings.Rate: must be 1 to 1000000; "],
      [{ Rate: 1, RateSeconds: 0 }, "Settings.RateSeconds: must be 1 to 86400"],
      [{ Rate: 1, RateSeconds: 86_401 }, "Settings.RateSeconds: must be 1 to 86400"],
      [{ RateSeconds: 5 }, "Settings.RateSeconds: must be given together with Rate"],
      [{ RetentionDays: 0 }, "Settings.RetentionDays: must be 1 to 3650; "],
      [{ RetentionDays: 3_651 }, "Settings.RetentionDays: must be 1 to 3650; "],
      [{ Fair: "yes" }, "Settings.Fair: must be true or false"],
      [{ Concurency: 5 }, "Settings.Concurency: there is no such field"],
    ];
    for (const [settings, message] of wrong) {
      const { status, body } = await configure(name, settings);
      expect({ status, State: body.State, Message: body.Message }).toEqual({
        status: 400,
        State: "400",
        Message: expect.stringContaining(message),
      });
    }
    expect((await command("a:b", "pause")).body.Message).toContain("Channel: must hold no control character");
    expect((await query(name)).Settings).toEqual({ Concurrency: "7" });
  });

  test("a paused channel takes tasks and gives none, and whoever waits gets one when it is resumed", async () => {
    const name = fresh();
    expect((await command(name, "pause")).body.Data).toEqual({ Name: name, Status: "PAUSED", Settings: {} });
    await waitFor(async () => (await query(name)).Status === "PAUSED");
    expect((await create(name)).status).toBe(200);
    expect(await receive(name, 0)).toEqual([]);
    const waiting = receive(name, 20, 1, 1);
    expect((await query(name)).Statistics).toMatchObject({ Ready: "1", Running: "0" });
    expect((await command(name, "resume")).body.Data.Status).toBe("ACTIVE");
    expect(await waiting).toHaveLength(1);
  });

  test("a draining channel refuses tasks and gives those it has, until it is resumed", async () => {
    const name = fresh();
    await create(name);
    expect((await command(name, "drain")).body.Data.Status).toBe("DRAINING");
    const refused = await waitFor(async () => {
      const answer = await create(name);
      return answer.status === 400 ? answer : undefined;
    });
    expect(refused.body.Message).toMatch(/^Task.Channel: .* is being drained/);
    expect((await receive(name, 5)).length).toBe(1);
    // From a drain it can be paused, and from both it is resumed.
    expect((await command(name, "pause")).body.Data.Status).toBe("PAUSED");
    expect((await command(name, "resume")).body.Data.Status).toBe("ACTIVE");
    await waitFor(async () => (await create(name)).status === 200);
  });

  test("never do more tasks run than the channel's concurrency, with 60 receivers on all nodes", async () => {
    const name = fresh();
    await configure(name, { Concurrency: 5 });
    await waitFor(async () => (await query(name)).Settings.Concurrency === "5");
    await Promise.all(Array.from({ length: 60 }, () => create(name)));
    let running = 0;
    let most = 0;
    let done = 0;
    const counted: number[] = [];
    const work = async (worker: number) => {
      while (done < 60) {
        const tasks = await receive(name, 1, 2, worker % 2);
        running += tasks.length;
        most = Math.max(most, running);
        if (done % 10 === 0 && tasks.length) counted.push(Number((await query(name)).Statistics?.Running));
        for (const { ID } of tasks) {
          // Before it is reported: another may have the place before the answer is here.
          running -= 1;
          expect((await report(ID, SUCCESS)).status).toBe(200);
          done += 1;
        }
      }
    };
    await Promise.all(Array.from({ length: 60 }, (_, worker) => work(worker)));
    expect(most).toBeLessThanOrEqual(5);
    expect(most).toBeGreaterThan(1);
    expect(Math.max(...counted)).toBeLessThanOrEqual(5);
    expect((await query(name)).Statistics).toMatchObject({ Ready: "0", Running: "0" });
  });

  test("no more tasks are received than the channel's rate, with receivers on all nodes", async () => {
    const name = fresh();
    await configure(name, { Rate: 10 });
    await waitFor(async () => (await query(name)).Settings.Rate === "10");
    await Promise.all(Array.from({ length: 25 }, () => create(name)));
    const times: number[] = [];
    const work = async (worker: number) => {
      while (times.length < 25) {
        const tasks = await receive(name, 2, 3, worker % 2);
        for (const { UpdateTime } of tasks) times.push(Date.parse(UpdateTime));
      }
    };
    await Promise.all(Array.from({ length: 12 }, (_, worker) => work(worker)));
    times.sort((left, right) => left - right);
    expect(times).toHaveLength(25);
    for (const [index, time] of times.slice(10).entries()) {
      expect(time - times[index]!).toBeGreaterThanOrEqual(1_000 - CLOCKS_MS);
    }
  });

  test("tells what is in a channel and what happened there, on whatever node", async () => {
    const name = fresh();
    for (let task = 0; task < 3; task += 1) await create(name, { RetryMaxLimit: task === 1 ? 1 : 0 });
    await create(name, { DelaySeconds: 3_600 });
    const { body } = await create(name);
    const first = (await rest<TaskMessage>("GET", `tasks/by-hash/${body.Data}`)).body.Data;
    await create(name, { Next: first.ID });
    await create(name);
    const [succeeds, retries, fails, stays] = await receive(name, 5, 4);
    await report(succeeds!.ID, SUCCESS);
    await report(retries!.ID, FAILURE);
    await report(fails!.ID, FAILURE);
    expect(stays!.ID).toBe(first.ID);
    const cancelled = await create(name);
    const { ID } = (await rest<TaskMessage>("GET", `tasks/by-hash/${cancelled.body.Data}`)).body.Data;
    await rest("POST", `tasks/${ID}:cancel`);

    // Other nodes add theirs every few seconds.
    const statistics = await waitFor(async () => {
      const { Statistics } = await query(name);
      const counters = ["Created", "Succeeded", "Failed", "Cancelled", "Retried"];
      const counted = counters.map((counter) => Statistics?.LastDay[counter]);
      return counted.join() === "8,1,1,1,1" ? Statistics : undefined;
    });
    expect(statistics).toMatchObject({ Chained: "1", Running: "1" });
    // The one that is retried waits for its time, or has come to it.
    expect(Number(statistics.Ready) + Number(statistics.Delayed)).toBe(3);
    expect(statistics.OldestReadySeconds).toBeGreaterThan(0);
    expect(statistics.OldestReadySeconds).toBeLessThan(60);
    expect(statistics.LastMinute).toMatchObject({ Created: "8", Lost: "0" });
    expect(statistics.LastMinute.Throughput).toBeGreaterThan(0.02);
    expect(statistics.LastMinute.RunSecondsP99).toBeGreaterThan(0);
    expect(statistics.LastMinute.RunSecondsP99).toBeLessThan(10);
  });

  test("a channel that nobody knows is active and empty", async () => {
    const nothing = { Created: "0", Succeeded: "0", Failed: "0", Cancelled: "0", Retried: "0", Lost: "0" };
    const activity = { ...nothing, Throughput: 0, RunSecondsP50: 0, RunSecondsP95: 0, RunSecondsP99: 0 };
    expect(await query("unknown")).toEqual({
      Name: "unknown",
      Status: "ACTIVE",
      Settings: {},
      Statistics: {
        Ready: "0",
        Delayed: "0",
        Chained: "0",
        Running: "0",
        OldestReadySeconds: 0,
        LastMinute: activity,
        LastHour: activity,
        LastDay: activity,
      },
    });
  });

  test("lists by name the channels with settings and those that were busy, in pages", async () => {
    const prefix = `zz-list-${fresh()}`;
    await configure(`${prefix}-c`, { Concurrency: 1 });
    await command(`${prefix}-a`, "pause");
    await create(`${prefix}-b`);
    await create(`${prefix}-c`);
    await create(`${prefix}\u{1F6A2}`);
    const list = async () => {
      const found: ChannelMessage[] = [];
      let token: string | undefined = "";
      do {
        const path: string = `channels?PageSize=2&PageToken=${token}`;
        const { body } = await rest<ChannelMessage[]>("GET", path);
        expect(body.Data.length).toBeLessThanOrEqual(2);
        found.push(...body.Data);
        token = body.NextPageToken;
      } while (token);
      return found.filter(({ Name }) => Name.startsWith(prefix));
    };
    const found = await waitFor(async () => {
      const listed = await list();
      return listed.length === 4 ? listed : undefined;
    });
    expect(found).toEqual([
      { Name: `${prefix}-a`, Status: "PAUSED", Settings: {} },
      { Name: `${prefix}-b`, Status: "ACTIVE", Settings: {} },
      { Name: `${prefix}-c`, Status: "ACTIVE", Settings: { Concurrency: "1" } },
      { Name: `${prefix}\u{1F6A2}`, Status: "ACTIVE", Settings: {} },
    ]);
    expect((await rest("GET", "channels?PageSize=1001")).body.Message).toContain("PageSize: must be 1 to 1000");
    expect((await rest("GET", "channels?PageToken=abc")).body.Message).toContain("PageToken: ");
  });

  test("channels of Longshore's own services can be limited and paused, not drained", async () => {
    const name = "export.http";
    for (const [path, answer] of [
      ["Settings.Fair", configure(name, { Fair: true })],
      ["Settings.RetentionDays", configure(name, { RetentionDays: 5 })],
      ["Channel", command(name, "drain")],
    ] as const) {
      const { status, body } = await answer;
      expect(status).toBe(400);
      expect(body.Message).toMatch(new RegExp(`^${path}: channel export.http belongs to a service of Longshore`));
    }
    expect((await configure(name, { Concurrency: 2 })).body.Data.Settings).toEqual({ Concurrency: "2" });
    expect((await command(name, "pause")).body.Data.Status).toBe("PAUSED");
    expect((await command(name, "resume")).body.Data.Status).toBe("ACTIVE");
    expect((await configure(name, {})).status).toBe(200);
  });

  test("is the same over gRPC, where a limit that is not given is none and one of 0 is refused", async () => {
    const name = fresh();
    const client = new Queues(cluster.gateways[1].grpc, credentials.createInsecure());
    const call = (method: "ConfigureChannel" | "QueryChannel", request: object) =>
      new Promise<Answer<ChannelMessage>>((resolve, reject) => {
        client[method](request, (error, answer) => (error ? reject(error) : resolve(answer)));
      });
    try {
      const configured = await call("ConfigureChannel", { Channel: name, Settings: { Rate: 7 } });
      const Settings = { Rate: "7", RateSeconds: "1", Fair: false };
      expect(configured).toMatchObject({ State: "200", Data: { Name: name, Status: "ACTIVE", Settings } });
      expect(Object.keys(configured.Data.Settings)).not.toContain("Concurrency");
      const refused = await call("ConfigureChannel", { Channel: name, Settings: { Concurrency: 0 } });
      expect(refused).toMatchObject({ State: "400", Message: expect.stringContaining("Settings.Concurrency: ") });
      expect(await call("ConfigureChannel", { Channel: name })).toMatchObject({
        State: "400",
        Message: expect.stringContaining("Settings: must be given"),
      });
      const queried = await call("QueryChannel", { Channel: name });
      expect(queried.Data).toMatchObject({ Settings, Statistics: { Ready: "0", LastDay: { Created: "0" } } });
    } finally {
      client.close();
    }
  });

  test("operators call the same as actions", async () => {
    const name = fresh();
    const { broker } = cluster.gateways[0];
    await broker.call("queues.pauseChannel", { Channel: name });
    const answer = await broker.call<Answer<ChannelMessage>, object>("queues.queryChannel", { Channel: name });
    expect(answer).toMatchObject({ State: "200", Data: { Name: name, Status: "PAUSED" } });
    await broker.call("queues.resumeChannel", { Channel: name });
    await expect(broker.call("queues.drainChannel", { Channel: "" })).rejects.toMatchObject({
      type: "INVALID_ARGUMENT",
      message: "Channel: must not be empty",
    });
  });
});

test("what a node has counted is stored when it stops, and its settings are there when it starts again", () =>
  withTempDir(async (dataDir) => {
    const name = "before";
    const first = await startNode({ services: ["queues"], config: { dataDir } });
    await first.broker.call("queues.create", { channel: name });
    await first.broker.call("queues.configureChannel", { Channel: name, Settings: { Concurrency: 3 } });
    await first.stop();
    const second = await startNode({ services: ["queues"], config: { dataDir } });
    const { Data } = await second.broker.call<Answer<ChannelMessage>, object>("queues.queryChannel", { Channel: name });
    await second.stop();
    expect(Data).toMatchObject({ Settings: { Concurrency: "3" }, Statistics: { LastHour: { Created: "1" } } });
  }));
