import type { LuaExports } from "./lua-wasm.ts";
import { addFunction, addHook, entryOf, instantiateLua } from "./lua-wasm.ts";

const REGISTRY = -1_001_000;
const GLOBALS = 2n;
const MULTIPLE = -1;
const MASK_COUNT = 8;
const OUT_OF_MEMORY = 4;
const TYPES = ["nil", "boolean", "userdata", "number", "string", "table", "function", "userdata", "thread"] as const;

export type LuaType = (typeof TYPES)[number] | "no value";

/** An error of the script that a function given to it, or whoever reads its results, has found. */
export class ScriptProblem extends Error {}

/** The state needed more memory than it may have. */
export class LuaOutOfMemory extends Error {}

export interface LuaStateOptions {
  memoryBytes: number;
  /** Called after so many instructions; what it throws ends the script for good. */
  onCount: () => void;
  count: number;
}

/** Results are what the function has pushed; it answers how many. */
export type HostFunction = () => number;

/**
 * A Lua state and its stack, in the terms of the C API (https://www.lua.org/manual/5.4/manual.html#4.1). Only numbers, booleans and
 * texts come in, and only functions that the owner adds: no object of JavaScript. After an error of JavaScript went through it, its
 * only use is `restore`.
 */
export class LuaState {
  readonly #lua: LuaExports;
  readonly #state: number;
  /** Where `lua_tolstring` and others write what they tell besides. */
  readonly #out: number;
  readonly #tasks: (() => void)[] = [];
  readonly #task: number;
  #image: { bytes: Uint8Array; size: number; stack: number } | undefined;

