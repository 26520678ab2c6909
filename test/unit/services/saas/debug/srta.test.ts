import { expect, test } from "@jest/globals";
import { main, makeData, makeSandbox } from "../../../../lua-scripts.ts";

const sandbox = makeSandbox();

function run(script: string, data = makeData(["t1", "t2"])) {
  return sandbox.run(script, data);
}

function hijack(table: string, body = "") {
  return run(`function hijack() return ${table} end ${main(body)}`);
}

test("get_dsdata gives the regions of each record, counted from 1", () => {
  const data = makeData();
  data.did.bytes[0] = 7;
  data.did.bytes[127] = 255;
  data.did.uint32s[15] = 4_294_967_295;
  data.openid.uint32s[0] = 1;
  const openid = { ...data.openid, flags: [true, false, false, false, false, false, false, true] };
  const body = `
    local did, wuid = srta.get_dsdata(srta.DS_DID), srta.get_dsdata(srta.DS_WUID)
    print(#did, #did[srta.U8], #did[srta.U32], #did[srta.FLAG])
    print(did[1][1], did[1][2], did[1][128], did[2][16], did[3][1])
    print(wuid[srta.U8][1], wuid[srta.U32][1], wuid[srta.FLAG][1], wuid[srta.FLAG][2], wuid[srta.FLAG][8])`;
  expect(run(main(body), { ...data, openid })).toMatchObject({
    printOutput: "3\t128\t16\t8\n7\t0\t255\t4294967295\tfalse\n0\t1\ttrue\tfalse\ttrue\n",
    error: "",
  });
});

test.each([
  ["print(#srta.get_targets(), unpack(srta.get_targets()))", "2\tt1\tt2"],
  ['print(srta.get_apps("a", "b"))', "nil\tnil"],
  ["print(srta.get_scores(1, 2, 3))", "nil\tnil\tnil"],
  ["print(srta.get_os() == srta.OS_ANDROID, srta.get_siteset(), srta.get_expid())", "true\t0\t0"],
  ["print(srta.U8, srta.U32, srta.FLAG, srta.SITESET_WECHAT)", "1\t2\t3\t21"],
])("without hijack: %s", (body, printed) => {
  expect(run(main(body))).toEqual({ printOutput: `${printed}\n`, error: "", targetsOutput: "{}" });
});

test("every documented constant is there, and those of a kind differ", () => {
  const kinds = {
    DS: ["DID", "WUID"],
    OS: ["UNKNOWN", "IOS", "ANDROID", "HARMONY", "OTHER"],
    SITESET: ["UNION", "WECHAT", "XQ", "XS_NEWS", "XS_VIDEO"],
    TARGETINFO: ["ENABLE", "CPC_PRICE", "CPA_PRICE", "USER_WEIGHT_FACTOR", "CPC_FACTOR"],
  };
  for (const [kind, names] of Object.entries(kinds)) {
    const values = names.map((name) => `srta.${kind}_${name}`);
    const printed = run(main(`print(${values.join(", ")})`))
      .printOutput.trim()
      .split("\t");
    expect(printed.every((value) => /^\d+$/.test(value))).toBe(true);
    expect(new Set(printed).size).toBe(names.length);
  }
});

