/** Data tasks and their trail in the datastore: steps of many at once, what a death in between leaves, indexes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Datastore } from "../../lib/datastore/datastore.ts";
import { openDatastore } from "../../lib/datastore/open.ts";
import type { Step } from "../../services/progress/audit.ts";
import { hashStep } from "../../services/progress/audit.ts";
import type { DataTask } from "../../services/progress/data-task.ts";
import { approved, checked, downloaded, submitted } from "../../services/progress/data-task.ts";
import type { NewDataTask } from "../../services/progress/task-store.ts";
import { TaskStore } from "../../services/progress/task-store.ts";
import { describeWith } from "../servers.ts";
import { ownDatabase } from "../topologies.ts";

const APPROVERS = Array.from({ length: 8 }, (_, index) => `approver ${index}`);
const REQUEST: NewDataTask = {
  name: "report",
  kind: "EXPORT",
  submitter: "sue",
  dsn: "sqlite:/x",
  detail: "{}",
  executor: "AUTO",
};

function tests(open: () => Promise<{ datastore: Datastore; close(): Promise<void> }>) {
  let datastore: Datastore;
  let close: () => Promise<void>;
  /** Of two nodes. */
  let stores: [TaskStore, TaskStore];

  beforeAll(async () => {
    ({ datastore, close } = await open());
    stores = [await TaskStore.open(datastore), await TaskStore.open(datastore)];
  });
  afterAll(() => close?.());

  const submit = async () => (await stores[0].create(REQUEST, submitted("sue"))).task._id;
  const waitForApproval = (id: string, mode: "any" | "all") =>
    stores[0].change(id, (told, task) => checked(task, told, { rows: 1, terms: { mode, approvers: APPROVERS } }));

  test("steps of many tasks on two nodes at once are one trail, and each task has its own without a gap", async () => {
    const ids = await Promise.all(Array.from({ length: 5 }, submit));
    for (const id of ids) await waitForApproval(id, "all");
    await Promise.all(
      ids.flatMap((id) =>
        APPROVERS.map((actor, index) => stores[index % 2]!.change(id, (told, task) => approved(task, told, actor, ""))),
      ),
    );
    for (const id of ids) {
      const { task, told, steps } = await stores[1].load(id);
      expect(steps.map(({ number }) => number)).toEqual(steps.map((_, index) => index + 1));
      expect([...told.approvals].sort()).toEqual(APPROVERS);
      expect([told.state, task.state, task.version]).toEqual(["APPROVED", "APPROVED", 10]);
    }
    expect((await stores[0].verify()).broken).toBeUndefined();
  });

  test("of two decisions that cannot both be, one is refused", async () => {
    const id = await submit();
    await waitForApproval(id, "any");
    const both = await Promise.allSettled(
      stores.map((store, index) => store.change(id, (told, task) => approved(task, told, APPROVERS[index]!, ""))),
    );
    expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect((await stores[0].load(id)).told.approvals).toHaveLength(1);
  });

  test("a step whose node died before the task followed counts", async () => {
    const id = await submit();
    const steps = await datastore.collection<Step>("data_task_steps");
    const last = await steps.findOne({}, { sort: { _id: -1 } });
    const place = {
      ...{ action: "CANCEL" as const, state: "CANCEL" as const, actor: "sue", comment: "" },
      ...{ _id: last!._id + 1, task: id, number: 2, time: new Date() },
    };
    await steps.insertOne({ ...place, hash: hashStep(last!.hash, place) });
    expect((await stores[0].page({ state: "CANCEL" }, 10)).map(({ _id }) => _id)).not.toContain(id);
    const { told, task } = await stores[0].load(id);
    expect([told.state, task.state, task.version]).toEqual(["CANCEL", "CANCEL", 2]);
    expect((await stores[0].page({ state: "CANCEL" }, 10)).map(({ _id }) => _id)).toContain(id);
  });

  test("a task that is made twice under the same id is there once, with one first step", async () => {
    const twice = await Promise.all(stores.map((store) => store.create(REQUEST, submitted("cron"), "77")));
    expect(twice.map(({ steps }) => steps.length)).toEqual([1, 1]);
  });

  test("a task that is full takes no further step", async () => {
    const id = await submit();
    const steps = await datastore.collection<Step>("data_task_steps");
    const filling = Array.from({ length: 9_999 }, (_, index) => ({
      ...downloaded({ state: "PRE_CHECK" } as never, ""),
      ...{ _id: 1_000_000 + index, task: id, number: index + 2, time: new Date(), hash: "" },
    }));
    await steps.insertMany(filling);
    await expect(stores[0].change(id, (told) => downloaded(told, ""))).rejects.toMatchObject({
      type: "RESOURCE_EXHAUSTED",
    });
  });

  test("every query has an index in its order", async () => {
    const tasks = await datastore.collection<DataTask>("data_tasks");
    const steps = await datastore.collection<Step>("data_task_steps");
    const newest = { sort: { createTime: -1, _id: -1 } } as const;
    const after = { createTime: { $lt: new Date() } };
    const plans = await Promise.all([
      tasks.explain({}, newest),
      tasks.explain({ state: "RUNNING", ...after }, newest),
      tasks.explain({ submitter: "sue", ...after }, newest),
      tasks.explain({ submitter: "sue", state: "RUNNING", ...after }, { ...newest, hint: "submitterState" }),
      tasks.explain({ lookAt: { $lte: new Date() } }, { sort: { lookAt: 1 } }),
      steps.explain({ task: "7" }, { sort: { number: 1 } }),
      steps.explain({}, { sort: { _id: -1 } }),
    ]);
    expect(plans.map(({ index, sorted }) => [index, sorted])).toEqual([
      ["created", false],
      ["state", false],
      ["submitter", false],
      ["submitterState", false],
      ["look", false],
      ["task", false],
      [expect.stringContaining("_id"), false],
    ]);
  });
}

describe("data tasks in the embedded store", () =>
  tests(async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "longshore-progress-store-"));
    const datastore = await openDatastore({ dataDir });
    const close = async () => {
      await datastore.close();
      await rm(dataDir, { recursive: true });
    };
    return { datastore, close };
  }));

describeWith("mongodb", "data tasks in MongoDB", () =>
  tests(async () => {
    const datastore = await openDatastore({ mongodbUri: ownDatabase(), dataDir: "" });
    return { datastore, close: () => datastore.close() };
  }),
);
