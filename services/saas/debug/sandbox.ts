import { LuaOutOfMemory, LuaState, ScriptProblem } from "../../../lib/lua/lua-state.ts";
import { Printed, pushGlobals } from "./globals.ts";
import type { ScriptData, ScriptOutcome } from "./script.ts";
import { CHUNK_NAME, LIMITS, ScriptEnded, TOO_LONG, TOO_MUCH } from "./script.ts";
import { pushSrtaModule } from "./srta-module.ts";
import { SRTA } from "./srta-constants.ts";
import type { Given } from "./stand-ins.ts";
import { readStandIns, regionsOf } from "./stand-ins.ts";
import { readTargets } from "./targets-output.ts";
import { pushTimeModule } from "./time-module.ts";
import { ZoneClock } from "./zone-clock.ts";

/** Some ten microseconds of most scripts. */
const INSTRUCTIONS = 1_000;

/** Of an error that a script has made as long as it likes. */
const ERROR_CHARACTERS = 2_000;

/** Milliseconds of CPU that this thread has had; of time where Node cannot tell (before 23.9). */
export function threadCpuMs(): number {
  if (!process.threadCpuUsage) return performance.now();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/** Runs scripts one after the other; each finds Lua as it was when nothing had run yet. */
export class Sandbox {
  readonly #module: WebAssembly.Module;
  readonly #clock: ZoneClock;
  readonly #printed = new Printed();
  #state: LuaState | undefined;
  #given: Given | undefined;
  #started = 0;
  #startedCpu = 0;

  /** `module` is what `compileLua` has made. */
  constructor(module: WebAssembly.Module, timeZone: string) {
    this.#module = module;
    this.#clock = new ZoneClock(timeZone);
  }

  run(script: string, data: ScriptData): ScriptOutcome {
    this.#printed.clear();
    this.#given = {
      dsdata: { [SRTA.DS_DID]: regionsOf(data.did), [SRTA.DS_WUID]: regionsOf(data.openid) },
      targets: data.targets,
      os: SRTA.OS_ANDROID,
      siteset: 0,
      expid: 0,
      now: () => Math.floor(Date.now() / 1_000),
    };
    this.#started = performance.now();
    this.#startedCpu = threadCpuMs();
    const state = (this.#state ??= this.#boot());
    let targetsOutput = "";
    let error = "";
    try {
      state.protect(() => {
        targetsOutput = this.#runMain(state, script, this.#given!);
      });
    } catch (thrown) {
      error = describe(thrown);
      targetsOutput = "";
    }
    const printOutput = this.#printed.text;
    if (!state.restore()) this.#state = undefined;
    return { printOutput, error, targetsOutput };
  }

  #runMain(state: LuaState, script: string, given: Given): string {
    state.load(script, CHUNK_NAME);
    state.call(0, 0);
    const hijack = state.pushGlobal("hijack");
    if (hijack === "nil") state.pop();
    else if (hijack !== "function") throw new ScriptProblem(`hijack must be a function, is a ${hijack}`);
    else {
      state.call(0, 1);
      readStandIns(state, given);
      state.pop();
    }
    const main = state.pushGlobal("main");
    if (main === "nil") throw new ScriptProblem("the script must define main()");
    if (main !== "function") throw new ScriptProblem(`main must be a function, is a ${main}`);
    state.call(0, 1);
    return readTargets(state);
  }

  #boot(): LuaState {
    const checkTime = () => this.#checkTime();
    const state = new LuaState(this.#module, {
      memoryBytes: LIMITS.memoryBytes,
      onCount: checkTime,
      count: INSTRUCTIONS,
    });
    state.protect(() => {
      pushGlobals(state, this.#printed, checkTime);
      pushSrtaModule(state, () => this.#given!);
      state.setField(-2, "srta");
      pushTimeModule(state, this.#clock, () => this.#given!.now());
      state.setField(-2, "time");
      state.setGlobals();
    });
    state.keep();
    return state;
  }

  #checkTime(): void {
    if (performance.now() - this.#started < LIMITS.cpuMs) return;
    if (threadCpuMs() - this.#startedCpu < LIMITS.cpuMs) return;
    const state = this.#state!;
    throw new ScriptEnded(`${state.where(0) || state.where(1)}${TOO_LONG}`);
  }
}

/** What the client is told; errors that are none of the script's go on. */
function describe(thrown: unknown): string {
  if (thrown instanceof LuaOutOfMemory) return TOO_MUCH;
  if (thrown instanceof ScriptProblem || thrown instanceof ScriptEnded) {
    const text = thrown.message.replace(new RegExp(`^${CHUNK_NAME}:(\\d+): `), "line $1: ");
    return text.length > ERROR_CHARACTERS ? `${text.slice(0, ERROR_CHARACTERS)}…` : text;
  }
  // The stack of this thread, which Lua uses as well.
  if (thrown instanceof RangeError) return "the script's calls are nested too deep";
  throw thrown;
}
