import { monitorEventLoopDelay } from "node:perf_hooks";
import { afterAll, expect, test } from "@jest/globals";
import { LuaDebugger } from "../../../../../services/saas/debug/lua-debugger.ts";
import { main, makeData } from "../../../../lua-scripts.ts";
import { waitFor } from "../../../../wait-for.ts";

const ENDLESS = main("while true do end");
const GOOD = `function main() print("good") return {t = {[srta.TARGETINFO_ENABLE] = true}} end`;
const GOOD_OUTCOME = { printOutput: "good\n", error: "", targetsOutput: '{"t": {"enable": true}}' };
const TOO_LONG = /^(line \d+: )?the script took more than 1 s of CPU$/;
const TOO_MUCH = /^the script needed more than 64 MB of memory$/;
const MB = 2 ** 20;
const stop = new AbortController();

// On a machine with other work a second of CPU can take longer than a script may take.
const lua = new LuaDebugger({ wallMs: 60_000 });
afterAll(() => lua.close());

function run(script: string, owner?: string, signal = AbortSignal.timeout(120_000)) {
  return lua.run(script, makeData(), { signal, owner });
}

/** Each thread holds one in this process. */
function threads(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "MessagePort").length;
}

test.each([
  ["an endless loop", "while true do end", TOO_LONG],
  ["an endless recursion", "local function f() return f() end f()", TOO_LONG],
  ["a deep recursion", "local function f() return 1 + f() end f()", /stack overflow|memory|nested/],
  ["a pattern that backtracks", 'string.find(("a"):rep(3e4), ".-.-.-.-.-b")', TOO_LONG],
  ["a pattern with many parts", 'string.find(("a"):rep(3e4), ("a-"):rep(3e4) .. "b")', /pattern too complex/],
  ["a loop of long functions", 'local s = ("a"):rep(1e7) while true do local x = s:upper() end', TOO_LONG],
  ["a long text", 'string.rep("x", 1e9)', TOO_MUCH],
  ["a text that doubles", 'local s = "x" while true do s = s .. s end', TOO_MUCH],
  ["many texts", 'local t = {} while true do t[#t + 1] = ("x"):rep(1e5) .. #t end', TOO_MUCH],
  ["a table that grows", "local t = {} for i = 1, 1e9 do t[i] = i end", TOO_MUCH],
  ["a long concatenation", 'local t = {} for i = 1, 100 do t[i] = ("x"):rep(1e7) .. i end', TOO_MUCH],
  ["many results", "return unpack({}, 1, 1e8)", /too many results to unpack/],
  ["a wide format", 'string.format("%99999d", 1)', /invalid conversion/],
  ["calls that nest in C", 'local function f() return ("x"):gsub(".", f) end f()', /C stack overflow/],
  ["split into too many parts", 'string.split((","):rep(2e7), ",")', /memory|CPU/],
  [
    "a sort that never is in order",
    "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.sort(t, function() return true end) end",
    /invalid order function|CPU/,
  ],
  ["output without end", "while true do print(1, 2, 3) end", /^line 1: the script printed more than 1 MB$/],
  ["one long output", 'print(("x"):rep(2e6))', /^line 1: the script printed more than 1 MB$/],
  ["results without end", "local r = {} for i = 1, 2e5 do r[i] = {} end return r", /more than 1 MB of JSON/],
])("%s ends in an error, and the next script is unharmed", async (_name, body, error) => {
  const outcome = await run(`function main() ${body} end`);
  expect(outcome.error).toMatch(error);
  expect(outcome.targetsOutput).toBe("");
  expect(outcome.printOutput.length).toBeLessThanOrEqual(1_000_000);
  expect(await run(GOOD)).toEqual(GOOD_OUTCOME);
});

test.each([
  ["a list that repeats a text", "{srta_get_targets = l}", /is more than 1 MB/],
  ["a list with a hole that has no end", '{srta_get_targets = {[2^52 | 0] = "x"}}', /has holes|must be a list/],
])("hijack() with %s ends in an error", async (_name, table, error) => {
  const list = 'local s, l = ("x"):rep(1e5), {} for i = 1, 1e5 do l[i] = s end';
  expect((await run(`${list} function hijack() return ${table} end ${main("")}`)).error).toMatch(error);
  expect(await run(GOOD)).toEqual(GOOD_OUTCOME);
});

test("a script of more than 1 MB is not run, one of nearly 1 MB is", async () => {
  expect((await run(`${GOOD}${" ".repeat(1_000_000)}`)).error).toBe("the script is longer than 1 MB");
  expect(await run(`${GOOD}${" ".repeat(990_000)}`)).toEqual(GOOD_OUTCOME);
});

