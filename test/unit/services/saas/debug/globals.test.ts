import { expect, test } from "@jest/globals";
import { main, makeData, makeSandbox } from "../../../../lua-scripts.ts";

const sandbox = makeSandbox();

function run(script: string) {
  return sandbox.run(script, makeData());
}

test("a script finds the documented globals and no other", () => {
  const outcome = run(main("local n = {} for k in pairs(_ENV) do n[#n + 1] = k end table.sort(n) print(unpack(n))"));
  const names = "ipairs main math next pairs print srta string table time tonumber tostring type unpack".split(" ");
  expect(outcome).toEqual({ printOutput: `${names.join("\t")}\n`, error: "", targetsOutput: "{}" });
});

test.each(["io", "os", "require", "load", "loadstring", "dofile", "debug", "coroutine", "collectgarbage", "rawget"])(
  "there is no %s",
  (name) => {
    expect(run(main(`print(${name})`)).printOutput).toBe("nil\n");
  },
);

test.each(["_G", "package", "setmetatable", "getmetatable", "rawset", "pcall", "error", "warn", "utf8", "select"])(
  "nor %s",
  (name) => {
    expect(run(main(`print(${name})`)).printOutput).toBe("nil\n");
  },
);

test.each([
  ['print("a", 1, 1.5, 2^53, nil, true)', "a\t1\t1.5\t9.007199254741e+15\tnil\ttrue\n"],
  ["print()", "\n"],
  ['print("wörter 世界")', "wörter 世界\n"],
  ['print("\\xff")', "\ufffd\n"],
  ["print(unpack({1, 2, 3}, 2))", "2\t3\n"],
  ['print(tonumber("0x10"), tostring(1 // 1), type({}))', "16\t1\ttable\n"],
  ["print(math.floor(3.7), math.max(1, 5), math.type(1.0))", "3\t5\tfloat\n"],
  ['print(table.concat({1, 2}, "-"), select)', "1-2\tnil\n"],
  ['print(("x"):rep(3), string.format("%05.1f", 2.25), ("abc"):gsub("b", "%0%0"))', "xxx\t002.2\tabbc\t1\n"],
  ["print(7 // 2, 7 / 2, 7 & 3, 1 << 4, 10 % 3)", "3\t3.5\t3\t16\t1\n"],
  ["goto done do print(1) end ::done:: print(2)", "2\n"],
])("%s", (body, printed) => {
  expect(run(main(body))).toEqual({ printOutput: printed, error: "", targetsOutput: "{}" });
});

test.each([
  ['"a,b,,c", ","', ["a", "b", "", "c"]],
  ['"", ","', [""]],
  ['"abc", "%a"', ["abc"]],
  ['"a--b--", "--"', ["a", "b", ""]],
  ['"世|界", "|"', ["世", "界"]],
  ["12345, 3", ["12", "45"]],
  ['"a\\0b\\0c", "\\0"', ["a", "b", "c"]],
])("string.split(%s)", (values, parts) => {
  const body = `local p = string.split(${values}) print(#p) for _, part in ipairs(p) do print(part) end`;
  expect(run(main(body)).printOutput).toBe([parts.length, ...parts, ""].join("\n"));
});

test("string.split takes many parts while memory grows, and is a method of texts", () => {
  const body = 'local s = ("ab,"):rep(300000) local p = s:split(",") print(#p, p[1], p[300000], p[300001] == "")';
  expect(run(main(body))).toMatchObject({ printOutput: "300001\tab\tab\ttrue\n", error: "" });
});

test.each([
  ['string.split("a", "")', "line 1: bad argument #2 to 'split' (must not be empty)"],
  ["string.split(nil, ',')", "line 1: bad argument #1 to 'split' (string expected, got nil)"],
  ["string.split('a')", "line 1: bad argument #2 to 'split' (string expected, got no value)"],
  ["\n\nlocal x = nil + 1", "line 3: attempt to perform arithmetic on a nil value"],
  ["\nlocal t = {} t.a.b = 1", "line 2: attempt to index a nil value (field 'a')"],
  ["\nreturn string.rep()", "line 2: bad argument #1 to 'rep' (string expected, got no value)"],
  ["undefined()", "line 1: attempt to call a nil value (global 'undefined')"],
])("the error of %j names its line", (body, error) => {
  expect(run(`function main() ${body} end`)).toEqual({ printOutput: "", error, targetsOutput: "" });
});

test.each([
  ["x y", "line 1: syntax error near 'y'"],
  ["local a\n\n= = 1", "line 3: unexpected symbol near '='"],
  ["", "the script must define main()"],
  ["main = 1", "main must be a function, is a number"],
  ["hijack = {} function main() return {} end", "hijack must be a function, is a table"],
  ["print(1)\nnil_function()", "line 2: attempt to call a nil value (global 'nil_function')"],
  ["\x1bLua", "line 1: attempt to load a binary chunk (mode is 't')"],
])("the script %j is refused", (script, error) => {
  const outcome = run(script);
  expect(outcome.error.replace(/^line:/, "")).toContain(error.replace(/^line 1: attempt to load/, "attempt to load"));
  expect(outcome.targetsOutput).toBe("");
});

test("what was printed before an error is told", () => {
  expect(run(main('print("before") local x = nil .. ""'))).toMatchObject({ printOutput: "before\n" });
});

test("nothing of a script is left for the next one", () => {
  const spoil = `
    leaked = "secret"
    string.leaked = "secret"
    math.floor = nil
    srta.DS_DID = "secret"
    time.now = function() return "secret" end
    print = nil
    function hijack() return {srta_get_apps = {secret = true}, srta_get_scores = {secret = 1}, srta_get_os = srta.OS_IOS} end
    function main() return {secret = {}} end`;
  expect(run(spoil)).toEqual({ printOutput: "", error: "", targetsOutput: '{"secret": {}}' });
  const body = `print(leaked, string.leaked, ("").leaked, math.floor(1.5), srta.DS_DID, type(time.now()))
    print(srta.get_apps("secret"), srta.get_scores("secret"), srta.get_os() == srta.OS_ANDROID)`;
  expect(run(main(body))).toEqual({
    printOutput: "nil\tnil\tnil\t1\t1\tnumber\nnil\tnil\ttrue\n",
    error: "",
    targetsOutput: "{}",
  });
});
