/** Lists of operations: pages and filters. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { status } from "@grpc/grpc-js";
import type { Page, Request } from "../operations-client.ts";
import { OperationsClient } from "../operations-client.ts";
import { ExportClient } from "../export-client.ts";
import type { Answer, TaskMessage } from "../queues-client.ts";
import { QueuesClient } from "../queues-client.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const SUCCESS = 1;
const FAILURE = 2;
const PROCEEDING = 6;
/** Each node measures the datastore's clock for itself. */
const CLOCKS_MS = 50;

onEveryTopology("lists of operations", (start) => {
  let cluster: Cluster;
  let queues: QueuesClient;
  /** REST through the one gateway, gRPC through the other. */
  let client: OperationsClient;
  let owners = 1_000;

  beforeAll(async () => {
    // All nodes make the same links.
    cluster = await start({ publicUrl: "http://longshore.test" });
    queues = new QueuesClient(cluster.gateways[0].grpc);
    client = new OperationsClient(cluster.gateways[0].http, cluster.gateways[1].grpc);
  });

  afterAll(async () => {
    client?.close();
    queues?.close();
    await cluster?.stop();
  });

  /** So many tasks, made in several calls; answers their HashCodes. */
  async function createMany(count: number, task: object, perCall = 1_000): Promise<string[]> {
    const hashes: string[] = [];
    while (hashes.length < count) {
      const Tasks = Array.from({ length: Math.min(perCall, count - hashes.length) }, () => task);
      const { Data } = await queues.call<Answer<string>[]>("CreateTasks", { Tasks });
      hashes.push(...Data.map(({ Data: hash }) => hash));
    }
    return hashes;
  }

  const namesIn = ({ operations }: Page) => operations.map(({ name }) => name);

  /** The names of all pages, and how many pages there were; `between` runs after each. */
  async function walk(request: Request, between: () => unknown = () => undefined) {
    const names: string[] = [];
    let pages = 0;
    let page_token = "";
    do {
      const page = await client.list({ ...request, page_token });
      names.push(...namesIn(page));
      pages += 1;
      page_token = page.nextPageToken;
      await between();
    } while (page_token !== "");
    return { names, pages };
  }

  describe("a filter", () => {
    const owner = String((owners += 1));
    const stranger = String((owners += 1));
    const A = "filters.a";
    const B = "filters.b";
    const ODD = "filters.(x)*y$";
    const all = ["waiting", "delayed", "chained", "running", "silent", "done", "failed", "late", "cancelled", "odd"];
    const except = (...out: string[]) => all.filter((label) => !out.includes(label));
    /** When `failed` was made, the last of those that were begun and before all others. */
    let middle: string;
    /** What the tasks are called here, by their HashCodes. */
    const hashes = new Map<string, string>();

    beforeAll(async () => {
      const create = async (label: string, more: object): Promise<TaskMessage> => {
        const task = await queues.create({ Owner: owner, HashCode: `filters-${label}`, ...more });
        hashes.set(task.HashCode, label);
        return task;
      };
      /** A task that a worker has; none waits in these channels yet. */
      const begin = async (label: string, Channel: string): Promise<string> => {
        await create(label, { Channel });
        const [task] = (await queues.call<TaskMessage[]>("ReceiveTasks", { Channel, WaitSeconds: 15 })).Data;
        expect(task).toMatchObject({ HashCode: `filters-${label}` });
        return task!.ID;
      };
      /** What is made from then on is later, whichever node makes it. */
      const passed = (time: string) => waitFor(() => Date.now() > Date.parse(time) + CLOCKS_MS);
      const running = await begin("running", A);
      await queues.report({ ID: running, State: PROCEEDING, Progress: 40, Output: "page 4 of 10" });
      await begin("silent", B);
      await queues.report({ ID: await begin("done", A), State: SUCCESS, Output: "out" });
      await passed((await queues.byHash("filters-done")).CreateTime);
      await queues.report({ ID: await begin("failed", B), State: FAILURE, Output: "no such address" });
      middle = (await queues.byHash("filters-failed")).CreateTime;
      await passed(middle);
      await create("late", { Channel: B, Deadline: new Date(Date.now() + 200).toISOString() });
      await waitFor(async () => (await queues.byHash("filters-late")).State === "FAILURE");
      const { ID } = await create("waiting", { Channel: A });
      await create("delayed", { Channel: B, DelaySeconds: 3_600 });
      await create("chained", { Channel: B, Next: ID });
      await queues.call("CancelTaskByID", { ID: (await create("cancelled", { Channel: A })).ID });
      await create("odd", { Channel: ODD });
      await queues.create({ Channel: "filters", Owner: stranger, HashCode: "strange" });
    });

    async function labels(filter: string): Promise<string[]> {
      const { names } = await walk({ filter, page_size: 1_000 });
      return names.map((name) => hashes.get(name.replace("operations/", "")) ?? name);
    }

    /** What both ways of looking find: through the tasks of the owner, and through all. */
    async function found(filter: string): Promise<string[]> {
      const ofOwner = await labels(`metadata.owner = ${owner} AND (${filter})`);
      const ofAll = await labels(`(${filter}) AND metadata.channel = "filters.*"`);
      expect(ofAll).toEqual(ofOwner);
      return ofOwner;
    }

    const waiting = ["waiting", "delayed", "chained", "odd"];
    const ended = ["done", "failed", "late", "cancelled"];
    const begun = ["running", "silent", "done", "failed"];
    const rows: [string, string[]][] = [
      ["done = true", ended],
      ["done=false", except(...ended)],
      ["done != true", except(...ended)],
      ["done:true", ended],
      ['done = "true"', ended],
      ["done:*", all],
      ["NOT done = true", except(...ended)],
      ["-done = true", except(...ended)],
      ["NOT (done = true OR metadata.state = WAITING)", ["running", "silent"]],

      ["name:*", all],
      ["name = operations/filters-done", ["done"]],
      ['name = "operations/filters-d*"', ["done", "delayed"]],
      ['name = "*-done"', ["done"]],
      ['name = "oper*-done"', ["done"]],
      ['name = "*ters-d*"', ["done", "delayed"]],
      ['name = "op*"', all],
      ['name = "*/filters-done"', ["done"]],
      ['name != "operations/filters-done"', except("done")],
      ['name = "filters-done"', []],

      ['metadata.kind = "queues.task"', all],
      ["metadata.kind = queues.task", all],
      ['metadata.kind = "queues.*"', all],
      ['metadata.kind != "queues.task"', []],
      ['metadata.kind = "export.*"', []],
      ["metadata.kind:*", all],

      [`metadata.channel = "${A}"`, ["running", "done", "waiting", "cancelled"]],
      [`metadata.channel = ${B} AND done = true`, ["failed", "late"]],
      ['metadata.channel = "*.a"', ["running", "done", "waiting", "cancelled"]],
      ['metadata.channel:"f*s.?"', []],
      ['metadata.channel = "filters*"', all],
      ['metadata.channel != "*.a"', except("running", "done", "waiting", "cancelled")],
      ['metadata.channel = "filters.(x)\\*y$"', ["odd"]],
      ['metadata.channel = "*.(x)\\*y$"', ["odd"]],
      ['metadata.channel = "filters.(*)\\*y$"', ["odd"]],
      ['metadata.channel = "*(x)\\**"', ["odd"]],
      ['metadata.channel > "filters.a"', ["silent", "failed", "late", "delayed", "chained"]],

      ["metadata.state = WAITING", waiting],
      ["metadata.state = PROCEEDING", ["running", "silent"]],
      ['metadata.state = "FAILURE"', ["failed", "late"]],
      ["metadata.state:CANCEL", ["cancelled"]],
      ["metadata.state != SUCCESS", except("done")],
      ["metadata.state = (SUCCESS OR CANCEL)", ["done", "cancelled"]],
      ["metadata.state:*", all],

      ["metadata.progress_percent = 40", ["running"]],
      ["metadata.progress_percent >= 40", ["running", "done"]],
      ["metadata.progress_percent > 40", ["done"]],
      ["metadata.progress_percent = 100", ["done"]],
      ["metadata.progress_percent < 40", except("running", "done")],
      ["metadata.progress_percent <= 40", except("done")],
      ["metadata.progress_percent = 0", except("running", "done")],
      ["metadata.progress_percent != 0", ["running", "done"]],
      ["metadata.progress_percent != 100", except("done")],
      ["metadata.progress_percent > -1", all],
      ["metadata.done_units = 0", all],
      ["metadata.doneUnits > 0 OR metadata.total_units != 0", []],

      ["metadata.attempts = 0", except(...begun)],
      ["metadata.attempts >= 1", begun],
      ["metadata.attempts != 1", except(...begun)],

      ["metadata.create_time > MIDDLE", except(...begun)],
      ["metadata.create_time <= MIDDLE", begun],
      ["metadata.create_time = MIDDLE", ["failed"]],
      ["metadata.create_time != MIDDLE", except("failed")],
      ['create_time > "MIDDLE" AND done = true', ["late", "cancelled"]],
      ["create_time > 2020-01-01T00:00:00Z", all],
      ["create_time > 2020-01-01T00:00:00Z AND createTime <= MIDDLE AND create_time:*", begun],
      ["NOT metadata.create_time > MIDDLE", begun],
      ["create_time < 2020-01-01T00:00:00.123456789+05:30", []],
      ["metadata.start_time:*", begun],
      ["start_time > 2020-01-01T00:00:00Z", begun],
      ["metadata.end_time:*", ended],
      ["end_time > 2020-01-01T00:00:00Z", ended],
      ["metadata.end_time != 2020-01-01T00:00:00Z", ended],
      ["start_time != 2020-01-01T00:00:00Z", begun],
      ["NOT end_time < 2020-01-01T00:00:00Z", all],
      ["metadata.update_time >= MIDDLE AND metadata.state = SUCCESS", []],

      ['metadata.message = "page 4 of 10"', ["running"]],
      ['metadata.message = "page *"', ["running"]],
      ['metadata.message = "p*10"', ["running"]],
      ['metadata.message = "*4 of*"', ["running"]],
      ['metadata.message = "out"', []],
      ['metadata.message != "page *"', ["silent"]],

      ["error.code = 2", ["failed"]],
      ["error.code = UNKNOWN", ["failed"]],
      ["error.code:UNKNOWN", ["failed"]],
      ["error.code = DEADLINE_EXCEEDED", ["late"]],
      ["error.code = 4", ["late"]],
      ["error.code = CANCELLED", ["cancelled"]],
      ["error.code = 1", ["cancelled"]],
      ["error.code > 1", ["failed", "late"]],
      ["error.code <= UNKNOWN", ["failed", "cancelled"]],
      ["error.code != 2", ["late", "cancelled"]],
      ["error.code != DEADLINE_EXCEEDED", ["failed", "cancelled"]],
      ["NOT error.code = 2", except("failed")],
      ["error.code:*", ["failed", "late", "cancelled"]],
      ["error.code = 0", []],
      ['error.message = "no such *"', ["failed"]],
      ['error.message = "the operation was cancelled"', ["cancelled"]],
      ["error.message:*", ["failed", "late", "cancelled"]],

      ["metadata.owner:*", all],
      ["metadata.owner != 18446744073709551615", all],

      // Were AND tighter, what is done would be found, too.
      ["done = true OR done = false AND metadata.state = WAITING", waiting],
      ["metadata.state = WAITING AND done = true OR done = false", waiting],
      ["done = true (metadata.state = FAILURE OR metadata.state = CANCEL)", ["failed", "late", "cancelled"]],
      [`done = true metadata.channel = "${A}"`, ["done", "cancelled"]],
      [`NOT done = true -metadata.channel = "${A}"`, ["delayed", "chained", "silent", "odd"]],
      [`-(done = true OR metadata.channel = "${A}" OR metadata.attempts = 1)`, ["delayed", "chained", "odd"]],
      ["((((done = true)) AND (NOT (error.code:*))))", ["done"]],

      ["metadata.progressPercent >= 40", ["running", "done"]],
      ["metadata.createTime > MIDDLE AND endTime:*", ["late", "cancelled"]],
      ["metadata.startTime:* AND metadata.updateTime > 2020-01-01T00:00:00Z", begun],
    ];

    test.each(rows)("%s", async (filter, expected) => {
      const order = (names: string[]) => names.toSorted((a, b) => all.indexOf(a) - all.indexOf(b));
      expect(order(await found(filter.replaceAll("MIDDLE", middle)))).toEqual(order(expected));
    });

    test("with wildcards is answered soon, whatever the text", async () => {
      const Channel = "wild";
      await queues.create({ Channel });
      const [task] = (await queues.call<TaskMessage[]>("ReceiveTasks", { Channel, WaitSeconds: 15 })).Data;
      await queues.report({ ID: task!.ID, State: FAILURE, Output: "a".repeat(500_000) });
      for (const pattern of ["a*b", "*ab", "*ab*", `*${"a".repeat(100)}b*`]) {
        const asked = performance.now();
        expect((await client.list({ filter: `error.message = "${pattern}"` })).operations).toEqual([]);
        expect(performance.now() - asked).toBeLessThan(1_000);
      }
    });

    test("is nothing where it is blank", async () => {
      for (const filter of [undefined, "", "  \n "]) {
        const { operations } = await client.list({ filter, page_size: 3 });
        expect(operations).toHaveLength(3);
      }
    });

    test("by an owner finds what is the owner's, wherever it says so", async () => {
      const strange = ["operations/strange"];
      expect(await labels(`metadata.owner = ${stranger}`)).toEqual(strange);
      expect(await labels(`metadata.owner:"${stranger}"`)).toEqual(strange);
      expect(await labels(`metadata.owner = 00${stranger}`)).toEqual(strange);
      expect(await labels(`done = false AND (metadata.attempts = 0 AND metadata.owner = ${stranger})`)).toEqual(
        strange,
      );
      expect(await labels(`metadata.owner = (${stranger} OR 5)`)).toEqual(strange);
      expect(await labels(`metadata.owner = ${owner} AND metadata.owner = ${stranger}`)).toEqual([]);
      expect(await labels(`metadata.channel = "filters*" AND NOT metadata.owner = ${owner}`)).toEqual(strange);
      expect(await labels(`metadata.channel = "filters*" AND metadata.owner != ${owner}`)).toEqual(strange);
      const either = `metadata.owner = ${stranger} OR name = "operations/filters-done"`;
      expect((await labels(either)).sort()).toEqual(["done", ...strange]);
    });

    test("by kind tells exports from tasks", async () => {
      const request = { ext_type: "CSV", title: "t", user_id: "7", source_raw: '[{"a":"A"},{"a":1}]' };
      const exports = new ExportClient(cluster.gateways[0].http);
      const key = await exports.submit("raw", { ...request, timestamp: Date.now() });
      await exports.done(key);
      const kinds = ["metadata.kind = export.raw", 'metadata.kind = "export.*"', 'NOT metadata.kind = "queues.task"'];
      for (const kind of kinds) expect(await labels(`${kind} AND done = true`)).toEqual([`operations/${key}`]);
      const { operations } = await client.list({ filter: "metadata.kind = export.raw" });
      expect(operations).toEqual([await client.get(`operations/${key}`)]);
      expect(await labels(`metadata.kind = queues.task AND name = "operations/${key}"`)).toEqual([]);
      expect(await labels('metadata.kind = "export.raw" AND metadata.message = "*"')).toEqual([]);
    });

    const bad: [string, RegExp][] = [
      ["done = ", /^filter: at 8: expected a value after "=", found the end$/],
      ["done", /^filter: at 1: /],
      ["done = maybe", /^filter: at 8: "maybe" is not one of true, false$/],
      ["done > false", /^filter: at 1: done has no order/],
      ["nofield = 1", /^filter: at 1: cannot filter by "nofield"/],
      ["done = true AND metadata.nofield = 1", /^filter: at 17: cannot filter by "metadata.nofield"/],
      ["metadata = 1", /^filter: at 1: cannot filter by "metadata"/],
      ["constructor = 1", /^filter: at 1: /],
      ['metadata.progress_percent > "x"', /^filter: at 29: "x" is no whole number$/],
      ["metadata.attempts = 1.5", /^filter: at 21: "1.5" is no whole number$/],
      ["metadata.owner > 5", /^filter: at 1: metadata.owner has no order/],
      ["metadata.owner = 18446744073709551616", /^filter: at 18: "18446744073709551616" is no uint64$/],
      ["metadata.owner = -1", /^filter: at 18: "-1" is no uint64$/],
      ["metadata.state = READY", /^filter: at 18: "READY" is not one of WAITING, /],
      ["error.code = NOBODY", /^filter: at 14: /],
      ["create_time > yesterday", /^filter: at 15: "yesterday" is no time/],
      ["create_time > 2024-02-31T00:00:00Z", /^filter: at 15: "2024-02-31T00:00:00Z" is no time/],
      ["create_time > 2024-01-01T00:00:00", /^filter: at 15: "2024-01-01T00:00:00" is no time/],
      ["done = true AND", /^filter: at 16: expected a term after AND, found the end$/],
      ["(done = true", /^filter: at 13: /],
      ["done = true)", /^filter: at 12: /],
      ["🦀 = 1", /^filter: at 1: /],
      ['name = "🦀" AND x', /^filter: at 16: /],
      ['error.message = "*a*b"', /^filter: at 17: "\*a\*b" has too many wildcards/],
      ["has(done)", /^filter: at 1: functions are not supported$/],
      ["NOT NOT done = true", /^filter: at 5: /],
    ];

    async function expectRefused(filter: string, message: RegExp): Promise<void> {
      expect(await client.refusal("ListOperations", { filter })).toMatchObject({
        code: status.INVALID_ARGUMENT,
        message: expect.stringMatching(message) as unknown,
        info: { reason: "INVALID_ARGUMENT", domain: "longshore" },
        field: "filter",
      });
    }

    test.each(bad)("that is wrong is refused, and where: %s", expectRefused);

    test("may be large, but not too large", async () => {
      const nested = (depth: number) => `${"(".repeat(depth)}metadata.state = WAITING${")".repeat(depth)}`;
      expect(await found(nested(40))).toEqual(await found("metadata.state = WAITING"));
      await expectRefused(nested(100), /^filter: at 51: parentheses are nested deeper than 50$/);
      await expectRefused(nested(5_000), /^filter: at 8193: the filter is longer than 8192 characters$/);
      const names = (count: number) =>
        Array.from({ length: count }, (_, index) => `name = "nobody-${index}"`).join(" OR ");
      expect(await found(`${names(150)} OR name = "operations/filters-done"`)).toEqual(["done"]);
      await expectRefused(names(201), /^filter: at \d+: more than 200 comparisons$/);
    });
  });

  describe("pages", () => {
    const COUNT = 120;
    const owner = String((owners += 1));
    const filter = `metadata.owner = ${owner}`;
    let newestFirst: string[];

    beforeAll(async () => {
      await createMany(COUNT, { Channel: "pages", Owner: owner }, 10);
      const { Data } = await queues.call<TaskMessage[]>("QueryTaskByOwner", { Owner: owner, Limit: 1_000 });
      const sorted = Data.sort((a, b) => b.CreateTime.localeCompare(a.CreateTime) || Number(b.ID) - Number(a.ID));
      newestFirst = sorted.map(({ HashCode }) => `operations/${HashCode}`);
    });

    test("hold 50 where no size is given, or 0, and the end is the empty token alone", async () => {
      for (const page_size of [undefined, 0]) {
        const first = await client.list({ filter, page_size });
        const second = await client.list({ filter, page_size, page_token: first.nextPageToken });
        const third = await client.list({ filter, page_size, page_token: second.nextPageToken });
        expect(namesIn(first)).toEqual(newestFirst.slice(0, 50));
        expect(namesIn(second)).toEqual(newestFirst.slice(50, 100));
        expect(namesIn(third)).toEqual(newestFirst.slice(100));
        expect(third.nextPageToken).toBe("");
      }
    });

    test.each([
      [7, 18],
      [40, 3],
      [119, 2],
      [120, 1],
      [5_000, 1],
    ])("of %d give each once, the newest first", async (page_size, count) => {
      expect(await walk({ filter, page_size })).toEqual({ names: newestFirst, pages: count });
      const since = `${filter} AND create_time > 2020-01-01T00:00:00Z`;
      expect(await walk({ filter: since, page_size })).toEqual({ names: newestFirst, pages: count });
    });

    test("hold at most 1,000", async () => {
      const Owner = String((owners += 1));
      const hashes = await createMany(1_001, { Channel: "pages", Owner });
      const request = { filter: `metadata.owner = ${Owner}`, page_size: 5_000 };
      const first = await client.list(request);
      expect(first.operations).toHaveLength(1_000);
      const second = await client.list({ ...request, page_token: first.nextPageToken });
      expect(second.nextPageToken).toBe("");
      const names = [...namesIn(first), ...namesIn(second)];
      expect(names.sort()).toEqual(hashes.map((hash) => `operations/${hash}`).sort());
    });

    test("do not move with what is made between them", async () => {
      const Owner = String((owners += 1));
      await createMany(30, { Channel: "pages", Owner });
      const request = { filter: `metadata.owner = ${Owner}`, page_size: 7 };
      const before = await walk(request);
      const meanwhile = await walk(request, () => createMany(3, { Channel: "pages", Owner }));
      expect(meanwhile).toEqual(before);
      expect((await walk(request)).names).toHaveLength(45);
    });

    test("take another size with a token, and the parent's name", async () => {
      const { nextPageToken } = await client.list({ filter, page_size: 10 });
      const page = await client.list({ filter, page_size: 20, page_token: nextPageToken });
      expect(namesIn(page)).toEqual(newestFirst.slice(10, 30));
      const { answer } = await client.grpc("ListOperations", { name: "operations", filter, page_size: 20 });
      expect(namesIn(answer as Page)).toEqual(newestFirst.slice(0, 20));
      const { refusal } = await client.grpc("ListOperations", { name: "projects/a/operations" });
      expect(refusal).toMatchObject({ code: status.INVALID_ARGUMENT, field: "name" });
    });

    test("are refused for a token that was altered, or is another filter's", async () => {
      const { nextPageToken } = await client.list({ filter, page_size: 1 });
      const altered = `${nextPageToken.slice(0, -2)}${nextPageToken.endsWith("AA") ? "BB" : "AA"}`;
      const wrong: Request[] = [
        { filter, page_token: altered },
        { filter, page_token: "x" },
        { filter, page_token: "x".repeat(5_000) },
        { filter: `${filter} AND done = false`, page_token: nextPageToken },
        { page_token: nextPageToken },
      ];
      for (const request of wrong) {
        expect(await client.refusal("ListOperations", request)).toMatchObject({
          code: status.INVALID_ARGUMENT,
          message: "page_token: is not the token of a page of this query",
          field: "page_token",
        });
      }
    });

    test("are refused for a size that is none", async () => {
      const message = "page_size: must be a whole number, 0 or more";
      const refused = { code: status.INVALID_ARGUMENT, message, field: "page_size" };
      expect(await client.refusal("ListOperations", { page_size: -1 })).toMatchObject(refused);
      for (const page_size of ["1.5", "many", "-5"]) {
        expect(await client.rest("ListOperations", { page_size })).toMatchObject({ refusal: refused });
      }
    });

    test("are given in REST by names as in the proto, too, and once", async () => {
      const path = `${cluster.gateways[0].http}/v1/operations?filter=${encodeURIComponent(filter)}`;
      const list = async (query: string) => (await (await fetch(path + query)).json()) as Page & { error?: unknown };
      const first = await list("&page_size=3");
      expect(namesIn(first)).toEqual(newestFirst.slice(0, 3));
      expect(namesIn(await list(`&page_size=3&page_token=${first.nextPageToken}`))).toEqual(newestFirst.slice(3, 6));
      for (const twice of ["&filter=done%3Dtrue", "&pageToken=a&pageToken=b", "&pageSize=1&pageSize=2"]) {
        expect(await list(twice)).toMatchObject({ error: { status: "INVALID_ARGUMENT" } });
      }
    });

    test("find the few among many", async () => {
      const Owner = String((owners += 1));
      const needles: string[] = [];
      for (let round = 0; round < 3; round += 1) {
        needles.unshift(`operations/${(await queues.create({ Channel: "needles", Owner })).HashCode}`);
        if (round < 2) await createMany(5_500, { Channel: "hay", Owner });
      }
      for (const filter of ["metadata.channel = needles", `metadata.channel = needles metadata.owner = ${Owner}`]) {
        const { names, pages } = await walk({ filter, page_size: 10 });
        expect(names).toEqual(needles);
        expect(pages).toBeGreaterThan(1);
      }
    });

    test("hold what fits into one message, and give each once", async () => {
      const Channel = "large";
      await createMany(5, { Channel });
      const { Data } = await queues.call<TaskMessage[]>("ReceiveTasks", { Channel, Max: 5, WaitSeconds: 15 });
      for (const { ID } of Data) await queues.report({ ID, State: SUCCESS, Output: "é".repeat(200_000) });
      const { names } = await walk({ filter: 'metadata.channel = "large"', page_size: 10 });
      expect(names.sort()).toEqual(Data.map(({ HashCode }) => `operations/${HashCode}`).sort());
    });
  });
});
