import type { HostFunction, LuaState } from "../../../lib/lua/lua-state.ts";
import { ScriptProblem } from "../../../lib/lua/lua-state.ts";
import { SRTA } from "./srta-constants.ts";
import type { Given } from "./stand-ins.ts";
import { LOOKED_UP } from "./stand-ins.ts";

/** Puts the module `srta` on the stack. */
export function pushSrtaModule(state: LuaState, given: () => Given): void {
  const integer = (value: number) => {
    state.pushInteger(value);
    return 1;
  };
  const functions: Record<string, HostFunction> = {
    get_dsdata: () => pushDsdata(state, given()),
    get_targets: () => {
      const { targets } = given();
      return pushList(state, targets, (target) => state.pushText(target));
    },
    get_apps: () => pushLookedUp(state, LOOKED_UP.apps),
    get_scores: () => pushLookedUp(state, LOOKED_UP.scores),
    get_os: () => integer(given().os),
    get_siteset: () => integer(given().siteset),
    get_expid: () => integer(given().expid),
  };
  state.pushTable();
  for (const [name, value] of Object.entries(SRTA)) {
    state.pushInteger(value);
    state.setField(-2, name);
  }
  for (const [name, call] of Object.entries(functions)) {
    state.pushFunction(call);
    state.setField(-2, name);
  }
}

function pushDsdata(state: LuaState, { dsdata }: Given): number {
  const regions = state.type(1) === "number" ? dsdata[state.number(1)] : undefined;
  if (!regions) throw new ScriptProblem("bad argument #1 to 'get_dsdata' (srta.DS_DID or srta.DS_WUID expected)");
  state.pushTable(3);
  pushList(state, regions[SRTA.U8], (value) => state.pushInteger(value));
  state.setItem(-2, SRTA.U8);
  pushList(state, regions[SRTA.U32], (value) => state.pushInteger(value));
  state.setItem(-2, SRTA.U32);
  pushList(state, regions[SRTA.FLAG], (value) => state.pushBoolean(value));
  state.setItem(-2, SRTA.FLAG);
  return 1;
}

function pushList<Value>(state: LuaState, values: readonly Value[], push: (value: Value) => void): number {
  state.pushTable(values.length);
  for (const [index, value] of values.entries()) {
    push(value);
    state.setItem(-2, index + 1);
  }
  return 1;
}

/** A value for each argument, in its place. */
function pushLookedUp(state: LuaState, name: string): number {
  const values = state.top;
  if (state.pushRemembered(name) !== "table") {
    state.pop();
    for (let index = 1; index <= values; index += 1) state.pushNil();
    return values;
  }
  const table = state.top;
  for (let index = 1; index <= values; index += 1) {
    state.pushCopy(index);
    state.lookUp(table);
  }
  return values;
}
