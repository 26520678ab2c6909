import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Answer, TaskMessage } from "../queues-client.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

interface ScheduleMessage {
  Name: string;
  Cron: string;
  TimeZone: string;
  Task: Partial<TaskMessage> & Record<string, unknown>;
  Missed: string;
  Paused: boolean;
  NextTime: string;
  LastTime: string;
  LastHashCode: string;
  LastError: string;
}

interface Page extends Answer<ScheduleMessage[]> {
  NextPageToken: string;
}

const EVERY_SECOND = "* * * * * *";
const YEARLY = "0 0 1 1 *";

onEveryTopology("schedules of longshore.v1.Queues", (start) => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await start();
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  async function rest<T extends object = Answer<ScheduleMessage>>(method: string, path: string, body?: unknown) {
    const response = await fetch(`${cluster.gateways[0].http}/v1/queues/${path}`, {
      method,
      headers: { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as T };
  }

  const put = (name: string, schedule: object) => rest("PUT", `schedules/${name}`, { Schedule: schedule });
  const get = async (name: string) => (await rest("GET", `schedules/${name}`)).body.Data;

  async function putYearly(name: string, fields: object = {}) {
    return put(name, { Cron: YEARLY, Task: { Channel: name }, ...fields });
  }

  test("is told as it was put, with the time when it comes next", async () => {
    const answered = await put("report", {
      Cron: "30 6 * * MON-FRI",
      TimeZone: "Europe/Berlin",
      Missed: "LAST",
      Task: {
        Channel: "reports",
        Owner: 7,
        Input: "daily",
        RetryMaxLimit: 3,
        Priority: 5,
        MaxRunSeconds: "60",
        RetryPolicy: { InitialSeconds: 2, DelaySeconds: [1, 10] },
        Tags: { "kind.of": "report" },
      },
    });
    expect(answered).toEqual({
      status: 200,
      body: {
        State: "200",
        Message: "",
        Data: {
          Name: "report",
          Cron: "30 6 * * MON-FRI",
          TimeZone: "Europe/Berlin",
          Missed: "LAST",
          Paused: false,
          Task: {
            Channel: "reports",
            Owner: "7",
            Input: "daily",
            RetryMaxLimit: "3",
            Priority: 5,
            MaxRunSeconds: "60",
            RetryPolicy: { InitialSeconds: 2, Multiplier: 2, MaxSeconds: 600, DelaySeconds: [1, 10] },
            Tags: { "kind.of": "report" },
          },
          NextTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT0[45]:30:00\.000Z$/),
          LastTime: "",
          LastHashCode: "",
          LastError: "",
        },
      },
    });
    expect((await rest("GET", "schedules/report")).body).toEqual(answered.body);
    // As an operator edits it: what was read is put back, with one thing changed.
    const again = await put("report", { ...answered.body.Data, Paused: true });
    expect(again.body.Data).toEqual({ ...answered.body.Data, Paused: true, NextTime: "" });
  });

  test("is without a time zone in UTC, and skips missed times", async () => {
    const { body } = await putYearly("plain");
    expect(body.Data).toMatchObject({ TimeZone: "UTC", Missed: "SKIP", Paused: false });
    expect(body.Data.NextTime).toMatch(/-01-01T00:00:00\.000Z$/);
  });

  test("is put by an operator with the same action, named in the message alone", async () => {
    const [node] = cluster.nodes;
    const schedule = { Name: "by-operator", Cron: YEARLY, Task: { Channel: "any" } };
    await node?.broker.call("queues.putSchedule", { Schedule: schedule });
    expect((await get("by-operator")).Cron).toBe(YEARLY);
  });

  test("all are listed by name, in pages", async () => {
    for (const name of ["page-c", "page-a", "page-b"]) await putYearly(name);
    const names: string[] = [];
    let token = "";
    do {
      const { body } = await rest<Page>("GET", `schedules?PageSize=2&PageToken=${token}`);
      expect(body.Data.length).toBeLessThanOrEqual(2);
      names.push(...body.Data.map(({ Name }) => Name));
      token = body.NextPageToken;
    } while (token);
    expect(names).toEqual([...names].sort());
    expect(names).toEqual(expect.arrayContaining(["page-a", "page-b", "page-c"]));
    const all = await rest<Page>("GET", "schedules");
    expect(all.body.Data.map(({ Name }) => Name)).toEqual(names);
    expect(all.body.NextPageToken).toBe("");
  });

  test("a page holds as many as one message does", async () => {
    const names = ["large-1", "large-2", "large-3"];
    for (const name of names) await putYearly(name, { Task: { Channel: name, Input: "x".repeat(512 * 1024) } });
    const first = await rest<Page>("GET", "schedules?PageSize=1000");
    expect(first.status).toBe(200);
    expect(first.body.NextPageToken).not.toBe("");
    const next = await rest<Page>("GET", `schedules?PageSize=1000&PageToken=${first.body.NextPageToken}`);
    expect(next.body.Data[0]?.Name).toMatch(/^large-/);
    for (const name of names) await rest("DELETE", `schedules/${name}`);
  });

  test("a deleted one is told once more, and is gone", async () => {
    await putYearly("gone");
    const deleted = await rest("DELETE", "schedules/gone");
    expect(deleted).toMatchObject({ status: 200, body: { State: "200", Data: { Name: "gone" } } });
    for (const method of ["GET", "DELETE"]) {
      const answer = await rest(method, "schedules/gone");
      expect(answer).toMatchObject({ status: 404, body: { State: "404", Message: "Name: there is no schedule gone" } });
    }
  });

  const task = { Channel: "any" };
  test.each<[string, object, RegExp]>([
    ["no Cron", { Task: task }, /^Schedule\.Cron: must be minute, hour/],
    ["a year in Cron", { Cron: "0 0 1 1 * * 2030", Task: task }, /^Schedule\.Cron: must be minute/],
    ["a minute 60", { Cron: "60 * * * *", Task: task }, /^Schedule\.Cron: Invalid value for minute: 60/],
    ["the 30th of February", { Cron: "0 0 30 2 *", Task: task }, /^Schedule\.Cron: never comes/],
    ["a Cron that is no text", { Cron: 5, Task: task }, /^Schedule\.Cron: must be a string/],
    ["a zone on Mars", { Cron: YEARLY, TimeZone: "Mars/Phobos", Task: task }, /^Schedule\.TimeZone: "Mars\/Phobos"/],
    ["an unknown policy", { Cron: YEARLY, Missed: "SOME", Task: task }, /^Schedule\.Missed: must be SKIP, LAST, ALL/],
    ["a Paused that is text", { Cron: YEARLY, Paused: "yes", Task: task }, /^Schedule\.Paused: must be true or false/],
    ["a field that is not there", { Cron: YEARLY, Task: task, Zone: "UTC" }, /^Schedule\.Zone: there is no such field/],
    ["no task", { Cron: YEARLY }, /^Schedule\.Task: must be given/],
    ["no channel", { Cron: YEARLY, Task: {} }, /^Schedule\.Task\.Channel: must not be empty/],
    ["a channel of ours", { Cron: YEARLY, Task: { Channel: "export.http" } }, /^Schedule\.Task\.Channel: .*belongs to/],
    ["a priority beyond its range", { Cron: YEARLY, Task: { ...task, Priority: 1e6 } }, /^Schedule\.Task\.Priority: /],
    [
      "a task with a field of its own",
      { Cron: YEARLY, Task: { ...task, Nxt: 1 } },
      /^Schedule\.Task\.Nxt: there is no/,
    ],
    ["a HashCode", { Cron: YEARLY, Task: { ...task, HashCode: "h" } }, /^Schedule\.Task\.HashCode: must not be given/],
    ["a Next", { Cron: YEARLY, Task: { ...task, Next: "5" } }, /^Schedule\.Task\.Next: must not be given/],
    [
      "a delay",
      { Cron: YEARLY, Task: { ...task, DelaySeconds: 5 } },
      /^Schedule\.Task\.DelaySeconds: must not be given/,
    ],
    [
      "a start time",
      { Cron: YEARLY, Task: { ...task, StartTime: "2040-01-01T00:00:00Z" } },
      /^Schedule\.Task\.StartTime: must not be given/,
    ],
    [
      "a deadline",
      { Cron: YEARLY, Task: { ...task, Deadline: "2040-01-01T00:00:00Z" } },
      /^Schedule\.Task\.Deadline: must not be given/,
    ],
    ["another Name than the path's", { Name: "other", Cron: YEARLY, Task: task }, /^Schedule\.Name: must be refused/],
  ])("%s is refused, and the field is named", async (_what, schedule, message) => {
    const answer = await put("refused", schedule);
    expect(answer).toMatchObject({ status: 400, body: { State: "400", Message: expect.stringMatching(message) } });
    expect((await rest("GET", "schedules/refused")).status).toBe(404);
  });

  test("a name, a page size and a page token that are none are refused", async () => {
    const long = "x".repeat(65);
    expect((await putYearly(long)).body.Message).toMatch(/^Schedule\.Name: must be 1 to 64/);
    expect((await rest("GET", `schedules/${long}`)).body.Message).toMatch(/^Name: must be 1 to 64/);
    expect((await rest("GET", "schedules?PageSize=1001")).body.Message).toMatch(/^PageSize: must be 1 to 1000/);
    await Promise.all(["token-a", "token-b"].map((name) => putYearly(name)));
    const { body } = await rest<Page>("GET", "schedules?PageSize=1");
    const altered = `${body.NextPageToken.slice(0, -4)}AAAA`;
    const answer = await rest("GET", `schedules?PageToken=${altered}`);
    expect(answer).toMatchObject({ status: 400, body: { Message: expect.stringMatching(/^PageToken: /) } });
  });

  test("each time makes one task; where one is refused the schedule tells why, and goes on", async () => {
    // The HashCodes of two of the first times are other tasks' already.
    const soon = Math.floor(Date.now() / 1_000) + 3;
    const taken = [soon, soon + 1];
    for (const time of taken) {
      await rest("POST", "tasks", { Task: { Channel: "taken", HashCode: `schedule.ticks.${time}` } });
    }
    await put("ticks", { Cron: EVERY_SECOND, Task: { Channel: "ticks", Owner: "99", Input: "tick" } });
    const refused = await waitFor(async () => {
      const schedule = await get("ticks");
      return schedule.LastError ? schedule : undefined;
    });
    expect(refused.LastError).toMatch(/^Task\.HashCode: schedule\.ticks\.\d+ is known/);
    expect(refused.LastHashCode).toBe("");
    expect(taken).toContain(new Date(refused.LastTime).getTime() / 1_000);
    const went = await waitFor(async () => {
      const schedule = await get("ticks");
      return schedule.LastHashCode ? schedule : undefined;
    });
    expect(went.LastError).toBe("");
    expect(went.LastHashCode).toBe(`schedule.ticks.${new Date(went.LastTime).getTime() / 1_000}`);
    await rest("DELETE", "schedules/ticks");

    const owned = await rest<Answer<TaskMessage[]>>("GET", "tasks?owner=99&limit=1000");
    const times = owned.body.Data.map(({ HashCode }) => Number(HashCode.split(".").at(-1))).sort();
    const [first = 0] = times;
    const all = Array.from({ length: times.length + taken.length }, (_, index) => first + index);
    expect(times).toEqual(all.filter((time) => !taken.includes(time)));
    expect(owned.body.Data.every(({ Channel, Input }) => Channel === "ticks" && Input === "tick")).toBe(true);
  });
});
