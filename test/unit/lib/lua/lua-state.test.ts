import { expect, test } from "@jest/globals";
import { LuaOutOfMemory, LuaState, ScriptProblem } from "../../../../lib/lua/lua-state.ts";
import { compileLua } from "../../../../lib/lua/lua-wasm.ts";

const MB = 2 ** 20;
const module = await compileLua();

function makeState(memoryBytes = 32 * MB, onCount: () => void = () => undefined): LuaState {
  const state = new LuaState(module, { memoryBytes, onCount, count: 1_000 });
  state.protect(() => {
    state.openLibrary("base");
    state.openLibrary("string");
    state.setField(-2, "string");
    state.setGlobals();
  });
  state.keep();
  return state;
}

function evaluate(state: LuaState, source: string): string {
  let text = "";
  state.protect(() => {
    state.load(source, "chunk");
    state.call(0, 1);
    state.pushShown(-1);
    text = state.text(-1);
  });
  return text;
}

test("errors of Lua are problems of the script, with their place", () => {
  expect(() => evaluate(makeState(), "\nerror('bad')")).toThrow(new ScriptProblem("chunk:2: bad"));
});

test("memory never becomes larger than it may, also where the script goes on after that", () => {
  const state = makeState(24 * MB);
  const greedy = "local t = {} for i = 1, 1e7 do t[i] = string.rep('x', 1000) end";
  expect(() => evaluate(state, greedy)).toThrow(LuaOutOfMemory);
  expect(evaluate(state, `local ok, why = pcall(function() ${greedy} end) return why`)).toBe("not enough memory");
  expect(() => evaluate(state, "string.rep('x', 1 << 40)")).toThrow(/resulting string too large|memory/);
  expect(state.memory().length).toBeLessThanOrEqual(24 * MB);
});

test("restore makes the state what it was, but not once memory has grown", () => {
  const state = makeState(64 * MB);
  evaluate(state, "left = 1 string.left = 1");
  expect(evaluate(state, "return left")).toBe("1");
  expect(state.restore()).toBe(true);
  expect(evaluate(state, "return tostring(left) .. tostring(('').left)")).toBe("nilnil");
  evaluate(state, "return #string.rep('x', 17000000)");
  expect(state.restore()).toBe(false);
});

test("what the count throws goes through pcall and leaves a state that can be restored", () => {
  class Stop extends Error {}
  let calls = 0;
  const state = makeState(32 * MB, () => {
    calls += 1;
    if (calls === 1_000) throw new Stop();
  });
  expect(() => evaluate(state, "while true do pcall(function() while true do end end) end")).toThrow(Stop);
  expect(state.restore()).toBe(true);
  expect(evaluate(state, "return 1 + 1")).toBe("2");
});

test("bytecode is not loaded", () => {
  const state = makeState();
  expect(() => evaluate(state, "\x1bLua")).toThrow(/attempt to load a binary chunk/);
});

test("the file system and the environment that Lua was compiled with are not there", () => {
  const state = makeState();
  expect(() => evaluate(state, "return dofile('/etc/hostname')")).toThrow("which is not offered");
});
