/** libxlsxwriter, the writer of XLSX in C, behind a small program of ours (libxlsxwriter.c). */
import { join } from "node:path";
import { aptInstall } from "../../servers/apt.ts";
import { run as runCommand } from "../../servers/command.ts";
import { MissingProgram } from "../queue/missing-program.ts";
import type { Sample } from "./child.ts";

const SOURCE = join(import.meta.dirname, "libxlsxwriter.c");
const COMPILE_LIMIT_MS = 60_000;
const WRITE_LIMIT_MS = 600_000;
const PACKAGES = ["gcc", "libc6-dev", "libxlsxwriter-dev"];

/** Compiles the program into a directory, and answers its path. */
export async function buildLibxlsxwriter(directory: string): Promise<string> {
  const program = join(directory, "libxlsxwriter");
  const compile = () =>
    runCommand("gcc", ["-O2", "-o", program, SOURCE, "-lxlsxwriter"], { timeoutMs: COMPILE_LIMIT_MS });
  try {
    await compile().catch(async (error: unknown) => {
      if (!(await aptInstall(...PACKAGES))) throw error;
      await compile();
    });
  } catch (error) {
    throw new MissingProgram(
      `libxlsxwriter is missing: apt-get install ${PACKAGES.join(" ")} (${(error as Error).message})`,
    );
  }
  return program;
}

export async function runLibxlsxwriter(program: string, rows: number, path: string): Promise<Sample> {
  return JSON.parse(await runCommand(program, [String(rows), path], { timeoutMs: WRITE_LIMIT_MS })) as Sample;
}
