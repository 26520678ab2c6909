import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, glob } from "node:fs/promises";
import path from "node:path";

const outputLimit = 64 * 1024 * 1024;

/** Runs a command to its end and answers its standard output; throws with what it wrote to standard error. */
export function run(
  command: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; timeoutMs: number; uid?: number; gid?: number },
): Promise<string> {
  const { timeoutMs, env, ...rest } = options;
  return new Promise((resolve, reject) => {
    execFile(
      command,
      args,
      { ...rest, env: { ...process.env, ...env }, timeout: timeoutMs, maxBuffer: outputLimit },
      (error, stdout, stderr) => {
        if (!error) resolve(stdout);
        else reject(new Error(`${command} ${args[0] ?? ""}: ${lastLines(stderr) || error.message}`));
      },
    );
  });
}

/** Finds a program on PATH, in the system's folders and in `folders` (patterns); the last match of a pattern wins. */
export async function findProgram(name: string, ...folders: string[]): Promise<string | undefined> {
  const onPath = (process.env.PATH ?? "").split(path.delimiter).filter((folder) => path.isAbsolute(folder));
  for (const folder of [...onPath, "/usr/sbin", "/usr/local/sbin"]) {
    const file = path.join(folder, name);
    if (await isExecutable(file)) return file;
  }
  for (const folder of folders) {
    let last: string | undefined;
    for await (const file of glob(path.join(folder, name))) if (!last || file > last) last = file;
    if (last) return last;
  }
  return undefined;
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function lastLines(text: string): string {
  return text.trimEnd().split("\n").slice(-5).join("\n");
}
