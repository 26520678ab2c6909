import type { LuaState } from "../../../lib/lua/lua-state.ts";
import { ScriptProblem } from "../../../lib/lua/lua-state.ts";
import { OPERATING_SYSTEMS, SRTA } from "./srta-constants.ts";
import type { UserData } from "./script.ts";
import { LIMITS } from "./script.ts";
import { isInRange } from "./zone-clock.ts";

/** The three regions of a record, as scripts see them. */
export interface Regions {
  [SRTA.U8]: number[];
  [SRTA.U32]: number[];
  [SRTA.FLAG]: boolean[];
}

export function regionsOf({ bytes, uint32s, flags }: UserData): Regions {
  return { [SRTA.U8]: [...bytes], [SRTA.U32]: [...uint32s], [SRTA.FLAG]: [...flags] };
}

/** What the functions give: at first what is known of the user, then what `hijack()` says instead. */
export interface Given {
  dsdata: Record<number, Regions>;
  targets: readonly string[];
  os: number;
  siteset: number;
  expid: number;
  now: () => number;
}

/** The tables that `get_apps` and `get_scores` look things up in are remembered under these names. */
export const LOOKED_UP = { apps: "srta_get_apps", scores: "srta_get_scores" } as const;

type Reader = (state: LuaState, given: Given, name: string) => void;

const READERS: Record<string, Reader> = {
  srta_get_dsdata: readDsdata,
  srta_get_targets: (state, given, name) => (given.targets = readList(state, name)),
  srta_get_apps: (state, _given, name) => readLookedUp(state, name, "boolean"),
  srta_get_scores: (state, _given, name) => readLookedUp(state, name, "number"),
  srta_get_os: (state, given, name) => {
    given.os = readInteger(state, name);
    if (!OPERATING_SYSTEMS.includes(given.os)) throw wrong(name, `must be one of srta.OS_…, is ${given.os}`);
  },
  srta_get_siteset: (state, given, name) => (given.siteset = readInteger(state, name)),
  srta_get_expid: (state, given, name) => (given.expid = readInteger(state, name)),
  time_now: (state, given, name) => {
    const now = readInteger(state, name);
    if (!isInRange(now)) throw wrong(name, "must be Unix seconds of the years 1000 to 9999");
    given.now = () => now;
  },
};

/** Reads what `hijack()` has returned, which is on top of the stack. */
export function readStandIns(state: LuaState, given: Given): void {
  const type = state.type(-1);
  if (type !== "table") throw new ScriptProblem(`hijack() must return a table, returned ${type}`);
  state.eachPair(-1, () => {
    const name = showKey(state);
    const read = state.type(-2) === "string" && Object.hasOwn(READERS, name) ? READERS[name] : undefined;
    if (!read) {
      const known = Object.keys(READERS).join(", ");
      throw new ScriptProblem(`hijack(): nothing can stand in for ${name}; there are ${known}`);
    }
    read(state, given, name);
  });
}

function wrong(path: string, why: string): ScriptProblem {
  return new ScriptProblem(`hijack(): ${path}: ${why}`);
}

/** The key of the pair that is on top of the stack, short enough for an error. */
function showKey(state: LuaState): string {
  state.pushShown(-2);
  const text = state.text(-1);
  state.pop();
  return text.slice(0, 80);
}

function mustBe(state: LuaState, path: string, wanted: "table" | "boolean" | "number"): void {
  const type = state.type(-1);
  if (type !== wanted) throw wrong(path, `must be a ${wanted}, is ${type === "nil" ? "nil" : `a ${type}`}`);
}

function readInteger(state: LuaState, path: string): number {
  mustBe(state, path, "number");
  const value = state.number(-1);
  if (!Number.isSafeInteger(value)) throw wrong(path, `must be an integer, is ${value}`);
  return value;
}

function readList(state: LuaState, path: string): string[] {
  mustBe(state, path, "table");
  const texts: string[] = [];
  let bytes = 0;
  let items = 0;
  state.eachPair(-1, () => {
    const item = state.type(-2) === "number" ? state.number(-2) : NaN;
    const isText = state.type(-1) === "string" || (state.type(-1) === "number" && state.isInteger(-1));
    if (!Number.isInteger(item) || item < 1) throw wrong(path, `must be a list, has the key ${showKey(state)}`);
    if (!isText) throw wrong(`${path}[${item}]`, `must be a string, is a ${state.type(-1)}`);
    // The bytes of a number would be made in its place.
    bytes += state.type(-1) === "string" ? state.place(-1).bytes : 1;
    if (bytes > LIMITS.outputBytes) throw wrong(path, "is more than 1 MB");
    texts[item - 1] = state.text(-1);
    items += 1;
  });
  if (items !== texts.length) throw wrong(path, "must be a list, has holes");
  return texts;
}

function readLookedUp(state: LuaState, path: string, wanted: "boolean" | "number"): void {
  mustBe(state, path, "table");
  state.eachPair(-1, () => mustBe(state, `${path}[${showKey(state)}]`, wanted));
  state.pushCopy(-1);
  state.remember(path);
}

function readDsdata(state: LuaState, given: Given, name: string): void {
  mustBe(state, name, "table");
  state.eachPair(-1, () => {
    const ds = state.type(-2) === "number" ? state.number(-2) : NaN;
    const regions = given.dsdata[ds];
    const path = `${name}[${showKey(state)}]`;
    if (!regions) throw wrong(path, "there are srta.DS_DID and srta.DS_WUID");
    mustBe(state, path, "table");
    state.eachPair(-1, () => {
      const region = state.type(-2) === "number" ? state.number(-2) : NaN;
      readRegion(state, regions, region, `${path}[${showKey(state)}]`);
    });
  });
}

function readRegion(state: LuaState, regions: Regions, region: number, path: string): void {
  if (region !== SRTA.U8 && region !== SRTA.U32 && region !== SRTA.FLAG) {
    throw wrong(path, "there are srta.U8, srta.U32 and srta.FLAG");
  }
  mustBe(state, path, "table");
  state.eachPair(-1, () => {
    const item = state.type(-2) === "number" ? state.number(-2) : NaN;
    const at = `${path}[${showKey(state)}]`;
    const size = regions[region].length;
    if (!Number.isInteger(item) || item < 1 || item > size) throw wrong(at, `there are 1 to ${size}`);
    if (region === SRTA.FLAG) {
      mustBe(state, at, "boolean");
      regions[region][item - 1] = state.boolean(-1);
    } else {
      const value = readInteger(state, at);
      const most = region === SRTA.U8 ? 255 : 0xffff_ffff;
      if (value < 0 || value > most) throw wrong(at, `must be 0 to ${most}, is ${value}`);
      regions[region][item - 1] = value;
    }
  });
}
