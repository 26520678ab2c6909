/** A node of Longshore in a process of its own, as `npm start` runs it: its embedded store in a directory of the run, or MongoDB. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { stopGroup, type Run } from "../../servers/run.ts";
import { NODE_FLAGS, START } from "../../node-flags.ts";

const READY_LIMIT_MS = 60_000;

export interface NodeOptions {
  env?: Record<string, string>;
  /** A module that is loaded before the program, and answers what it is asked over the IPC channel. */
  preload?: string;
}

export class LongshoreNode {
  /** Of gRPC. */
  readonly address: string;
  readonly http: string;
  readonly pid: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, http: string, address: string) {
    this.#child = child;
    this.pid = child.pid!;
    this.http = http;
    this.address = address;
  }

  static async start(run: Run, mongodbUri = "", { env = {}, preload }: NodeOptions = {}): Promise<LongshoreNode> {
    const child = spawn(process.execPath, [...NODE_FLAGS, ...(preload ? ["--import", preload] : []), START], {
      cwd: mkdtempSync(join(run.directory, "node-")),
      env: {
        ...{ PATH: process.env.PATH, HTTP_PORT: "0", GRPC_PORT: "0", LOG_LEVEL: "error", MONGODB_URI: mongodbUri },
        ...env,
      },
      stdio: ["ignore", "pipe", "inherit", preload ? "ipc" : "ignore"],
      detached: true,
    });
    run.adopt(child);
    const { promise, resolve, reject } = Promise.withResolvers<[http: string, grpc: string]>();
    let output = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      const [, http, address] = /(http:\/\/\S+).*grpc:\/\/(\S+)/.exec(output) ?? [];
      if (http && address) resolve([http, address]);
    });
    child.once("exit", (code) => reject(new Error(`the node ended with ${code}`)));
    const timer = setTimeout(() => reject(new Error(`the node was not ready in ${READY_LIMIT_MS} ms`)), READY_LIMIT_MS);
    try {
      return new LongshoreNode(child, ...(await promise));
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks the module that was preloaded. */
  async ask<Answer>(question: string): Promise<Answer> {
    const answer = once(this.#child, "message");
    this.#child.send(question);
    const [value] = (await answer) as [Answer];
    return value;
  }

  async stop(): Promise<void> {
    await stopGroup(this.#child);
  }
}