test.each([
  [
    "{srta_get_dsdata = {[srta.DS_DID] = {[srta.U8] = {[1] = 100}, [srta.U32] = {[16] = 9}, [srta.FLAG] = {[8] = true}}}}",
    "local d, w = srta.get_dsdata(srta.DS_DID), srta.get_dsdata(srta.DS_WUID) print(d[1][1], d[1][2], d[2][16], d[3][8], w[1][1])",
    "100\t5\t9\ttrue\t5",
  ],
  ['{srta_get_targets = {"x", 9007199254740993}}', "print(unpack(srta.get_targets()))", "x\t9007199254740993"],
  ["{srta_get_targets = {}}", "print(#srta.get_targets())", "0"],
  ["{srta_get_apps = {a = true, [7] = false}}", 'print(srta.get_apps("a", 7, "b"))', "true\tfalse\tnil"],
  [
    "{srta_get_apps = {[0x7fffffffffffffff] = true}}",
    "print(srta.get_apps(0x7ffffffffffffffe, 0x7fffffffffffffff))",
    "nil\ttrue",
  ],
  ["{srta_get_scores = {m = 0.5, [1] = 3}}", 'print(srta.get_scores("m", 1, nil))', "0.5\t3\tnil"],
  ["{srta_get_os = srta.OS_IOS}", "print(srta.get_os() == srta.OS_IOS)", "true"],
  ["{srta_get_siteset = srta.SITESET_WECHAT}", "print(srta.get_siteset())", "21"],
  ["{srta_get_expid = 12}", "print(srta.get_expid())", "12"],
  ["{time_now = 1743995833}", "print(time.now())", "1743995833"],
  ["{}", "print(srta.get_expid())", "0"],
])("hijack() that returns %s stands in", (table, body, printed) => {
  const data = makeData(["t1"]);
  data.did.bytes[1] = 5;
  data.openid.bytes[0] = 5;
  const outcome = run(`function hijack() return ${table} end ${main(body)}`, data);
  expect(outcome).toEqual({ printOutput: `${printed}\n`, error: "", targetsOutput: "{}" });
});

test("a table of hijack() stands in with what it was when it was returned, but for what is looked up", () => {
  const script = `local l = {"a"} function hijack() return {srta_get_targets = l} end ${main('l[1] = "b" print(srta.get_targets()[1])')}`;
  expect(run(script).printOutput).toBe("a\n");
});

test.each([
  ["nil", "hijack() must return a table, returned nil"],
  ["{time_date = 1}", "hijack(): nothing can stand in for time_date; there are srta_get_dsdata, srta_get_targets"],
  ["{constructor = 1}", "hijack(): nothing can stand in for constructor"],
  ["{1}", "hijack(): nothing can stand in for 1;"],
  ["{time_now = 1.5}", "hijack(): time_now: must be an integer, is 1.5"],
  ["{time_now = 1e15 // 1 | 0}", "hijack(): time_now: must be Unix seconds of the years 1000 to 9999"],
  ['{time_now = "1"}', "hijack(): time_now: must be a number, is a string"],
  ["{srta_get_os = 99}", "hijack(): srta_get_os: must be one of srta.OS_…, is 99"],
  ["{srta_get_os = function() end}", "hijack(): srta_get_os: must be a number, is a function"],
  ["{srta_get_expid = {}}", "hijack(): srta_get_expid: must be a number, is a table"],
  ["{srta_get_siteset = 0/0}", "hijack(): srta_get_siteset: must be an integer, is NaN"],
  ["{srta_get_targets = 1}", "hijack(): srta_get_targets: must be a table, is a number"],
  ["{srta_get_targets = {a = 1}}", "hijack(): srta_get_targets: must be a list, has the key a"],
  ['{srta_get_targets = {[1] = "a", [3] = "b"}}', "hijack(): srta_get_targets: must be a list, has holes"],
  ["{srta_get_targets = {true}}", "hijack(): srta_get_targets[1]: must be a string, is a boolean"],
  ["{srta_get_apps = {a = 1}}", "hijack(): srta_get_apps[a]: must be a boolean, is a number"],
  ["{srta_get_scores = {a = true}}", "hijack(): srta_get_scores[a]: must be a number, is a boolean"],
  ["{srta_get_dsdata = {[9] = {}}}", "hijack(): srta_get_dsdata[9]: there are srta.DS_DID and srta.DS_WUID"],
  [
    "{srta_get_dsdata = {[1] = {[4] = {}}}}",
    "hijack(): srta_get_dsdata[1][4]: there are srta.U8, srta.U32 and srta.FLAG",
  ],
  ["{srta_get_dsdata = {[1] = {[1] = {[129] = 1}}}}", "hijack(): srta_get_dsdata[1][1][129]: there are 1 to 128"],
  ["{srta_get_dsdata = {[1] = {[1] = {[0] = 1}}}}", "hijack(): srta_get_dsdata[1][1][0]: there are 1 to 128"],
  ["{srta_get_dsdata = {[1] = {[1] = {[1] = 256}}}}", "hijack(): srta_get_dsdata[1][1][1]: must be 0 to 255, is 256"],
  [
    "{srta_get_dsdata = {[2] = {[2] = {[1] = -1}}}}",
    "hijack(): srta_get_dsdata[2][2][1]: must be 0 to 4294967295, is -1",
  ],
  [
    "{srta_get_dsdata = {[1] = {[3] = {[1] = 1}}}}",
    "hijack(): srta_get_dsdata[1][3][1]: must be a boolean, is a number",
  ],
])("hijack() that returns %s is refused", (table, error) => {
  const outcome = hijack(table);
  expect(outcome.error).toContain(error);
  expect(outcome.targetsOutput).toBe("");
});

