/** Data tasks from their submission to their end: states, approval, links, bad input, in every topology. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { PROTO_DIRECTORIES, TestClient } from "../grpc-client.ts";
import { startNode } from "../node.ts";
import type { Detail } from "../progress-client.ts";
import { ProgressClient, exportOf } from "../progress-client.ts";
import type { Cluster } from "../topologies.ts";
import { onSmallestAndLargest } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const ROWS = 1_000;
/** Takes far longer than any test waits; SQLite looks at whoever reads its rows. */
const ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n";

let directory: string;
let dsn: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "longshore-progress-"));
  const path = join(directory, "shop.db");
  const database = new DatabaseSync(path);
  database.exec("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, amount DECIMAL(10,2))");
  const insert = database.prepare("INSERT INTO orders VALUES (?, ?, ?)");
  database.exec("BEGIN");
  for (let id = 1; id <= ROWS; id++) insert.run(id, `customer ${id}`, `${id}.50`);
  database.exec("COMMIT");
  database.close();
  dsn = `sqlite:${path}`;
});

afterAll(() => rm(directory, { recursive: true, force: true }));

function grpcOf({ grpc }: { grpc: string }): TestClient {
  return new TestClient(join(PROTO_DIRECTORIES[0], "woxqaq/v1/progress.proto"), "woxqaq.v1.ProgressService", grpc);
}

function actions({ steps }: Detail): string[] {
  return steps.map(({ action, actor, state }) => `${action} ${actor} ${state}`.replace("  ", " "));
}