  constructor(module: WebAssembly.Module, options: LuaStateOptions) {
    this.#lua = instantiateLua(module, options.memoryBytes);
    this.#state = this.#lua.luaL_newstate();
    this.#out = this.#lua.malloc(8);
    this.#task = addFunction(this.#lua, () => {
      this.#tasks.at(-1)!();
      return 0;
    });
    this.#lua.lua_sethook(this.#state, addHook(this.#lua, options.onCount), MASK_COUNT, options.count);
  }

  /** What `restore` goes back to. */
  keep(): void {
    const all = new Uint8Array(this.#lua.memory.buffer);
    let used = all.length;
    while (used > 0 && all[used - 1] === 0) used -= 1;
    this.#image = { bytes: all.slice(0, used), size: all.length, stack: this.#lua.stackSave() };
  }

  /** Makes every byte what it was; false where memory has grown, which cannot be taken back. */
  restore(): boolean {
    if (!this.#image || this.#lua.memory.buffer.byteLength > this.#image.size) return false;
    const all = new Uint8Array(this.#lua.memory.buffer);
    all.set(this.#image.bytes);
    all.fill(0, this.#image.bytes.length);
    this.#lua.stackRestore(this.#image.stack);
    this.#tasks.length = 0;
    return true;
  }

  /** Runs it so that errors of Lua come back as ScriptProblem and want of memory as LuaOutOfMemory. */
  protect(task: () => void): void {
    this.#tasks.push(task);
    this.#lua.lua_pushcclosure(this.#state, this.#task, 0);
    const status = this.#lua.lua_pcallk(this.#state, 0, 0, 0, 0, 0);
    this.#tasks.pop();
    if (status === 0) return;
    if (status === OUT_OF_MEMORY) throw new LuaOutOfMemory();
    const message = this.text(-1);
    this.pop();
    throw new ScriptProblem(message);
  }

  /** Makes a library and puts it on the stack. */
  openLibrary(name: "base" | "string" | "table" | "math"): void {
    const open = entryOf(this.#lua, this.#lua[`luaopen_${name}`]);
    this.#withText(name === "base" ? "_G" : name, (text) => this.#lua.luaL_requiref(this.#state, text, open, 0));
  }

  /** The table on top of the stack becomes the global environment of scripts that are loaded from now on. */
  setGlobals(): void {
    this.#lua.lua_rawseti(this.#state, REGISTRY, GLOBALS);
  }

  /** Compiles the source, no bytecode, and pushes the function that runs it. */
  load(source: string, name: string): void {
    this.#lua.lua_checkstack(this.#state, 20);
    const status = this.#withText(source, (text, bytes) =>
      this.#withText(`=${name}`, (chunk) =>
        this.#withText("t", (mode) => this.#lua.luaL_loadbufferx(this.#state, text, bytes, chunk, mode)),
      ),
    );
    if (status !== 0) this.#lua.lua_error(this.#state);
  }

  /** Calls the function under so many values; where `results` is not said, all of them stay. */
  call(values: number, results = MULTIPLE): void {
    this.#lua.lua_callk(this.#state, values, results, 0, 0);
  }

  get top(): number {
    return this.#lua.lua_gettop(this.#state);
  }

  pop(count = 1): void {
    this.#lua.lua_settop(this.#state, -count - 1);
  }

  /** The text becomes an error at the line that called the function which runs now. */
  raise(message: string): never {
    this.#lua.luaL_where(this.#state, 1);
    this.pushText(message);
    this.#lua.lua_concat(this.#state, 2);
    this.#lua.lua_error(this.#state);
    throw new Error("lua_error came back");
  }

  /** `name:line: ` of what runs now (0) or has called it (1); empty where that is not a script. */
  where(level: 0 | 1): string {
    this.#lua.luaL_where(this.#state, level);
    const place = this.text(-1);
    this.pop();
    return place;
  }

  /** Pushes a function for scripts; a ScriptProblem that it throws is an error of the line that called it. */
  pushFunction(call: HostFunction): void {
    const entry = addFunction(this.#lua, () => {
      try {
        return call();
      } catch (error) {
        if (error instanceof ScriptProblem) return this.raise(error.message);
        throw error;
      }
    });
    this.#lua.lua_pushcclosure(this.#state, entry, 0);
  }

  pushNil(): void {
    this.#lua.lua_pushnil(this.#state);
  }

  pushBoolean(value: boolean): void {
    this.#lua.lua_pushboolean(this.#state, value ? 1 : 0);
  }

  pushInteger(value: number): void {
    this.#lua.lua_pushinteger(this.#state, BigInt(value));
  }

  pushText(value: string): void {
    this.#withText(value, (text, bytes) => this.#lua.lua_pushlstring(this.#state, text, bytes));
  }

  pushCopy(index: number): void {
    this.#lua.lua_pushvalue(this.#state, index);
  }

  /** Pushes a table; room for so many items and fields is made at once. */
  pushTable(items = 0, fields = 0): void {
    this.#lua.lua_createtable(this.#state, items, fields);
  }

  pushGlobal(name: string): LuaType {
    this.#withText(name, (text) => this.#lua.lua_getglobal(this.#state, text));
    return this.type(-1);
  }

  pushField(index: number, name: string): LuaType {
    this.#withText(name, (text) => this.#lua.lua_getfield(this.#state, index, text));
    return this.type(-1);
  }

  /** Pops a value into the table's field. */
  setField(index: number, name: string): void {
    this.#withText(name, (text) => this.#lua.lua_setfield(this.#state, index, text));
  }

  /** Pops a value into the table's item. */
  setItem(index: number, item: number): void {
    this.#lua.lua_rawseti(this.#state, index, BigInt(item));
  }

  /** What the table has for the value on top of the stack, in its place. */
  lookUp(index: number): void {
    this.#lua.lua_rawget(this.#state, index);
  }

  /** Keeps the value on top of the stack where scripts cannot see it. */
  remember(name: string): void {
    this.setField(REGISTRY, name);
  }

  pushRemembered(name: string): LuaType {
    return this.pushField(REGISTRY, name);
  }

  /** The key is at -2 and the value at -1 at each call, and must be there after it. */
  eachPair(index: number, visit: () => void): void {
    const table = this.#lua.lua_absindex(this.#state, index);
    this.#lua.lua_checkstack(this.#state, 20);
    this.pushNil();
    while (this.#lua.lua_next(this.#state, table) !== 0) {
      visit();
      this.pop();
    }
  }

  type(index: number): LuaType {
    return TYPES[this.#lua.lua_type(this.#state, index)] ?? "no value";
  }

  boolean(index: number): boolean {
    return this.#lua.lua_toboolean(this.#state, index) !== 0;
  }

  isInteger(index: number): boolean {
    return this.#lua.lua_isinteger(this.#state, index) !== 0;
  }

  /** A number, also of a text that is one; NaN of anything else. */
  number(index: number): number {
    const value = this.#lua.lua_tonumberx(this.#state, index, this.#out);
    return this.#view().getInt32(this.#out, true) === 0 ? NaN : value;
  }

  /** The text of a text or number; what is not UTF-8 in it is replaced. */
  text(index: number): string {
    // Of a number it would make a text in its place, which the walk through a table does not survive.
    this.pushCopy(index);
    const { pointer, bytes } = this.place(-1);
    const text = Buffer.from(this.#lua.memory.buffer, pointer, bytes).toString();
    this.pop();
    return text;
  }

  /** Pushes what `tostring` gives, and answers how many bytes it has. */
  pushShown(index: number): number {
    this.#lua.luaL_tolstring(this.#state, index, this.#out);
    return this.#view().getUint32(this.#out, true);
  }

  /** Where the bytes of a text are, as long as it is on the stack. */
  place(index: number): { pointer: number; bytes: number } {
    const pointer = this.#lua.lua_tolstring(this.#state, index, this.#out);
    return { pointer, bytes: pointer === 0 ? 0 : this.#view().getUint32(this.#out, true) };
  }

  /** The memory as it is now; it is another one after it has grown. */
  memory(): Buffer {
    return Buffer.from(this.#lua.memory.buffer);
  }

  pushBytes(pointer: number, bytes: number): void {
    this.#lua.lua_pushlstring(this.#state, pointer, bytes);
  }

  #view(): DataView {
    return new DataView(this.#lua.memory.buffer);
  }

  #withText<Result>(text: string, use: (pointer: number, bytes: number) => Result): Result {
    const bytes = Buffer.from(text);
    const pointer = this.#lua.malloc(bytes.length + 1);
    if (pointer === 0) throw new LuaOutOfMemory();
    const memory = this.memory();
    memory.set(bytes, pointer);
    memory[pointer + bytes.length] = 0;
    try {
      return use(pointer, bytes.length);
    } finally {
      this.#lua.free(pointer);
    }
  }
}
