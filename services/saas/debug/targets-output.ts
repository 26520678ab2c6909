import type { LuaState } from "../../../lib/lua/lua-state.ts";
import { ScriptProblem } from "../../../lib/lua/lua-state.ts";
import { LIMITS } from "./script.ts";
import { SRTA } from "./srta-constants.ts";

/** In the order in which they are written. */
const FIELDS = [
  { name: "enable", constant: "TARGETINFO_ENABLE", type: "boolean" },
  { name: "cpc_price", constant: "TARGETINFO_CPC_PRICE", type: "number" },
  { name: "cpa_price", constant: "TARGETINFO_CPA_PRICE", type: "number" },
  { name: "user_weight_factor", constant: "TARGETINFO_USER_WEIGHT_FACTOR", type: "number" },
  { name: "cpc_factor", constant: "TARGETINFO_CPC_FACTOR", type: "number" },
] as const;

const LONGEST_ID = 1_000;

/** Reads what `main()` has returned, which is on top of the stack, as JSON; targets are in the order of their ids. */
export function readTargets(state: LuaState): string {
  if (state.type(-1) !== "table") {
    throw new ScriptProblem(`main() must return a table of results, returned ${state.type(-1)}`);
  }
  const targets = new Map<string, string>();
  let bytes = 0;
  state.eachPair(-1, () => {
    const id = readId(state);
    if (targets.has(id))
      throw new ScriptProblem(`main(): results has ${JSON.stringify(id)} as a string and as a number`);
    const json = `${JSON.stringify(id)}: ${readTarget(state, id)}`;
    bytes += Buffer.byteLength(json) + 2;
    if (bytes > LIMITS.outputBytes) throw new ScriptProblem("main(): results are more than 1 MB of JSON");
    targets.set(id, json);
  });
  return `{${[...targets.keys()]
    .sort()
    .map((id) => targets.get(id))
    .join(", ")}}`;
}

function readId(state: LuaState): string {
  const type = state.type(-2);
  if (type === "string" && state.place(-2).bytes > LONGEST_ID) {
    throw new ScriptProblem(`main(): a target's id in results has more than ${LONGEST_ID} bytes`);
  }
  if (type === "string" || (type === "number" && state.isInteger(-2))) return state.text(-2);
  throw new ScriptProblem(`main(): a key of results must be a target's id, is a ${type}`);
}

function readTarget(state: LuaState, id: string): string {
  const place = `results[${JSON.stringify(id.slice(0, 80))}]`;
  if (state.type(-1) !== "table") throw new ScriptProblem(`main(): ${place} must be a table, is a ${state.type(-1)}`);
  const values: string[] = [];
  state.eachPair(-1, () => {
    const key = state.type(-2) === "number" ? state.number(-2) : NaN;
    const index = FIELDS.findIndex(({ constant }) => SRTA[constant] === key);
    const field = FIELDS[index];
    if (!field) throw new ScriptProblem(`main(): ${place} may only have the keys srta.TARGETINFO_…`);
    const type = state.type(-1);
    const path = `${place}[srta.${field.constant}]`;
    if (type !== field.type) throw new ScriptProblem(`main(): ${path} must be a ${field.type}, is a ${type}`);
    const value = type === "boolean" ? state.boolean(-1) : state.number(-1);
    if (type === "number" && !Number.isFinite(value)) throw new ScriptProblem(`main(): ${path} is ${value}`);
    values[index] = `"${field.name}": ${value}`;
  });
  return `{${values.filter((value) => value !== undefined).join(", ")}}`;
}
