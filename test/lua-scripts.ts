import { compileLua } from "../lib/lua/lua-wasm.ts";
import { Sandbox } from "../services/saas/debug/sandbox.ts";
import type { ScriptData, UserData } from "../services/saas/debug/script.ts";

const module = await compileLua();

export function makeSandbox(timeZone = "Asia/Shanghai"): Sandbox {
  return new Sandbox(module, timeZone);
}

export function makeUser(): UserData {
  return { bytes: new Uint8Array(128), uint32s: new Uint32Array(16), flags: Array<boolean>(8).fill(false) };
}

export function makeData(targets: readonly string[] = []): ScriptData {
  return { did: makeUser(), openid: makeUser(), targets };
}

/** A script whose main() is this. */
export function main(body: string): string {
  return `function main() ${body}\nreturn {} end`;
}
