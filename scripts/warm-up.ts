/**
 * Runs once at the end of `npm ci`: starts the program and stops it, so that its compiled form is on disk and the first start
 * is as quick and as lean as every other. What goes wrong here will be told by that start.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NODE_FLAGS, START } from "./node-flags.ts";

const LIMIT_MS = 30_000;

const directory = await mkdtemp(join(tmpdir(), "longshore-warm-up-"));
const child = spawn(process.execPath, [...NODE_FLAGS, START], {
  cwd: directory,
  env: { PATH: process.env.PATH, HTTP_PORT: "0", GRPC_PORT: "0", DATA_DIR: directory, LOG_LEVEL: "fatal" },
  stdio: ["ignore", "pipe", "ignore"],
});
const limit = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
// Its first line is the ready line.
child.stdout.once("data", () => child.kill("SIGTERM"));
await once(child, "close");
clearTimeout(limit);
await rm(directory, { recursive: true, force: true });
