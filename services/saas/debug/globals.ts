import type { LuaState } from "../../../lib/lua/lua-state.ts";
import { ScriptProblem } from "../../../lib/lua/lua-state.ts";
import { LIMITS, ScriptEnded } from "./script.ts";

const BASE = ["next", "tonumber", "tostring", "type", "ipairs", "pairs"] as const;

/** How many parts are made between two looks at the clock. */
const PARTS = 10_000;

/** Collects what `print` writes. */
export class Printed {
  #bytes = 0;
  #lines: string[] = [];

  get text(): string {
    return this.#lines.join("");
  }

  clear(): void {
    this.#bytes = 0;
    this.#lines = [];
  }

  /** Whether there is room for so many bytes more, which it then has taken. */
  takeRoom(bytes: number): boolean {
    this.#bytes += bytes;
    return this.#bytes <= LIMITS.outputBytes;
  }

  add(line: string): void {
    this.#lines.push(line);
  }
}

/** Puts the table of a script's globals on the stack: Lua's own that are harmless. `onWork` looks at the clock. */
export function pushGlobals(state: LuaState, printed: Printed, onWork: () => void): void {
  state.pushTable();
  const globals = state.top;
  state.openLibrary("base");
  for (const name of BASE) {
    state.pushField(-1, name);
    state.setField(globals, name);
  }
  state.pop();
  for (const name of ["string", "table", "math"] as const) {
    state.openLibrary(name);
    state.setField(globals, name);
  }
  state.pushField(globals, "table");
  state.pushField(-1, "unpack");
  state.setField(globals, "unpack");
  state.pop();
  state.pushFunction(() => print(state, printed));
  state.setField(globals, "print");
  state.pushField(globals, "string");
  state.pushFunction(() => split(state, onWork));
  state.setField(-2, "split");
  state.pop();
}

function print(state: LuaState, printed: Printed): number {
  const values = state.top;
  const texts: string[] = [];
  const takeRoom = (bytes: number) => {
    if (!printed.takeRoom(bytes)) throw new ScriptEnded(`${state.where(1)}the script printed more than 1 MB`);
  };
  for (let index = 1; index <= values; index += 1) {
    takeRoom(state.pushShown(index) + 1);
    texts.push(state.text(-1));
    state.pop();
  }
  if (values === 0) takeRoom(1);
  printed.add(`${texts.join("\t")}\n`);
  return 0;
}

/** The bytes between two separators, which is no pattern. */
function split(state: LuaState, onWork: () => void): number {
  for (const index of [1, 2]) {
    const type = state.type(index);
    if (type !== "string" && type !== "number") {
      throw new ScriptProblem(`bad argument #${index} to 'split' (string expected, got ${type})`);
    }
  }
  const text = state.place(1);
  const separator = state.place(2);
  if (separator.bytes === 0) throw new ScriptProblem("bad argument #2 to 'split' (must not be empty)");
  state.pushTable();
  let memory = state.memory();
  let parts = 0;
  let from = text.pointer;
  for (;;) {
    // The memory is another one after it has grown.
    if (memory.length === 0) memory = state.memory();
    const wanted = memory.subarray(separator.pointer, separator.pointer + separator.bytes);
    const found = memory.subarray(from, text.pointer + text.bytes).indexOf(wanted);
    parts += 1;
    state.pushBytes(from, found < 0 ? text.pointer + text.bytes - from : found);
    state.setItem(-2, parts);
    if (found < 0) return 1;
    from += found + separator.bytes;
    if (parts % PARTS === 0) onWork();
  }
}