test("code that is nested deep, or has no end of constants, is an error", async () => {
  expect((await run(`${"(".repeat(400_000)}`)).error).toMatch(/overflow|nested|limit/);
  expect((await run(`x = ${"{".repeat(400_000)}`)).error).toMatch(/overflow|nested|limit/);
  expect((await run(`x = ${"'a'..".repeat(190_000)}'a'`)).error).toMatch(/overflow|nested|limit|too complex|registers/);
  expect(await run(GOOD)).toEqual(GOOD_OUTCOME);
});

test("memory of the process stays bounded, however many scripts want all that they may have", async () => {
  const greedy = "local t = {} for i = 1, 1e9 do t[i] = i end";
  for (let round = 0; round < 2; round += 1) await Promise.all([run(main(greedy)), run(main(greedy))]);
  const before = process.memoryUsage.rss();
  for (let round = 0; round < 15; round += 1) await Promise.all([run(main(greedy)), run(main(greedy))]);
  expect(process.memoryUsage.rss() - before).toBeLessThan(2 * 64 * MB);
});

test("100 endless scripts leave the main loop alone, and another's script gets through", async () => {
  let ended = 0;
  const endless = async () => {
    const outcome = await run(ENDLESS, "endless", stop.signal);
    ended += 1;
    return outcome;
  };
  const all = Promise.allSettled(Array.from({ length: 100 }, endless));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  for (let count = 0; count < 3; count += 1) expect(await run(GOOD, "good")).toEqual(GOOD_OUTCOME);
  // Owners take turns: those that run end before each of the three, and what the other thread has meanwhile. In a line it were 98.
  expect(ended).toBeLessThan(20);
  delay.disable();
  expect(delay.percentile(99) / 1e6).toBeLessThan(30);
  stop.abort(new Error("enough"));
  const outcomes = await all;
  expect(outcomes.some((outcome) => outcome.status === "fulfilled" && TOO_LONG.test(outcome.value.error))).toBe(true);
  expect(outcomes.some((outcome) => outcome.status === "rejected")).toBe(true);
  expect(await run(GOOD)).toEqual(GOOD_OUTCOME);
});

test("aborting stops a script at once, and one that waits is never run", async () => {
  const small = new LuaDebugger({ threads: 1 });
  const first = new AbortController();
  const second = new AbortController();
  await small.run(GOOD, makeData(), { signal: first.signal });
  const running = small.run(ENDLESS, makeData(), { signal: first.signal });
  const waiting = small.run(GOOD, makeData(), { signal: second.signal });
  second.abort(new Error("second"));
  await expect(waiting).rejects.toThrow("second");
  const aborted = performance.now();
  first.abort(new Error("first"));
  await expect(running).rejects.toThrow("first");
  expect(performance.now() - aborted).toBeLessThan(500);
  expect(await small.run(GOOD, makeData(), { signal: AbortSignal.timeout(60_000) })).toEqual(GOOD_OUTCOME);
  await small.close();
});

test("a thread without a script ends, and another one begins", async () => {
  const before = threads();
  const small = new LuaDebugger({ threads: 1, idleMs: 50 });
  const { signal } = new AbortController();
  for (let round = 0; round < 2; round += 1) {
    expect(await small.run(GOOD, makeData(), { signal })).toEqual(GOOD_OUTCOME);
    await waitFor(() => threads() === before);
  }
  await small.close();
});

test("close ends what runs and waits; nothing runs afterwards", async () => {
  const small = new LuaDebugger({ threads: 1 });
  const { signal } = new AbortController();
  await small.run(GOOD, makeData(), { signal });
  const all = Promise.allSettled([1, 2, 3].map(() => small.run(ENDLESS, makeData(), { signal })));
  const closed = performance.now();
  await small.close();
  expect(performance.now() - closed).toBeLessThan(500);
  for (const outcome of await all) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { type: "UNAVAILABLE" } });
  }
  await expect(small.run(GOOD, makeData(), { signal })).rejects.toMatchObject({ type: "UNAVAILABLE" });
});

test("scripts see the time zone that is set; one that is none is refused", async () => {
  expect(() => new LuaDebugger({ timeZone: "Nowhere/Land" })).toThrow(RangeError);
  const berlin = new LuaDebugger({ timeZone: "Europe/Berlin", threads: 1 });
  const outcome = await berlin.run(main("print(time.hour(0))"), makeData(), { signal: AbortSignal.timeout(60_000) });
  expect(outcome.printOutput).toBe("1\n");
  await berlin.close();
});
