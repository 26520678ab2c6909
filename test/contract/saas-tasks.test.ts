/** Bulk load by the public contract: the life of tasks, their blocks, what is loaded, and what is refused. */
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { parse } from "csv-parse/sync";
import { TestClient } from "../grpc-client.ts";
import { SAAS_PROTO, SaasClient, sha256Of, signed } from "../saas-client.ts";
import type { Identity } from "../saas-client.ts";
import type { TestTask } from "../saas-tasks.ts";
import { byteItem, createAndUpload, ended, info, linesOf, load, statusOf, taskOf } from "../saas-tasks.ts";
import type { Cluster } from "../topologies.ts";
import { onEveryTopology } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const BLOCK = 1_000;
const LIMITS = { saasBlockMin: 64, saasBlockMax: 10_000, saasTaskMax: 1_000_000, saasTasks: 5, saasBadLines: 100 };

onEveryTopology("saas: bulk load", (start) => {
  let cluster: Cluster;
  let http: string;
  let accounts = 0;

  beforeAll(async () => {
    cluster = await start(LIMITS);
    http = cluster.gateways[0].http;
  });

  afterAll(() => cluster?.stop());

  const operator = async (method: string, path: string, body?: object) => {
    const json = body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(http + path, { method, ...json });
    return { status: response.status, text: await response.text() };
  };

  /** An account with a data space of the same name. */
  const createAccount = async (terms: object = {}) => {
    const account = `loader-${(accounts += 1)}`;
    const { text } = await operator("POST", "/v1/saas/accounts", { account, ...terms });
    await operator("POST", "/v1/saas/dataspaces", { dataspace: account, account, kind: "did" });
    const identity: Identity = { account, token: (JSON.parse(text) as { token: string }).token };
    return { identity, space: account, client: new SaasClient(http, identity) };
  };

  const create = (client: SaasClient, { task }: TestTask, change: object = {}) =>
    client.post("/saas/task/create", { task_create: { ...task, ...change } });
  const named = (client: SaasClient, what: "run" | "delete" | "info", task_sha256: string) =>
    client.post(`/saas/task/${what}`, { [`task_${what}`]: { task_sha256 } });
  const byte = async (client: SaasClient, space: string, userid: string) =>
    (await client.read(space, [userid]))[0]!.bytes[0];

  test("goes from WAITING to SUCCESS, and writes what its lines say", async () => {
    const { client, space } = await createAccount();
    const items = Array.from({ length: 200 }, (_, index) => byteItem(`user ${index}`, index));
    // Lines cross blocks; the last has no end.
    const one = taskOf(space, { "a.jsonl": linesOf(items).trimEnd(), "b.jsonl": linesOf([byteItem("b", 9)]) }, BLOCK);
    const sha256 = one.task.task_sha256;
    const created = await create(client, one, { task_sha256: sha256.toUpperCase() });
    expect(created).toMatchObject({
      http: 200,
      code: "SUCC",
      task_create_res: { task_sha256: sha256, status: "WAITING" },
    });
    const files = created.task_create_res!.task_file_infos;
    expect(files.map(({ file_name }) => file_name)).toEqual(["a.jsonl", "b.jsonl"]);
    expect(files.flatMap(({ file_blocks }) => file_blocks.map(({ uploaded }) => uploaded))).not.toContain(true);
    expect(await named(client, "run", sha256)).toMatchObject({ code: "TASK_IS_WATING" });
    for (const block of one.blocks) {
      expect(await statusOf(client, sha256)).toBe("WAITING");
      expect(await client.upload(block)).toMatchObject({ http: 200, code: "SUCC" });
    }
    const ready = (await info(client, sha256)).task_info_res!;
    expect(ready.status).toBe("READY");
    expect(ready.task_file_infos.every(({ file_blocks }) => file_blocks.every(({ uploaded }) => uploaded))).toBe(true);
    const run = await named(client, "run", sha256);
    expect(run).toMatchObject({ code: "SUCC", task_run_res: { task_sha256: sha256 } });
    const done = await ended(client, sha256);
    expect(done).toMatchObject({ status: "SUCCESS", reason: "" });
    const times = [done.create_time, done.run_time, done.finish_time].map((time) => new Date(time).toISOString());
    expect(times).toEqual([...times].sort());
    const found = await client.read(
      space,
      Array.from({ length: 100 }, (_, index) => `user ${2 * index}`),
    );
    expect(found.map(({ bytes }) => bytes[0])).toEqual(Array.from({ length: 100 }, (_, index) => 2 * index));
    expect(await byte(client, space, "b")).toBe(9);
    expect(await named(client, "run", sha256)).toMatchObject({ code: "TASK_FINISHED" });
  });

  test("applies lines in their order, in protobuf JSON of either names, and shares blocks between tasks", async () => {
    const { client, space } = await createAccount();
    const lines = [
      byteItem("same", 1),
      { userid: "same", write_uint32s: { uint32s: [7, "8"], index_1: 3 } },
      byteItem("same", 2),
      {
        userid: "same",
        writeFlagsWithExpire: { flagsWithExpire: [{ flag: true, defaultFlag: false }], index1: "128" },
      },
      { userid: "high", writeBytes: { bytes: "AQ==", index2: "9223372036854775808" } },
    ];
    const one = taskOf(space, { a: linesOf(lines) }, BLOCK);
    expect(await load(client, one)).toMatchObject({ status: "SUCCESS" });
    const [same, high] = await client.read(space, ["same", "high"]);
    expect([same!.bytes[0], ...same!.uint32s.slice(0, 2), same!.flags_with_expire[7]!.flag]).toEqual([2, 7, 8, true]);
    expect(high!.bytes[127]).toBe(1);
    // What ended needs its blocks no more; a task that lists them while another does has them at once.
    const first = taskOf(space, { a: linesOf(lines) }, BLOCK);
    expect((await create(client, first)).task_create_res!.task_file_infos[0]!.file_blocks[0]!.uploaded).toBe(false);
    await client.upload(first.blocks[0]!);
    const second = taskOf(space, { b: linesOf(lines) }, BLOCK);
    expect(await create(client, second)).toMatchObject({ task_create_res: { status: "READY" } });
    await named(client, "delete", first.task.task_sha256);
    await named(client, "run", second.task.task_sha256);
    expect(await ended(client, second.task.task_sha256)).toMatchObject({ status: "SUCCESS" });
  });

  test("takes the same creation again, and says of another one that the name is taken", async () => {
    const { client, space } = await createAccount();
    const one = taskOf(space, { a: linesOf([byteItem("x", 1)]) }, BLOCK);
    await create(client, one);
    const again = await create(client, one);
    expect(again).toMatchObject({
      code: "TASK_EXISTS",
      task_create_res: { status: "WAITING", task_description: "a test" },
    });
    await client.upload(one.blocks[0]!);
    expect(await create(client, one)).toMatchObject({ code: "TASK_EXISTS", task_create_res: { status: "READY" } });
    const other = await create(client, one, { task_description: "another" });
    expect(other).toMatchObject({ code: "TASK_EXISTS", status: expect.stringContaining("another one") as unknown });
    const { client: stranger } = await createAccount();
    expect(await named(stranger, "info", one.task.task_sha256)).toMatchObject({ code: "TASK_IS_NOT_EXISTS" });
  });

  test("refuses tasks that are wrong, each with its code", async () => {
    const { client, space } = await createAccount();
    const content = linesOf([byteItem("x", 1), byteItem("y", 2)]);
    const one = taskOf(space, { a: content, b: content.repeat(20) }, BLOCK);
    const [a, b] = one.task.task_file_infos as [
      TestTask["task"]["task_file_infos"][0],
      TestTask["task"]["task_file_infos"][0],
    ];
    const refused: [object, string][] = [
      [{ dataspace_id: "nobody-s" }, "DATASPACE_NOT_EXISTS"],
      [{ task_sha256: "abc" }, "DATA_ERROR"],
      [{ task_sha256: "g".repeat(64) }, "DATA_ERROR"],
      [{ task_file_infos: [] }, "DATA_ERROR"],
      [{ task_file_infos: [a, { ...b, file_name: "a" }] }, "DATA_ERROR"],
      [{ task_file_infos: [{ ...a, file_name: "" }, b] }, "DATA_ERROR"],
      [{ task_file_infos: [{ ...a, file_size: a.file_size + 1 }, b] }, "DATA_ERROR"],
      [{ task_file_infos: [{ ...a, file_blocks: [] }, b] }, "DATA_ERROR"],
      [{ task_size: one.task.task_size - 1 }, "DATA_ERROR"],
      [{ task_block_size: 63 }, "TASK_BLOCK_SIZE"],
      [{ task_block_size: 10_001 }, "TASK_BLOCK_SIZE"],
      [{ task_block_size: BLOCK + 1 }, "TASK_BLOCK_SIZE"],
      [{ task_file_infos: [{ ...a, file_blocks: [{ ...a.file_blocks[0], block_length: 0 }] }, b] }, "TASK_BLOCK_SIZE"],
      [{ task_file_infos: [{ ...a, file_blocks: [{ ...a.file_blocks[0], block_sha256: "" }] }, b] }, "DATA_ERROR"],
      [{ task_description: "x".repeat(2_000) }, "DATA_ERROR"],
    ];
    for (const [change, code] of refused)
      expect([change, (await create(client, one, change)).code]).toEqual([change, code]);
    const large = Array.from({ length: 101 }, () => ({
      block_sha256: randomBytes(32).toString("hex"),
      block_length: 10_000,
    }));
    const files = [{ file_name: "large", file_size: 1_010_000, file_blocks: large }];
    const total = { task_block_size: 10_000, task_file_infos: files, task_size: 1_010_000 };
    expect(await create(client, one, total)).toMatchObject({ code: "TASK_TOTAL_SIZE" });
    const many = Array.from({ length: 12_000 }, () => ({
      block_sha256: randomBytes(32).toString("hex"),
      block_length: 64,
    }));
    const blocks = [{ file_name: "many", file_size: 768_000, file_blocks: many }];
    const marshal = { task_block_size: 64, task_file_infos: blocks, task_size: 768_000 };
    expect(await create(client, one, marshal)).toMatchObject({ code: "TASK_MARSHAL" });
    expect((await client.post("/saas/task/list", { task_list: {} })).task_list_res!.tasks).toEqual([]);
  });

  test("limits the tasks of an account that have not ended", async () => {
    const { client, space } = await createAccount();
    const tasks = Array.from({ length: 7 }, (_, index) => taskOf(space, { a: linesOf([byteItem("x", index)]) }, BLOCK));
    const codes = [];
    for (const one of tasks) codes.push((await create(client, one)).code);
    expect(codes).toEqual([...Array<string>(5).fill("SUCC"), "TASK_NUM_LIMIT", "TASK_NUM_LIMIT"]);
    await named(client, "delete", tasks[0]!.task.task_sha256);
    expect(await create(client, tasks[5]!)).toMatchObject({ code: "SUCC" });
  });

  test("refuses blocks that are wrong, and keeps none of them", async () => {
    const { client, space, identity } = await createAccount();
    const content = Buffer.from(linesOf([byteItem("x", 1)]));
    const one = taskOf(space, { a: content }, BLOCK);
    const sha256 = sha256Of(content);
    expect(await client.upload(content)).toMatchObject({ http: 200, code: "TASK_IS_NOT_EXISTS" });
    await create(client, one);
    const { client: stranger } = await createAccount();
    expect(await stranger.upload(content)).toMatchObject({ code: "TASK_IS_NOT_EXISTS" });
    expect(await client.upload(content, { "content-encoding": "" })).toMatchObject({ code: "READ_BODY" });
    expect(await client.upload(content, { authorization: "wrong" })).toMatchObject({ http: 200, code: "AUTH_FAIL" });
    expect(await client.upload(content, {}, "abc")).toMatchObject({ code: "DATA_ERROR" });
    const other = Buffer.from(content).fill("x", 0, 1);
    expect(await client.upload(other, {}, sha256)).toMatchObject({ code: "DATA_ERROR" });
    expect(await client.upload(content.subarray(1), {}, sha256)).toMatchObject({ code: "DATA_ERROR" });
    const send = (body: Buffer) =>
      client.send(`/saas/task/upload?block_sha256=${sha256}`, body, { "content-encoding": "gzip" });
    expect(await send(gzipSync(Buffer.alloc(50_000_000)))).toMatchObject({ http: 413, code: "TASK_BLOCK_SIZE" });
    expect(await send(randomBytes(5_000))).toMatchObject({ http: 413, code: "TASK_BLOCK_SIZE" });
    expect(await send(content)).toMatchObject({ code: "READ_BODY" });
    expect(await send(gzipSync(content).subarray(0, 20))).toMatchObject({ code: "READ_BODY" });
    expect(await statusOf(client, one.task.task_sha256)).toBe("WAITING");
    const signature = { ...signed(identity), "content-encoding": "gzip", "content-type": "application/octet-stream" };
    const spoofed = `/saas/task/upload?block_sha256=${sha256}&object[key]=x&object[sha256]=${sha256}`;
    expect(await client.send(spoofed, content, signature)).toMatchObject({ code: "READ_BODY" });
    expect(await client.upload(content)).toMatchObject({ code: "SUCC" });
    expect(await client.upload(content)).toMatchObject({ code: "SUCC" });
    expect(await statusOf(client, one.task.task_sha256)).toBe("READY");
  });

  test("reports bad lines by file and line, and fails where there are too many", async () => {
    const { client, space } = await createAccount();
    const bad = [
      "{",
      "[]",
      '{"userid": ""}',
      '{"userid": "a", "more": 1}',
      '{"userid": "a", "writeBytes": {"bytes": "AQI=", "index1": "1"}}',
      '{"userid": "a", "writeUint32s": {"uint32s": [1], "index1": 65536}}',
      '{"userid": "a", "writeBytes": {"bytes": "!", "index1": "1"}}',
      `{"userid": "a", "${"k".repeat(900)}": 1}`,
    ];
    const text = [JSON.stringify(byteItem("before", 1)), ...bad, "", JSON.stringify(byteItem("behind", 2))].join(
      "\r\n",
    );
    const one = taskOf(space, { "good.jsonl": linesOf([byteItem("x", 3)]), "bad.jsonl": text }, BLOCK);
    const done = await load(client, one);
    expect(done.status).toBe("SUCCESS");
    expect(done.reason).toMatch(/^8 of 11 lines .*bad\.jsonl, line 2: line: is not JSON/);
    expect([await byte(client, space, "before"), await byte(client, space, "behind")]).toEqual([1, 2]);
    const path = `/v1/saas/accounts/${space}/tasks/${one.task.task_sha256}`;
    const shown = JSON.parse((await operator("GET", path)).text) as { report: string };
    expect(shown).toMatchObject({ status: "SUCCESS", lines: 11, bad_lines: 8 });
    const rows: { reason: string }[] = parse((await operator("GET", shown.report)).text, { bom: true, columns: true });
    expect(rows.at(-1)!.reason).toMatch(/^k{300}$/);
    expect(rows).toMatchObject(bad.map((_, index) => ({ file: "bad.jsonl", row: String(index + 2) })));
    const worse = taskOf(space, { a: linesOf([byteItem("kept", 4)]) + "{\n".repeat(101) }, BLOCK);
    const failed = await load(client, worse);
    expect(failed).toMatchObject({ status: "FAIL", reason: expect.stringContaining("more than 100 lines") as unknown });
    expect(await byte(client, space, "kept")).toBe(4);
    expect(await named(client, "run", worse.task.task_sha256)).toMatchObject({ code: "TASK_FAILED" });
  });

  test("lists tasks by their state, and deletes them", async () => {
    const { client, space } = await createAccount();
    const [one, other] = [1, 2].map((value) => taskOf(space, { a: linesOf([byteItem("x", value)]) }, BLOCK)) as [
      TestTask,
      TestTask,
    ];
    await load(client, one);
    await create(client, other);
    const list = async (status_filter: string) =>
      (await client.post("/saas/task/list", { task_list: { status_filter } })).task_list_res!.tasks.map(
        ({ task_sha256, status }) => [task_sha256, status],
      );
    const all = [
      [other.task.task_sha256, "WAITING"],
      [one.task.task_sha256, "SUCCESS"],
    ];
    expect(await list("ALL")).toEqual(all);
    expect(await list("WAITING")).toEqual([all[0]]);
    expect(await list("SUCCESS")).toEqual([all[1]]);
    expect(await list("RUNNING")).toEqual([]);
    expect(await list("DELETED")).toEqual([]);
    expect(await named(client, "delete", one.task.task_sha256)).toMatchObject({
      code: "SUCC",
      task_delete_res: { status: "DELETED" },
    });
    for (const what of ["run", "delete", "info"] as const) {
      expect(await named(client, what, one.task.task_sha256)).toMatchObject({ code: "TASK_IS_NOT_EXISTS" });
      expect(await named(client, what, "short")).toMatchObject({ code: "DATA_ERROR" });
    }
    const path = `/v1/saas/accounts/${space}/tasks`;
    expect((JSON.parse((await operator("GET", path)).text) as { tasks: object[] }).tasks).toMatchObject([
      { task_sha256: other.task.task_sha256, status: "WAITING" },
    ]);
    expect((await operator("DELETE", `${path}/${other.task.task_sha256}`)).status).toBe(200);
    expect((await operator("GET", `${path}/${other.task.task_sha256}`)).status).toBe(404);
    expect(await list("ALL")).toEqual([]);
    // A name is free again.
    expect(await load(client, one)).toMatchObject({ status: "SUCCESS" });
  });

  test("runs one task of an account at a time, keeps columns from being written, and can be stopped", async () => {
    const { client, space } = await createAccount();
    const { broker } = cluster.nodes.at(-1)!;
    await broker.call("queues.pauseChannel", { Channel: "saas.load" });
    try {
      const tasks = [1, 2].map((value) => taskOf(space, { a: linesOf([byteItem("turn", value)]) }, BLOCK)) as [
        TestTask,
        TestTask,
      ];
      const [first, second] = tasks.map(({ task }) => task.task_sha256) as [string, string];
      for (const one of tasks) await createAndUpload(client, one);
      expect(await named(client, "run", first)).toMatchObject({ code: "SUCC", task_run_res: { status: "RUNNING" } });
      expect(await named(client, "run", second)).toMatchObject({
        code: "SUCC",
        task_run_res: { status: "RUNNING", run_time: "" },
      });
      for (const sha256 of [first, second])
        expect(await named(client, "run", sha256)).toMatchObject({ code: "TASK_IS_RUNNING" });
      const column_write = { dataspace_id: space, write_bytes: { bytes: Buffer.from([1]), index_1: 2 } };
      expect(await client.post("/saas/column_write", { column_write })).toMatchObject({ code: "TASK_IS_RUNNING" });
      expect(await named(client, "delete", first)).toMatchObject({ task_delete_res: { status: "DELETED" } });
      expect((await info(client, second)).task_info_res!.run_time).not.toBe("");
      await broker.call("queues.resumeChannel", { Channel: "saas.load" });
      expect(await ended(client, second)).toMatchObject({ status: "SUCCESS" });
      expect(await byte(client, space, "turn")).toBe(2);
      expect(await client.post("/saas/column_write", { column_write })).toMatchObject({ code: "SUCC" });
    } finally {
      await broker.call("queues.resumeChannel", { Channel: "saas.load" });
    }
  });

  test("shows its run as an operation", async () => {
    const { client, space } = await createAccount();
    const one = taskOf(space, { a: linesOf([byteItem("x", 1)]) }, BLOCK);
    await load(client, one);
    const { text } = await operator("GET", `/v1/saas/accounts/${space}/tasks/${one.task.task_sha256}`);
    const { operation } = JSON.parse(text) as { operation: string };
    const shown = await waitFor(async () => {
      const body = JSON.parse((await operator("GET", `/v1/${operation}`)).text) as { done?: boolean };
      return body.done ? body : undefined;
    });
    expect(shown).toMatchObject({ response: { taskSha256: one.task.task_sha256, status: "SUCCESS" } });
  });

  test("takes commands over gRPC, and blocks signed by their sums", async () => {
    const { client, space } = await createAccount();
    const grpc = new TestClient(SAAS_PROTO, "saasapi.Saas", cluster.gateways[0].grpc);
    try {
      const { identity, space: own, client: signing } = await createAccount({ signature: "any" });
      const one = taskOf(own, { a: linesOf([byteItem("x", 1)]) }, BLOCK);
      const call = async (request: Record<string, unknown>) =>
        (await grpc.unary("Do", request, { metadata: signed(identity) })).message;
      expect(await call({ task_create: one.task })).toMatchObject({
        code: "SUCC",
        task_create_res: { status: "WAITING" },
      });
      const { createHmac } = await import("node:crypto");
      const { time } = signed(identity) as { time: string };
      const hmac = (text: string) =>
        createHmac("sha256", identity.token).update(`${identity.account}\n${time}\n`).update(text).digest("hex");
      const headers = (text: string) => ({ time, authorization: `HMAC-SHA256 ${hmac(text)}` });
      const sha256 = sha256Of(one.blocks[0]!);
      expect(await signing.upload(one.blocks[0]!, headers("0".repeat(64)))).toMatchObject({ code: "AUTH_FAIL" });
      expect(await signing.upload(one.blocks[0]!, headers(sha256))).toMatchObject({ code: "SUCC" });
      const { task_sha256 } = one.task;
      expect(await call({ task_run: { task_sha256 } })).toMatchObject({ code: "SUCC" });
      await ended(signing, task_sha256);
      expect(await call({ task_list: {} })).toMatchObject({ task_list_res: { tasks: [{ task_sha256 }] } });
      expect(await call({ task_delete: { task_sha256 } })).toMatchObject({ task_delete_res: { status: "DELETED" } });
      expect(await client.post("/saas", { task_list: { status_filter: "READY" } })).toMatchObject({ code: "SUCC" });
      expect(space).not.toBe(own);
    } finally {
      grpc.close();
    }
  });
});