onSmallestAndLargest("data tasks", (start) => {
  describe("that nobody has to approve", () => {
    let cluster: Cluster;
    let client: ProgressClient;
    let grpc: TestClient;

    beforeAll(async () => {
      cluster = await start({ publicUrl: undefined });
      client = new ProgressClient(cluster.gateways[1].http);
      grpc = grpcOf(cluster.gateways[0]);
    });
    afterAll(async () => {
      grpc?.close();
      await cluster?.stop();
    });

    test("run at once, and the file downloads by the link alone", async () => {
      const detail = await client.run(exportOf(dsn, "SELECT * FROM orders ORDER BY id", {}, { submitter: "sue" }));
      expect(detail).toMatchObject({ ok: true, rows: String(ROWS), progress: 100, submitter: "sue", dsn, reason: "" });
      expect(actions(detail)).toEqual(["SUBMIT sue PRE_CHECK", "CHECK APPROVED", "START RUNNING", "END SUCCESS"]);
      const response = await fetch(detail.url);
      expect(response.headers.get("content-disposition")).toContain('filename="report.csv"');
      const lines = (await response.text()).trimEnd().split("\r\n");
      expect(lines).toHaveLength(ROWS + 1);
      expect(lines.slice(0, 2)).toEqual(["id,customer,amount", "1,customer 1,1.5"]);
      expect(Number(detail.bytes)).toBe(Number(response.headers.get("content-length")));
      expect((await fetch(detail.url.replace("signature=", "signature=A"))).status).toBe(403);
      const after = await client.detail(detail.taskId);
      expect(actions(after).at(-1)).toBe("DOWNLOAD SUCCESS");
      expect((await fetch(detail.url, { headers: { range: "bytes=10-" } })).status).toBe(206);
      expect((await client.detail(detail.taskId)).steps).toHaveLength(5);
    });

    test("look the same over gRPC, and as an operation", async () => {
      const request = { name: "r", kind: "TASK_KIND_DATA_EXPORT", dsn, ded: { ebs: { statement: "SELECT 1 AS one" } } };
      const { message } = await grpc.unary("SubmitTask", request);
      expect(message).toMatchObject({ ok: true });
      const id = String(message["task_id"]);
      await client.until(id, "SUCCESS");
      const { message: detail } = await grpc.unary("GetTaskDetail", { task_id: id });
      expect(detail).toMatchObject({ ok: true, task_id: id, state: "SUCCESS", rows: "1", progress: 100 });
      expect(detail["ded"]).toMatchObject({ ebs: { statement: "SELECT 1 AS one" } });
      const operation = await client.call<Record<string, unknown>>("GET", `/v1/${String(detail["operation"])}`);
      expect(operation).toMatchObject({
        done: true,
        response: { "@type": "type.googleapis.com/woxqaq.v1.GetTaskDetailResponse", taskId: id, state: "SUCCESS" },
      });
    });

    test("take the query's parameters for a body's", async () => {
      const query = new URLSearchParams({
        name: "q",
        kind: "TASK_KIND_DATA_EXPORT",
        dsn,
        "ded.ebs.statement": "SELECT 2 AS two",
        "ded.type": "EXPORT_TYPE_EXCEL",
      });
      const { taskId } = await client.call<{ taskId: string }>("POST", `/v1/task/submit?${query.toString()}`);
      const detail = await client.until(taskId, "SUCCESS");
      const response = await fetch(detail.url);
      expect(response.headers.get("content-type")).toContain("spreadsheetml");
      expect(
        Buffer.from(await response.arrayBuffer())
          .subarray(0, 2)
          .toString(),
      ).toBe("PK");
    });

    test("end PRE_CHECK_FAILED with what the database says", async () => {
      const detail = await client.run(exportOf(dsn, "SELECT * FROM missing"), "PRE_CHECK_FAILED");
      expect(detail.reason).toMatch(/no such table: missing/);
      expect(detail).toMatchObject({ url: "", operation: "" });
      const gone = await client.run(exportOf(`sqlite:${directory}/none.db`, "SELECT 1"), "PRE_CHECK_FAILED");
      expect(gone.reason).not.toBe("");
    });

    test("reach no store of a node's own", async () => {
      const service = cluster.nodes.at(-1)!.broker.options.longshore!;
      const detail = await client.run(
        exportOf(`sqlite:${service.dataDir}/longshore.db`, "SELECT 1"),
        "PRE_CHECK_FAILED",
      );
      expect(detail.reason).not.toBe("");
      if (service.mongodbUri === undefined) expect(detail.reason).toContain("is no file of the directories");
    });

    test("are cancelled while they run, within a second, and leave no file", async () => {
      const id = await client.submit(exportOf(dsn, ENDLESS));
      await client.until(id, "RUNNING");
      await waitFor(async () => Number((await client.detail(id)).rows) > 0);
      const began = performance.now();
      const cancelled = await client.act(id, "cancel", { actor: "sue", comment: "wrong one" });
      expect(cancelled).toMatchObject({ state: "CANCEL", reason: "wrong one", url: "" });
      const operation = await client.call<{ done: boolean }>("POST", `/v1/${cancelled.operation}:wait?timeout=5s`);
      expect(operation.done).toBe(true);
      expect(performance.now() - began).toBeLessThan(5_000);
      expect(await client.refused("POST", `/v1/task/${id}:cancel`)).toMatchObject({
        status: 400,
        message: `task ${id} has ended: it is CANCEL`,
      });
      expect(actions(await client.detail(id)).at(-1)).toBe("CANCEL sue CANCEL");
    });

    test("are watched to their end, over gRPC and as events", async () => {
      const id = await client.submit(exportOf(dsn, ENDLESS));
      await client.until(id, "RUNNING");
      const abort = new AbortController();
      const events = await fetch(`${cluster.gateways[1].http}/v1/task/${id}:watch`, { signal: abort.signal });
      const stream = grpc.serverStream("WatchTask", { task_id: id });
      const states: string[] = [];
      for await (const message of stream) {
        states.push(String(message["state"]));
        if (states.length === 1) await client.act(id, "cancel");
      }
      expect(states[0]).toBe("RUNNING");
      expect(states.at(-1)).toBe("CANCEL");
      expect(await events.text()).toMatch(/"state":"RUNNING"[^]*"state":"CANCEL"/);
      abort.abort();
    });

    test("are listed, the last submitted first, by state and submitter, page by page", async () => {
      const submitter = `lister-${randomBytes(4).toString("hex")}`;
      const ids: string[] = [];
      for (let count = 0; count < 3; count += 1) {
        ids.unshift((await client.run(exportOf(dsn, "SELECT 1 AS one", {}, { submitter }))).taskId);
      }
      const list = (query: object) =>
        client.call<{ tasks: Detail[]; nextPageToken: string }>(
          "GET",
          `/v1/tasks?${new URLSearchParams({ submitter, ...query }).toString()}`,
        );
      expect((await list({})).tasks.map(({ taskId }) => taskId)).toEqual(ids);
      const first = await list({ pageSize: "2", state: "SUCCESS" });
      expect(first.tasks.map(({ taskId }) => taskId)).toEqual(ids.slice(0, 2));
      const second = await list({ pageSize: "2", state: "SUCCESS", pageToken: first.nextPageToken });
      expect(second.tasks.map(({ taskId }) => taskId)).toEqual(ids.slice(2));
      expect(second.nextPageToken).toBe("");
      expect((await list({ state: "FAILURE" })).tasks).toEqual([]);
      expect(await client.refused("GET", "/v1/tasks?state=DONE")).toMatchObject({ status: 400, fields: ["state"] });
      const other = `/v1/tasks?pageSize=2&pageToken=${first.nextPageToken}`;
      expect(await client.refused("GET", other)).toMatchObject({ status: 400, fields: ["page_token"] });
    });

    test("by CRON run again and again as tasks of their own, until it is cancelled", async () => {
      const cron = { trigger: "TRIGGER_KIND_CRON", cron: "* * * * * *", timeZone: "Europe/Berlin", submitter: "cron" };
      const parent = await client.run(exportOf(dsn, "SELECT 3 AS three", {}, cron), "SCHEDULED");
      expect(Date.parse((await client.detail(parent.taskId)).nextTime)).toBeGreaterThan(Date.now() - 1_500);
      const runs = () => client.call<{ tasks: Detail[] }>("GET", "/v1/tasks?submitter=cron&state=SUCCESS");
      const { tasks } = await waitFor(async () => {
        const found = await runs();
        return found.tasks.length >= 2 ? found : undefined;
      });
      expect(tasks[0]).toMatchObject({ parentId: parent.taskId, state: "SUCCESS" });
      await client.act(parent.taskId, "cancel");
      const schedules = await client.call<{ Data: object[] }>("GET", "/v1/queues/schedules");
      expect(schedules.Data).toEqual([]);
    });

    test.each([
      [{ kind: "TASK_KIND_UNSPECIFIED" }, "kind"],
      [{ kind: "EXPORT" }, "kind"],
      [{ dsn: "" }, "dsn"],
      [{ dsn: "oracle://u:secret-word@h/d" }, "dsn"],
      [{ dsn: "mysql://u:secret-word@@/d" }, "dsn"],
      [{ dsn: "datasource:none" }, "dsn"],
      [{ name: "x".repeat(256) }, "name"],
      [{ name: "a\nb" }, "name"],
      [{ ded: undefined }, "ded"],
      [{ ded: {} }, "ded"],
      [{ ded: { ebs: { statement: "" } } }, "ded.ebs.statement"],
      [{ ded: { ebs: { statement: "SELECT 1; DROP TABLE x" } } }, "ded.ebs.statement"],
      [{ ded: { ebs: { statement: "DELETE FROM orders" } } }, "ded.ebs.statement"],
      [
        { ded: { ebs: { statement: "SELECT 1" }, type: "EXPORT_TYPE_EXCEL", encoding: "ENCODING_GBK" } },
        "ded.encoding",
      ],
      [{ ded: { ebs: { statement: "SELECT 1" }, exector: "EXEC_APPROVER" } }, "ded.exector"],
      [{ ded: { ebs: { statement: "SELECT 1" }, exector: "EXEC_COMMITTER" } }, "submitter"],
      [{ ded: { eatt: {} } }, "ded.eatt.option"],
      [{ ded: { eatt: { exportAll: true, option: [{ table: "t" }] } } }, "ded.eatt.option"],
      [{ ded: { eatt: { option: [{ allField: true }] } } }, "ded.eatt.option[0].table"],
      [{ ded: { eatt: { option: [{ table: "t" }] } } }, "ded.eatt.option[0].fields"],
      [
        { ded: { eatt: { option: [{ table: "t", allField: true, filter: "1=1) UNION SELECT 1" }] } } },
        "ded.eatt.option[0].filter",
      ],
      [{ cron: "* * * * *" }, "cron"],
      [{ trigger: "TRIGGER_KIND_CRON" }, "cron"],
      [{ trigger: "TRIGGER_KIND_CRON", cron: "0 0 31 2 *" }, "cron"],
      [{ trigger: "TRIGGER_KIND_CRON", cron: "* * * * *", timeZone: "Mars/Base" }, "time_zone"],
      [{ kind: "TASK_KIND_DATA_IMPORT", ded: undefined, did: { uploadKey: "uploads/x" } }, "did.table"],
      [{ kind: "TASK_KIND_DATA_IMPORT", ded: undefined, did: { table: "t" } }, "did.upload_key"],
      [{ kind: "TASK_KIND_DATA_GENERATE", ded: undefined, dgd: { rows: 1 } }, "dgd.columns"],
      [{ kind: "TASK_KIND_DATA_GENERATE", ded: undefined, dgd: { rows: 1, columns: "[" } }, "dgd.columns"],
    ])("with %j are refused with the field %s", async (change, field) => {
      const refused = await client.refused("POST", "/v1/task/submit", { ...exportOf(dsn, "SELECT 1"), ...change });
      expect(refused).toMatchObject({ status: 400, fields: [field] });
      expect(refused.message).not.toContain("secret-word");
    });

    test("that are not there are NOT_FOUND, over gRPC with its code", async () => {
      expect((await client.refused("GET", "/v1/task/detail?taskId=42")).status).toBe(404);
      expect((await client.refused("GET", "/v1/task/detail?taskId=x")).status).toBe(400);
      await expect(grpc.unary("GetTaskDetail", { task_id: "42" })).rejects.toMatchObject({ code: status.NOT_FOUND });
      await expect(grpc.unary("Approve", { approver: "ann" })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    });
  });

  describe("that somebody has to approve", () => {
    let cluster: Cluster;
    let client: ProgressClient;
    const request = (detail: object = {}) =>
      exportOf(dsn, "SELECT 1 AS one", { exportReason: "the auditors ask", ...detail }, { submitter: "sue" });

    beforeAll(async () => {
      cluster = await start({ progressApproval: "all", progressApprovers: ["ann", "bob", "sue"] });
      client = new ProgressClient(cluster.gateways[1].http);
    });
    afterAll(() => cluster?.stop());

    test("run when all have, each once, the submitter not asked", async () => {
      const { taskId: id, approvers } = await client.run(request(), "APPROVING");
      expect(approvers).toEqual(["ann", "bob", "sue"]);
      const own = await client.refused("POST", `/v1/task/${id}:approve`, { approver: "sue" });
      expect(own).toMatchObject({ status: 403, message: `approver: sue submitted task ${id}; another must decide` });
      expect(await client.refused("POST", `/v1/task/${id}:approve`, { approver: "eve" })).toMatchObject({
        status: 403,
      });
      expect((await client.act(id, "approve", { approver: "ann", comment: "fine" })).state).toBe("APPROVING");
      expect((await client.act(id, "approve", { approver: "ann" })).steps).toHaveLength(3);
      await client.act(id, "approve", { approver: "bob" });
      const detail = await client.until(id, "SUCCESS");
      expect(actions(detail).slice(2)).toEqual([
        "APPROVE ann APPROVING",
        "APPROVE bob APPROVED",
        "START RUNNING",
        "END SUCCESS",
      ]);
      expect(detail.steps[2]).toMatchObject({ comment: "fine" });
    });

    test("do not run when one says no", async () => {
      const { taskId: id } = await client.run(request(), "APPROVING");
      const detail = await client.act(id, "reject", { approver: "bob", comment: "not these columns" });
      expect(detail).toMatchObject({ state: "NOT_APPROVED", reason: "not these columns" });
      const late = await client.refused("POST", `/v1/task/${id}:approve`, { approver: "ann" });
      expect(late).toMatchObject({ status: 400 });
    });

    test.each([
      ["EXEC_COMMITTER", "sue", "ann"],
      ["EXEC_APPROVER", "bob", "sue"],
    ])("with %s wait for %s, and not %s, to start them", async (exector, who, other) => {
      const { taskId: id } = await client.run(request({ exector }), "APPROVING");
      for (const approver of ["ann", "bob"]) await client.act(id, "approve", { approver });
      await client.until(id, "APPROVED");
      expect(await client.refused("POST", `/v1/task/${id}:start`, { actor: other })).toMatchObject({ status: 403 });
      await client.act(id, "start", { actor: who });
      const detail = await client.until(id, "SUCCESS");
      expect(actions(detail)).toContain(`START ${who} RUNNING`);
    });

    test.each([
      [{ ded: { ebs: { statement: "SELECT 1" } } }, "ded.export_reason"],
      [{ submitter: "" }, "submitter"],
    ])("with %j are refused with the field %s", async (change, field) => {
      const refused = await client.refused("POST", "/v1/task/submit", { ...request(), ...change });
      expect(refused).toMatchObject({ status: 400, fields: [field] });
    });

    test("leave a trail that shows when it was altered", async () => {
      const node = cluster.nodes.at(-1)!;
      const before = await node.broker.call<{ steps: number; broken?: number }, object>("progress.verifyTrail", {});
      expect(before.broken).toBeUndefined();
      expect(before.steps).toBeGreaterThan(10);
      const service = node.broker.getLocalService("progress") as unknown as {
        datastore: {
          collection(name: string): Promise<{ updateOne(filter: object, update: object): Promise<unknown> }>;
        };
      };
      const steps = await service.datastore.collection("data_task_steps");
      await steps.updateOne({ _id: 3 }, { $set: { actor: "eve" } });
      expect(await node.broker.call("progress.verifyTrail", {})).toMatchObject({ steps: 2, broken: 3 });
    });
  });
});

test("data tasks that wait remind their approvers, and expire", async () => {
  const node = await startNode({
    config: { progressApproval: "any", progressApprovers: ["ann", "sue"], progressRemind: 500, progressExpire: 1_500 },
  });
  try {
    const reminders: unknown[] = [];
    await node.broker.createService({
      name: "listener",
      events: {
        "progress.reminder"(ctx: { params: unknown }) {
          reminders.push(ctx.params);
        },
      },
    });
    const client = new ProgressClient(node.http);
    const request = exportOf(dsn, "SELECT 1 AS one", { exportReason: "r" }, { submitter: "sue" });
    const { taskId: id } = await client.run(request, "APPROVING");
    const { attendant } = node.broker.getLocalService("progress") as unknown as {
      attendant: { see(id: string): void };
    };
    const detail = await waitFor(async () => {
      // What the clock does every quarter of a minute.
      attendant.see(id);
      const now = await client.detail(id);
      return now.state === "NOT_APPROVED" ? now : undefined;
    });
    expect(detail.reason).toBe("nobody decided in time");
    expect(actions(detail)).toContain("REMIND APPROVING");
    expect(reminders[0]).toEqual({ id, name: "report", approvers: ["ann"] });
  } finally {
    await node.stop();
  }
});
