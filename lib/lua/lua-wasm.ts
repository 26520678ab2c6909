/**
 * Lua 5.4 as WebAssembly, which the package wasmoon brings. Its JavaScript is not used: it gives Lua a file system and
 * JavaScript objects, and keeps memory in bounds only where the script lets it. Here Lua can call what it is given, nothing else.
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const FILE = createRequire(import.meta.url).resolve("wasmoon/dist/glue.wasm");
const PAGE = 65_536;

/** Goes through the frames between `lua_error` and the protected call that catches it. */
const LONG_JUMP = Symbol("longjmp");

/** What is used of the C API of Lua (https://www.lua.org/manual/5.4/manual.html#4) and of the C runtime under it. */
export interface LuaExports {
  memory: WebAssembly.Memory;
  __indirect_function_table: WebAssembly.Table;
  __wasm_call_ctors(): void;
  stackSave(): number;
  stackRestore(pointer: number): void;
  setThrew(threw: number, value: number): void;
  malloc(bytes: number): number;
  free(pointer: number): void;
  luaL_newstate(): number;
  luaL_requiref(state: number, name: number, opener: number, global: number): void;
  luaL_loadbufferx(state: number, text: number, bytes: number, name: number, mode: number): number;
  luaL_tolstring(state: number, index: number, length: number): number;
  luaL_where(state: number, level: number): void;
  lua_callk(state: number, values: number, results: number, context: number, then: number): void;
  lua_pcallk(state: number, values: number, results: number, handler: number, context: number, then: number): number;
  lua_error(state: number): number;
  lua_checkstack(state: number, slots: number): number;
  lua_gettop(state: number): number;
  lua_settop(state: number, index: number): void;
  lua_absindex(state: number, index: number): number;
  lua_pushvalue(state: number, index: number): void;
  lua_pushnil(state: number): void;
  lua_pushboolean(state: number, value: number): void;
  lua_pushnumber(state: number, value: number): void;
  lua_pushinteger(state: number, value: bigint): void;
  lua_pushlstring(state: number, text: number, bytes: number): number;
  lua_pushcclosure(state: number, entry: number, upvalues: number): void;
  lua_createtable(state: number, items: number, fields: number): void;
  lua_getglobal(state: number, name: number): number;
  lua_getfield(state: number, index: number, name: number): number;
  lua_setfield(state: number, index: number, name: number): void;
  lua_rawget(state: number, index: number): number;
  lua_rawgeti(state: number, index: number, item: bigint): number;
  lua_rawseti(state: number, index: number, item: bigint): void;
  lua_next(state: number, index: number): number;
  lua_type(state: number, index: number): number;
  lua_typename(state: number, type: number): number;
  lua_isinteger(state: number, index: number): number;
  lua_toboolean(state: number, index: number): number;
  lua_tonumberx(state: number, index: number, converted: number): number;
  lua_tointegerx(state: number, index: number, converted: number): bigint;
  lua_tolstring(state: number, index: number, length: number): number;
  lua_concat(state: number, values: number): void;
  lua_sethook(state: number, hook: number, mask: number, count: number): void;
  luaopen_base(state: number): number;
  luaopen_string(state: number): number;
  luaopen_table(state: number): number;
  luaopen_math(state: number): number;
}

export async function compileLua(): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await readFile(FILE));
}

/** A Lua of its own, whose memory never becomes larger than so many bytes: what wants more is told that there is none. */
export function instantiateLua(module: WebAssembly.Module, memoryBytes: number): LuaExports {
  const imports: Record<string, Record<string, WebAssembly.ImportValue>> = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    const refuse = () => {
      throw new Error(`Lua called ${name}, which is not offered`);
    };
    (imports[from] ??= {})[name] = refuse;
  }
  // eslint-disable-next-line prefer-const -- the functions given to it use it
  let lua: LuaExports;
  Object.assign(imports.env!, {
    emscripten_date_now: () => Date.now(),
    emscripten_resize_heap: (wanted: number) => grow(lua.memory, wanted >>> 0, memoryBytes),
    _emscripten_throw_longjmp: () => {
      throw LONG_JUMP;
    },
    invoke_vii: (entry: number, first: number, second: number) => {
      const stack = lua.stackSave();
      try {
        (lua.__indirect_function_table.get(entry) as (first: number, second: number) => void)(first, second);
      } catch (error) {
        // Anything else is from this side and ends the script, whoever in it would catch errors.
        if (error !== LONG_JUMP) throw error;
        lua.stackRestore(stack);
        lua.setThrew(1, 0);
      }
    },
  });
  // No environment variables: the counts stay 0.
  Object.assign(imports.wasi_snapshot_preview1!, { environ_sizes_get: () => 0, environ_get: () => 0 });
  lua = new WebAssembly.Instance(module, imports).exports as unknown as LuaExports;
  lua.__wasm_call_ctors();
  return lua;
}

function grow(memory: WebAssembly.Memory, wanted: number, most: number): 0 | 1 {
  if (wanted > most) return 0;
  const now = memory.buffer.byteLength;
  const next = Math.min(most, Math.max(wanted, 2 * now));
  memory.grow(Math.ceil((next - now) / PAGE));
  return 1;
}

/**
 * Tables of functions take only functions of WebAssembly: this module imports `e.f` with so many parameters of i32 and
 * exports it as `f` (https://webassembly.github.io/spec/core/binary/modules.html).
 */
function wrapperModule(parameters: number, results: number): WebAssembly.Module {
  const I32 = 0x7f;
  const type = [0x60, parameters, ...Array<number>(parameters).fill(I32), results, ...Array<number>(results).fill(I32)];
  return new WebAssembly.Module(
    Uint8Array.from([
      ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
      ...[0x01, type.length + 1, 0x01, ...type],
      ...[0x02, 0x07, 0x01, 0x01, 0x65, 0x01, 0x66, 0x00, 0x00],
      ...[0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00],
    ]),
  );
}

/** A function as Lua calls it: given the state, it answers how many results it has pushed. */
const FUNCTION = wrapperModule(1, 1);
/** A hook: given the state and where it is. */
const HOOK = wrapperModule(2, 0);

export function addFunction(lua: LuaExports, call: (state: number) => number): number {
  return addEntry(lua, FUNCTION, call);
}

export function addHook(lua: LuaExports, call: () => void): number {
  return addEntry(lua, HOOK, call);
}

function addEntry(lua: LuaExports, wrapper: WebAssembly.Module, call: WebAssembly.ImportValue): number {
  const entry = lua.__indirect_function_table.grow(1);
  lua.__indirect_function_table.set(entry, new WebAssembly.Instance(wrapper, { e: { f: call } }).exports.f);
  return entry;
}

/** The place of a function of Lua's own in the table, for a call that wants a pointer. */
export function entryOf(lua: LuaExports, call: (state: number) => number): number {
  const entry = lua.__indirect_function_table.grow(1);
  lua.__indirect_function_table.set(entry, call);
  return entry;
}