test("an error in hijack() names its line", () => {
  expect(run(`\nfunction hijack()\n local x = nil .. 1\nend ${main("")}`).error).toBe(
    "line 3: attempt to concatenate a nil value",
  );
});

test("get_dsdata of another dataspace is an error", () => {
  expect(run(main("srta.get_dsdata(3)")).error).toBe(
    "line 1: bad argument #1 to 'get_dsdata' (srta.DS_DID or srta.DS_WUID expected)",
  );
});

const ALL = `{[srta.TARGETINFO_CPC_FACTOR] = 2, [srta.TARGETINFO_ENABLE] = true, [srta.TARGETINFO_CPC_PRICE] = 1.25,
  [srta.TARGETINFO_CPA_PRICE] = 100, [srta.TARGETINFO_USER_WEIGHT_FACTOR] = 0.5}`;

test.each([
  ["{}", "{}"],
  [
    `{t = ${ALL}}`,
    '{"t": {"enable": true, "cpc_price": 1.25, "cpa_price": 100, "user_weight_factor": 0.5, "cpc_factor": 2}}',
  ],
  [
    "{b = {[srta.TARGETINFO_ENABLE] = false}, a = {}, [10] = {}, [9] = {}}",
    '{"10": {}, "9": {}, "a": {}, "b": {"enable": false}}',
  ],
  ["{[9007199254740993] = {}}", '{"9007199254740993": {}}'],
  ['{["__proto__"] = {}, [\'a"b\'] = {}}', '{"__proto__": {}, "a\\"b": {}}'],
])("main() that returns %s gives JSON in order", (results, json) => {
  expect(run(`function main() return ${results} end`)).toEqual({ printOutput: "", error: "", targetsOutput: json });
});

test.each([
  ["nil", "main() must return a table of results, returned nil"],
  ['"x"', "main() must return a table of results, returned string"],
  ["{t = 1}", 'main(): results["t"] must be a table, is a number'],
  ["{[1.5] = {}}", "main(): a key of results must be a target's id, is a number"],
  ["{[true] = {}}", "main(): a key of results must be a target's id, is a boolean"],
  ['{[1] = {}, ["1"] = {}}', 'main(): results has "1" as a string and as a number'],
  ["{t = {[9] = 1}}", 'main(): results["t"] may only have the keys srta.TARGETINFO_…'],
  ["{t = {enable = true}}", 'main(): results["t"] may only have the keys srta.TARGETINFO_…'],
  [
    "{t = {[srta.TARGETINFO_ENABLE] = 1}}",
    'main(): results["t"][srta.TARGETINFO_ENABLE] must be a boolean, is a number',
  ],
  ['{t = {[srta.TARGETINFO_CPC_PRICE] = "1"}}', "[srta.TARGETINFO_CPC_PRICE] must be a number, is a string"],
  ["{t = {[srta.TARGETINFO_CPC_PRICE] = 1/0}}", "[srta.TARGETINFO_CPC_PRICE] is Infinity"],
  ["{[('x'):rep(2000)] = {}}", "main(): a target's id in results has more than 1000 bytes"],
])("main() that returns %s is refused", (results, error) => {
  const outcome = run(`function main() return ${results} end`);
  expect(outcome.error).toContain(error);
  expect(outcome.targetsOutput).toBe("");
});
