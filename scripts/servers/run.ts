import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

const tlsFixtures = path.join(import.meta.dirname, "../../test/fixtures/tls");
const startLimitMs = 60_000;
const stopLimitMs = 5_000;
const outputLimit = 8_192;
const lastLinesLimit = 15;

/**
 * Reads the process groups of the run from its standard input. The end of that input is the end of the run, also
 * when the runner was killed and could stop nothing itself.
 */
const watcherScript = `
trap '' INT TERM HUP
groups=
while read -r group; do groups="$groups -$group"; done
alive=
for group in $groups; do kill -s TERM -- "$group" && alive=yes; done
if [ -n "$alive" ]; then
  sleep 2
  for group in $groups; do kill -s KILL -- "$group"; done
fi
rm -rf "$1"
`;

export interface ServerCommand {
  command: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  /** What the server prints when it takes connections. */
  ready: RegExp;
  /** What it prints when it is about to crash; that may take it long, and a part of it may work on meanwhile. */
  fatal?: RegExp;
}

/** One run's servers: a temporary directory and the processes in it, none of which outlives this process. */
export class Run {
  readonly directory: string;
  readonly #watcher: ChildProcess;
  readonly #children: ChildProcess[] = [];
  /** The end of what each server printed, by its name. */
  readonly #outputs = new Map<string, string>();
  readonly #loss = Promise.withResolvers<string>();
  readonly #stopping = new AbortController();
  #stopped: Promise<void> | undefined;
  /** Settles when a server does not serve any more though the run goes on: what happened, and its last lines. */
  readonly loss = this.#loss.promise;
  /** Aborted when the run ends. */
  readonly signal = this.#stopping.signal;

  constructor() {
    this.directory = mkdtempSync(path.join(tmpdir(), "longshore-test-"));
    chmodSync(this.directory, 0o755);
    this.#watcher = spawn("sh", ["-c", watcherScript, "watcher", this.directory], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    // A watcher that somebody killed is no reason to fail: this process stops the servers itself.
    this.#watcher.stdin?.on("error", () => undefined);
  }

  /** Makes a server's own directory, which the user that it runs as owns. */
  makeDirectory(name: string, user?: UnixUser): string {
    const directory = path.join(this.directory, name);
    mkdirSync(directory);
    if (user) chownSync(directory, user.uid, user.gid);
    return directory;
  }

  /** Copies the tests' certificate and its key to where a server may read them; no others than its user may. */
  makeTlsFiles(directory: string, user?: UnixUser): { certificate: string; key: string } {
    const [certificate, key] = ["server.crt", "server.key"].map((name) => {
      const file = path.join(directory, name);
      copyFileSync(path.join(tlsFixtures, name), file);
      chmodSync(file, 0o600);
      if (user) chownSync(file, user.uid, user.gid);
      return file;
    });
    return { certificate: certificate!, key: key! };
  }

  /** Makes a detached child part of the run, which ends it and all of its process group. */
  adopt(child: ChildProcess): void {
    this.#children.push(child);
    if (child.pid !== undefined) this.#watcher.stdin?.write(`${child.pid}\n`);
  }

  /** Starts a server and waits until it is ready; throws with the end of its output where it is not. */
  async start(name: string, { command, args, env, ready, fatal }: ServerCommand, user?: UnixUser): Promise<void> {
    if (this.signal.aborted) throw new Error(`${name}: the run has ended`);
    const child = spawn(command, args, {
      cwd: this.directory,
      env: { ...process.env, ...env },
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      ...user,
    });
    this.adopt(child);

    let started = false;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (why: string) => {
      if (started) this.lose(name, why);
      else reject(new Error(this.#describe(name, why)));
    };
    const read = (chunk: Buffer) => {
      const output = (this.#outputs.get(name) ?? "") + chunk.toString();
      this.#outputs.set(name, output.slice(-outputLimit));
      if (fatal?.test(output)) fail("crashed");
      else if (!started && ready.test(output)) resolve();
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code, signal) => fail(`ended with ${signal ?? `code ${code}`}`));
    const timer = setTimeout(() => fail(`not ready after ${startLimitMs / 1000} s`), startLimitMs);
    try {
      await promise;
      started = true;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Reports a server that does not serve any more; nothing that the end of the run does to one counts. */
  lose(name: string, why: string): void {
    if (!this.signal.aborted) this.#loss.resolve(this.#describe(name, `lost during the run: ${why}`));
  }

  #describe(name: string, why: string): string {
    const lines = (this.#outputs.get(name) ?? "").trimEnd().split("\n").slice(-lastLinesLimit);
    return [`${name}: ${why}; its last lines:`, ...lines].join("\n");
  }

  /** Ends every process of the run and removes its directory. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#children.map((child) => stopGroup(child)));
    const watcher = this.#watcher;
    if (watcher.exitCode !== null || watcher.signalCode !== null) return;
    const watcherEnd = once(watcher, "exit");
    watcher.stdin?.end();
    await watcherEnd;
  }
}

/** Ends a detached child and all of its group: asks, and after five seconds forces. */
export async function stopGroup(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) return;
  if (child.exitCode === null && child.signalCode === null) {
    const end = once(child, "exit");
    signalGroup(child.pid, "SIGTERM");
    await Promise.race([end, delay(stopLimitMs, undefined, { ref: false })]);
  }
  signalGroup(child.pid, "SIGKILL");
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

export interface UnixUser {
  uid: number;
  gid: number;
}

/** The user that a server which refuses to run as root runs as: `nobody` for root, else who runs the tests. */
export function unprivilegedUser(): UnixUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string) => Number(execFileSync("id", [flag, "nobody"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}
