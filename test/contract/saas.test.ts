/** The protocol of the user-data space: commands, codes and signatures, over HTTP and gRPC. */
import { createHmac, randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { TestClient } from "../grpc-client.ts";
import { DEMO, SAAS_PROTO, SaasClient, bitmap, encode, signed } from "../saas-client.ts";
import type { Cluster } from "../topologies.ts";
import { onSmallestAndLargest } from "../topologies.ts";
import { waitFor } from "../wait-for.ts";

const COMMAND = { read: { dataspace_id: "1", read_items: [{ userid: "anybody" }] } };
const DAY = 86_400;

onSmallestAndLargest("saas: the protocol", (start) => {
  let cluster: Cluster;
  let client: SaasClient;
  let http: string;
  let accounts = 0;

  beforeAll(async () => {
    cluster = await start({ saasDemo: true });
    http = cluster.gateways[0].http;
    client = new SaasClient(http);
  });

  afterAll(() => cluster?.stop());

  const operator = async (method: string, path: string, body?: object) => {
    const json = body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(http + path, { method, ...json });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  /** An account with a data space, both of this name. */
  const createAccount = async (terms: object = {}) => {
    const account = `account-${(accounts += 1)}`;
    const { body } = await operator("POST", "/v1/saas/accounts", { account, ...terms });
    await operator("POST", "/v1/saas/dataspaces", { dataspace: account, account, kind: "did" });
    const identity = { account, token: String(body["token"]) };
    return { identity, client: new SaasClient(http, identity) };
  };

  test("reads defaults of a user never written", async () => {
    const answer = await client.post("/saas/read", { read: { dataspace_id: "1", read_items: [{ userid: "nobody" }] } });
    expect(answer).toMatchObject({ http: 200, code: "SUCC", read_res: { succ_cmd_count: 1, fail_cmd_count: 0 } });
    const [item] = answer.read_res!.cmd_res;
    expect(item).toMatchObject({ cmd_index: 0, cmd_code: "OK", last_modify_time: 0, uint32s: Array(16).fill(0) });
    expect(item!.bytes).toEqual(Buffer.alloc(128));
    expect(item!.flags_with_expire).toEqual(Array(8).fill({ flag: false, default_flag: false, expire: 0 }));
  });

  test("packs values in ascending order of the bits, as the public examples do", async () => {
    await client.write("1", [
      { userid: "first", write_bytes: { bytes: Buffer.from([1, 2]), index_1: 3 } },
      { userid: "second", write_bytes: { bytes: Buffer.from([3, 1]), index_1: 6 } },
    ]);
    const [first, second] = await client.read("1", ["first", "second"]);
    expect([...first!.bytes.subarray(0, 4)]).toEqual([1, 2, 0, 0]);
    expect([...second!.bytes.subarray(0, 4)]).toEqual([0, 3, 1, 0]);
    expect(second!.cmd_index).toBe(1);
    expect(Math.abs(first!.last_modify_time - Date.now() / 1_000)).toBeLessThan(60);
  });

  test("knows bits 63 of both bitmaps", async () => {
    const write_bytes = { bytes: Buffer.from([1, 2, 3, 4]), index_1: bitmap([0, 63]), index_2: bitmap([0, 63]) };
    expect(await client.write("1", [{ userid: "bits", write_bytes }])).toEqual([]);
    const [item] = await client.read("1", ["bits"]);
    expect([0, 63, 64, 127].map((column) => item!.bytes[column])).toEqual([1, 2, 3, 4]);
  });

  test("keeps apps apart in a space of wuid, and not in one of did", async () => {
    const item = { userid: "same", write_uint32s: { uint32s: [7], index_1: 1 } };
    await client.write("2", [item], { appid: "wx1" });
    await client.write("1", [item], { appid: "wx1" });
    expect((await client.read("2", ["same"], "wx2"))[0]!.uint32s[0]).toBe(0);
    expect((await client.read("2", ["same"], "wx1"))[0]!.uint32s[0]).toBe(7);
    expect((await client.read("1", ["same"], "wx2"))[0]!.uint32s[0]).toBe(7);
    expect(await client.post("/saas/read", { read: { ...COMMAND.read, dataspace_id: "2" } })).toMatchObject({
      code: "DATA_ERROR",
      status: expect.stringContaining("appid") as unknown,
    });
  });

  test("gives the default of a flag that has expired", async () => {
    const now = Math.floor(Date.now() / 1_000);
    const flags = [
      { flag: true, default_flag: false, expire: now - 10 },
      { flag: false, default_flag: true, expire: now - 10 },
      { flag: true, default_flag: false, expire: now + DAY },
      { flag: true, default_flag: false, expire: 0 },
    ];
    await client.write("1", [
      { userid: "flags", write_flags_with_expire: { flags_with_expire: flags, index_1: bitmap([0, 1, 2, 7]) } },
    ]);
    const [item] = await client.read("1", ["flags"]);
    expect([0, 1, 2, 7].map((column) => item!.flags_with_expire[column]!.flag)).toEqual([false, true, true, true]);
  });

  test("applies the items of a request in their order, and clears first where it is told to", async () => {
    const set = (column: number, value: number) => ({
      userid: "twice",
      write_uint32s: { uint32s: [value], index_1: bitmap([column]) },
    });
    await client.write("1", [set(0, 1), set(1, 2), set(0, 3)]);
    expect((await client.read("1", ["twice"]))[0]!.uint32s.slice(0, 3)).toEqual([3, 2, 0]);
    await client.write("1", [set(2, 9)], { is_clear_all_first: true });
    expect((await client.read("1", ["twice"]))[0]!.uint32s.slice(0, 3)).toEqual([0, 0, 9]);
  });

  test("names the items that fail, and writes the others", async () => {
    const long = "u".repeat(10_240);
    const good = (userid: string) => ({ userid, write_bytes: { bytes: Buffer.from([5]), index_1: 1 } });
    const failed = await client.write("1", [
      good("well"),
      { userid: "count", write_bytes: { bytes: Buffer.from([1]), index_1: 3 } },
      { userid: "uint32", write_uint32s: { uint32s: [1], index_1: bitmap([16]) } },
      { userid: "flag", write_flags_with_expire: { flags_with_expire: [{ flag: true }], index_1: bitmap([8]) } },
      { userid: "high", write_uint32s: { uint32s: [1], index_1: bitmap([63]) } },
      good(""),
      good(long),
      good("well too"),
    ]);
    expect(failed).toEqual(["count", "uint32", "flag", "high", "", long]);
    const found = await client.read("1", ["well", "count", "uint32", "flag", "high", "well too"]);
    expect(found.map(({ bytes }) => bytes[0])).toEqual([5, 0, 0, 0, 0, 5]);
    expect(found.map(({ last_modify_time }) => last_modify_time > 0)).toEqual([true, false, false, false, false, true]);
  });

  test("writes a column of all users, those never written included, and leaves their times alone", async () => {
    const { client: own, identity } = await createAccount();
    const space = identity.account;
    await own.write(space, [{ userid: "old", write_bytes: { bytes: Buffer.from([1, 1]), index_1: 3 } }]);
    const [before] = await own.read(space, ["old"]);
    await own.writeColumns(space, { write_bytes: { bytes: Buffer.from([2]), index_1: 1 } });
    await own.writeColumns(space, { write_bytes: { bytes: Buffer.from([3]), index_2: bitmap([63]) } });
    const [old, never] = await own.read(space, ["old", "never"]);
    expect([0, 1, 127].map((column) => old!.bytes[column])).toEqual([2, 1, 3]);
    expect([0, 1, 127].map((column) => never!.bytes[column])).toEqual([2, 0, 3]);
    expect([old!.last_modify_time, never!.last_modify_time]).toEqual([before!.last_modify_time, 0]);
    await own.write(space, [{ userid: "old", write_bytes: { bytes: Buffer.from([9]), index_1: 1 } }]);
    await own.writeColumns(space, { is_clear_all_first: true, write_uint32s: { uint32s: [4], index_1: 1 } });
    const [cleared] = await own.read(space, ["old"]);
    expect([cleared!.bytes[0], cleared!.bytes[127], cleared!.uint32s[0]]).toEqual([0, 0, 4]);
  });

  test("speaks protobuf JSON", async () => {
    const write = { dataspaceId: "1", writeItems: [{ userid: "json", writeBytes: { bytes: "BQ==", index1: "1" } }] };
    const json = { "content-type": "application/json; charset=utf-8" };
    expect(await client.send("/saas/write", JSON.stringify({ write }), json)).toMatchObject({ code: "SUCC" });
    const read = { dataspace_id: "1", read_items: [{ userid: "json" }] };
    const answer = (await client.send("/saas", JSON.stringify({ read }), json)) as unknown as {
      readRes: { cmdRes: { bytes: string; uint32s: number[] }[] };
    };
    expect(Buffer.from(answer.readRes.cmdRes[0]!.bytes, "base64")[0]).toBe(5);
    expect(answer.readRes.cmdRes[0]!.uint32s).toHaveLength(16);
  });

  test("takes every path, and on each its command alone", async () => {
    const column_write = { dataspace_id: "1", write_bytes: { bytes: Buffer.from([0]), index_1: bitmap([40]) } };
    for (const path of ["/saas/columwrite", "/saas/column_write", "/saas"]) {
      expect(await client.post(path, { column_write })).toMatchObject({ code: "SUCC" });
    }
    expect(await client.post("/saas/write", COMMAND)).toMatchObject({ http: 200, code: "CMD_ERROR" });
    for (const name of ["create", "list", "run", "delete", "info"]) {
      expect(await client.post(`/saas/task/${name}`, COMMAND)).toMatchObject({ http: 200, code: "CMD_ERROR" });
    }
  });

  test("tries out a script with the data of the server and of the request", async () => {
    const userid = "debugged";
    await client.write("1", [{ userid, write_bytes: { bytes: Buffer.from([77]), index_1: 1 } }]);
    const lua_script = `function main()
      print(srta.get_dsdata(srta.DS_DID)[srta.U8][1], srta.get_dsdata(srta.DS_DID)[srta.U8][2])
      return { t1 = { [srta.TARGETINFO_ENABLE] = true } }
    end`;
    const server = await client.post("/saas/debug", {
      debug: { lua_script, use_server_data: true, server_did: userid },
    });
    expect(server).toMatchObject({
      code: "SUCC",
      debug_res: { PrintOutput: "77\t0\n", Error: "", TargetsOutput: '{"t1": {"enable": true}}' },
    });
    const local_did_data = { write_bytes: { bytes: Buffer.from([5]), index_1: 2 } };
    const local = await client.post("/saas/debug", { debug: { lua_script, local_did_data } });
    expect(local).toMatchObject({ code: "SUCC", debug_res: { PrintOutput: "0\t5\n" } });
    const broken = await client.post("/saas/debug", { debug: { lua_script: "function main()\n x() end" } });
    expect(broken).toMatchObject({ code: "SUCC", debug_res: { Error: expect.stringMatching(/^line 2: /) } });
    const wrong = { write_bytes: { bytes: Buffer.from([5, 6]), index_1: 2 } };
    const refused = await client.post("/saas/debug", { debug: { lua_script, local_did_data: wrong } });
    expect(refused).toMatchObject({ code: "DATA_ERROR", status: expect.stringContaining("local_did_data") });
  });

  test("gives scripts the targets that an operator set for the account", async () => {
    const { client: own } = await createAccount({ targets: ["a", "b"] });
    const lua_script = "function main() print(table.concat(srta.get_targets(), ',')) return {} end";
    expect(await own.post("/saas/debug", { debug: { lua_script } })).toMatchObject({
      debug_res: { PrintOutput: "a,b\n" },
    });
  });

  const now = () => Math.floor(Date.now() / 1_000);
  const refused: [string, string, Record<string, string> | (() => Record<string, string>)][] = [
    ["no account", "INVALID_ACCOUNT", { account: "" }],
    ["an unknown account", "INVALID_ACCOUNT", { account: "nobody" }],
    ["no time", "INVALID_TIMESTAMP", { time: "" }],
    ["a time that is none", "INVALID_TIMESTAMP", { time: "now" }],
    ["a time of 31 minutes ago", "INVALID_TIMESTAMP", () => signed(DEMO, now() - 1_860)],
    ["a time in 31 minutes", "INVALID_TIMESTAMP", () => signed(DEMO, now() + 1_860)],
    ["no signature", "INVALID_SIGNATURE", { authorization: "" }],
    ["a wrong signature", "AUTH_FAIL", { authorization: "0".repeat(32) }],
    ["what is no signature", "AUTH_FAIL", { authorization: "Bearer x" }],
    ["another type", "INVALID_CONTENT_TYPE", { "content-type": "text/plain" }],
    ["a compressed body", "READ_BODY", { "content-encoding": "gzip" }],
  ];
  test.each(refused)("refuses %s with %s", async (_, code, headers) => {
    const given = typeof headers === "function" ? headers() : headers;
    expect(await client.post("/saas/read", COMMAND, given)).toMatchObject({ http: 200, code });
  });

  test("takes a time of 29 minutes ago", async () => {
    expect(await client.post("/saas/read", COMMAND, signed(DEMO, now() - 1_740))).toMatchObject({ code: "SUCC" });
  });

  test("takes as many records as there may be, of megabytes that nothing makes smaller", async () => {
    const all = bitmap(Array.from({ length: 64 }, (_, column) => column));
    const records = Array.from({ length: 10_000 }, (_, index) => ({
      userid: `m${index}`,
      write_bytes: { bytes: randomBytes(128), index_1: all, index_2: all },
    }));
    expect(encode({ write: { dataspace_id: "1", write_items: records } }).length).toBeGreaterThan(1_048_576);
    await client.write("1", records);
    const [read] = await client.read("1", ["m9999"]);
    expect(read).toMatchObject({ bytes: records[9_999]!.write_bytes.bytes });
  });

  test("refuses bodies that hold no request, too many commands, none, or a space of nobody", async () => {
    const items = (count: number) => Array.from({ length: count }, (_, index) => ({ userid: `u${index}` }));
    expect(await client.send("/saas/read", Buffer.from("no protobuf"))).toMatchObject({ code: "DECODE_BODY" });
    const json = { "content-type": "application/json" };
    expect(await client.send("/saas/read", "{", json)).toMatchObject({ code: "DECODE_BODY" });
    expect(await client.send("/saas/read", '{"reed":{}}', json)).toMatchObject({ code: "DECODE_BODY" });
    expect(await client.send("/saas/read", Buffer.alloc(0))).toMatchObject({ code: "CMDS_NULL" });
    expect(await client.send("/saas/write", Buffer.alloc(17 * 1024 * 1024))).toMatchObject({
      http: 413,
      code: "READ_BODY",
    });
    const read = (count: number) => ({ read: { dataspace_id: "1", read_items: items(count) } });
    const write = (count: number) => ({ write: { dataspace_id: "1", write_items: items(count) } });
    expect(await client.post("/saas/read", read(101))).toMatchObject({ code: "CMDS_LIMIT" });
    expect(await client.post("/saas/read", read(100))).toMatchObject({ code: "SUCC" });
    expect(await client.post("/saas/read", read(0))).toMatchObject({ code: "CMDS_NULL" });
    expect(await client.post("/saas/write", write(10_001))).toMatchObject({ code: "CMDS_LIMIT" });
    expect(await client.post("/saas/write", write(10_000))).toMatchObject({ code: "SUCC" });
    expect(await client.post("/saas/write", write(0))).toMatchObject({ code: "CMDS_NULL" });
    const { identity } = await createAccount();
    for (const dataspace_id of ["nobody-s", identity.account, ""]) {
      const read = { ...COMMAND.read, dataspace_id };
      expect(await client.post("/saas/read", { read })).toMatchObject({ code: "DATASPACE_NOT_EXISTS" });
    }
    const column_write = { dataspace_id: "1", write_uint32s: { uint32s: [1], index_1: bitmap([16]) } };
    expect(await client.post("/saas/columwrite", { column_write })).toMatchObject({ code: "DATA_ERROR" });
  });

  test("refuses a disabled account, and takes it again", async () => {
    const { client: own, identity } = await createAccount();
    const read = { dataspace_id: identity.account, read_items: [{ userid: "x" }] };
    const code = async () => (await own.post("/saas/read", { read })).code;
    await waitFor(async () => (await code()) === "SUCC");
    await operator("PATCH", `/v1/saas/accounts/${identity.account}`, { disabled: true });
    await waitFor(async () => (await code()) === "DISABLED_ACCOUNT");
    // Who does not know the token does not learn it.
    expect(await own.post("/saas/read", { read }, { authorization: "x" })).toMatchObject({ code: "AUTH_FAIL" });
    await operator("PATCH", `/v1/saas/accounts/${identity.account}`, { disabled: false });
    await waitFor(async () => (await code()) === "SUCC");
  });

  test("holds an account to its requests a second and at a time", async () => {
    const { client: own, identity } = await createAccount({ qps: 3 });
    const read = { dataspace_id: identity.account, read_items: [{ userid: "x" }] };
    const answers = await Promise.all(Array.from({ length: 20 }, () => own.post("/saas/read", { read })));
    const codes = answers.map(({ code }) => code);
    expect(codes.filter((code) => code === "SUCC").length).toBeGreaterThanOrEqual(3);
    expect(codes).toContain("QPS_LIMIT");
    await waitFor(async () => (await own.post("/saas/read", { read })).code === "SUCC");
    const { client: narrow, identity: other } = await createAccount({ concurrency: 1 });
    const write_items = Array.from({ length: 5_000 }, (_, index) => ({ userid: `u${index}` }));
    const body = encode({ write: { dataspace_id: other.account, write_items } });
    const writes = await Promise.all(Array.from({ length: 8 }, () => narrow.send("/saas/write", body)));
    expect(new Set(writes.map(({ code }) => code))).toEqual(new Set(["SUCC", "QPS_LIMIT"]));
  });

  test("takes a signature of the body, and from who must sign it nothing else", async () => {
    const { client: own, identity } = await createAccount({ signature: "hmac-sha256" });
    const body = encode({ read: { dataspace_id: identity.account, read_items: [{ userid: "x" }] } });
    const { time } = signed(identity) as { time: string };
    const mac = createHmac("sha256", identity.token).update(`${identity.account}\n${time}\n`).update(body);
    const headers = { time, authorization: `HMAC-SHA256 ${mac.digest("hex")}` };
    expect(await own.send("/saas/read", body, headers)).toMatchObject({ code: "SUCC" });
    const other = encode({ read: { dataspace_id: identity.account, read_items: [{ userid: "y" }] } });
    expect(await own.send("/saas/read", other, headers)).toMatchObject({ code: "AUTH_FAIL" });
    expect(await own.send("/saas/read", body)).toMatchObject({ code: "AUTH_FAIL" });
  });

  test("shows operators accounts without tokens, and refuses what is wrong of them", async () => {
    const { identity } = await createAccount({ token: "a token of ours" });
    const shown = await operator("GET", `/v1/saas/accounts/${identity.account}`);
    expect(shown.body).toMatchObject({ account: identity.account, disabled: false, qps: 0 });
    const listed = await operator("GET", "/v1/saas/accounts?page_size=1000");
    expect(JSON.stringify([shown, listed])).not.toContain("token of ours");
    expect((await operator("POST", "/v1/saas/accounts", { account: identity.account })).status).toBe(409);
    expect((await operator("POST", "/v1/saas/accounts", { account: "a/b" })).status).toBe(400);
    expect((await operator("PATCH", `/v1/saas/accounts/${identity.account}`, { qpz: 1 })).status).toBe(400);
    expect((await operator("GET", "/v1/saas/accounts/nobody")).status).toBe(404);
    const space = { dataspace: "s", account: "nobody", kind: "did" };
    expect((await operator("POST", "/v1/saas/dataspaces", space)).status).toBe(404);
  });

  test("answers over gRPC with the same metadata", async () => {
    const grpc = new TestClient(SAAS_PROTO, "saasapi.Saas", cluster.gateways[0].grpc);
    try {
      const write_bytes = { bytes: Buffer.from([8, 9]), index_1: bitmap([0, 63]) };
      const write = { dataspace_id: "1", write_items: [{ userid: "grpc", write_bytes }] };
      const call = async (request: object, metadata: Record<string, string> = signed(DEMO)) =>
        (await grpc.unary("Do", request as Record<string, unknown>, { metadata })).message;
      expect(await call({ write })).toMatchObject({ code: "SUCC" });
      const answer = await call({ read: { dataspace_id: "1", read_items: [{ userid: "grpc" }] } });
      const { cmd_res } = answer["read_res"] as { cmd_res: { bytes: Buffer }[] };
      expect([cmd_res[0]!.bytes[0], cmd_res[0]!.bytes[63]]).toEqual([8, 9]);
      expect(await call(COMMAND, {})).toMatchObject({ code: "INVALID_ACCOUNT" });
      expect(await call(COMMAND, { ...signed(DEMO), authorization: "x" })).toMatchObject({ code: "AUTH_FAIL" });
    } finally {
      grpc.close();
    }
  });
});
