import type { HostFunction, LuaState } from "../../../lib/lua/lua-state.ts";
import { ScriptProblem } from "../../../lib/lua/lua-state.ts";
import type { TimeUnit, ZoneClock } from "./zone-clock.ts";
import { isInRange, TIME_UNITS } from "./zone-clock.ts";

/** Amounts and fields beyond this take a time out of all bounds, alone. */
const MOST = 1e12;

/** Puts the module `time` on the stack. `now` gives Unix seconds. */
export function pushTimeModule(state: LuaState, clock: ZoneClock, now: () => number): void {
  const integer = (name: string, index: number, absent?: number): number => {
    const type = state.type(index);
    if (absent !== undefined && (type === "nil" || type === "no value")) return absent;
    const value = state.number(index);
    const bad = (why: string) => new ScriptProblem(`bad argument #${index} to '${name}' (${why})`);
    if (type !== "number" && Number.isNaN(value)) throw bad(`number expected, got ${type}`);
    if (!Number.isInteger(value)) throw bad("number has no integer representation");
    if (Math.abs(value) > MOST) throw bad("too large");
    return value;
  };
  const inRange = (name: string, time: number): number => {
    if (!isInRange(time)) throw new ScriptProblem(`'${name}': the time is not in the years 1000 to 9999`);
    return time;
  };
  const time = (name: string) => inRange(name, integer(name, 1));
  const result = (name: string, value: number) => {
    state.pushInteger(inRange(name, value));
    return 1;
  };
  const push = (...values: number[]) => {
    for (const value of values) state.pushInteger(value);
    return values.length;
  };
  const functions: Record<string, HostFunction> = {
    now: () => push(now()),
    date: () => {
      const { year, month, day } = clock.local(time("date"));
      return push(year, month, day);
    },
    hour: () => push(clock.local(time("hour")).hour),
    minute: () => push(clock.local(time("minute")).minute),
    second: () => push(clock.local(time("second")).second),
    weekday: () => push(clock.weekday(time("weekday"))),
    truncate: () => {
      const unit = state.type(2) === "string" ? state.text(2) : state.type(2);
      if (!TIME_UNITS.includes(unit as TimeUnit)) {
        const units = TIME_UNITS.map((known) => `"${known}"`).join(", ");
        throw new ScriptProblem(`bad argument #2 to 'truncate' (${units} expected, got ${unit.slice(0, 40)})`);
      }
      return result("truncate", clock.truncate(time("truncate"), unit as TimeUnit));
    },
    addtime: () => {
      const [hours, minutes, seconds] = [2, 3, 4].map((index) => integer("addtime", index, 0)) as [
        number,
        number,
        number,
      ];
      return result("addtime", time("addtime") + hours * 3_600 + minutes * 60 + seconds);
    },
    adddate: () => {
      const [years, months, days] = [2, 3, 4].map((index) => integer("adddate", index, 0)) as [number, number, number];
      return result("adddate", clock.addDate(time("adddate"), years, months, days));
    },
    setdate: () => {
      const [year, month, day] = [1, 2, 3].map((index) => integer("setdate", index)) as [number, number, number];
      const [hour, minute, second] = [4, 5, 6].map((index) => integer("setdate", index, 0)) as [number, number, number];
      return result("setdate", clock.at({ year, month, day, hour, minute, second }));
    },
  };
  state.pushTable();
  for (const [name, call] of Object.entries(functions)) {
    state.pushFunction(call);
    state.setField(-2, name);
  }
}
