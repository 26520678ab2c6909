/** What a script is given and what comes of it, as plain data that goes between threads. */

/** The regions of a user's record. */
export interface UserData {
  /** 128 of them. */
  bytes: Uint8Array;
  /** 16 of them. */
  uint32s: Uint32Array;
  /** 8 of them. */
  flags: readonly boolean[];
}

export interface ScriptData {
  did: UserData;
  openid: UserData;
  /** What `srta.get_targets` gives. */
  targets: readonly string[];
}

export interface ScriptOutcome {
  printOutput: string;
  /** Empty where the script came to its end. */
  error: string;
  targetsOutput: string;
}

export const LIMITS = {
  scriptBytes: 1_000_000,
  outputBytes: 1_000_000,
  memoryBytes: 64 * 2 ** 20,
  cpuMs: 1_000,
} as const;

/** As errors name it: `line 3: …`. */
export const CHUNK_NAME = "line";

export const TOO_LONG = "the script took more than 1 s of CPU";
export const TOO_MUCH = "the script needed more than 64 MB of memory";

/** The outcome of a script that nothing is known of but this. */
export function failed(error: string): ScriptOutcome {
  return { printOutput: "", error, targetsOutput: "" };
}

/** Ends a script for good, whatever it does about errors. */
export class ScriptEnded extends Error {}
