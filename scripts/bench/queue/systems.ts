/** The systems of a run, each started when it is first asked for. */
import { startMongod } from "../../servers/mongod.ts";
import type { Run } from "../../servers/run.ts";
import { startCeiling } from "./ceiling.ts";
import { LongshoreNode } from "./longshore-node.ts";
import type { Peer } from "./peer.ts";
import { MissingProgram } from "./missing-program.ts";
import { processIn } from "./processes.ts";
import { startRedis, type Redis } from "./redis.ts";

export type Mode = "unary" | "stream" | "batch";
export type Store = "embedded" | "MongoDB";

interface Mongod {
  uri: string;
  pid: number;
}

export class Systems {
  readonly #run: Run;
  #ceiling: Promise<Peer> | undefined;
  #redis: Promise<Redis> | undefined;
  #mongod: Promise<Mongod> | undefined;
  readonly #nodes = new Map<Store, Promise<LongshoreNode>>();

  constructor(run: Run) {
    this.#run = run;
  }

  /** Starts the servers that these parts need, so that a missing one is told before anything is measured. */
  async prepare(parts: Set<string>): Promise<void> {
    if (["unary", "stream", "batch", "latency"].some((part) => parts.has(part))) await this.bullmq("single");
    if (parts.has("mongodb")) await this.mongod();
  }

  ceiling(): Promise<Peer> {
    return (this.#ceiling ??= startCeiling(this.#run));
  }

  /** BullMQ with jobs added one by one, or many a call. */
  async bullmq(mode: "single" | "bulk"): Promise<Peer> {
    const { port, pid } = await (this.#redis ??= startRedis(this.#run));
    const name = mode === "single" ? "BullMQ one by one" : "BullMQ addBulk";
    return { name, target: { kind: "bullmq", port, mode }, processes: { redis: pid } };
  }

  async longshore(store: Store, mode: Mode): Promise<Peer> {
    const node = await this.node(store);
    const processes: Record<string, number> = { node: node.pid };
    if (store === "MongoDB") processes.mongod = (await this.mongod()).pid;
    return {
      name: longshoreName(store, mode),
      target: { kind: "grpc", address: node.address, mode },
      processes,
    };
  }

  /** The node that all parts share which need none of their own. */
  node(store: Store): Promise<LongshoreNode> {
    const known = this.#nodes.get(store);
    if (known) return known;
    const node = this.freshNode(store);
    this.#nodes.set(store, node);
    return node;
  }

  async freshNode(store: Store): Promise<LongshoreNode> {
    return LongshoreNode.start(this.#run, store === "MongoDB" ? (await this.mongod()).uri : undefined);
  }

  /** Stops the nodes that parts share: before their servers, which they would miss aloud. */
  async stop(): Promise<void> {
    const nodes = await Promise.allSettled(this.#nodes.values());
    await Promise.all(nodes.map((node) => node.status === "fulfilled" && node.value.stop()));
  }

  mongod(): Promise<Mongod> {
    return (this.#mongod ??= this.#startMongod());
  }

  async #startMongod(): Promise<Mongod> {
    const uri = await startMongod(this.#run);
    if (!uri) throw new MissingProgram("mongod is missing: install mongod 7 or newer");
    return { uri, pid: await processIn(this.#run.directory) };
  }
}

/** The name of a peer of `Systems.longshore`. */
export function longshoreName(store: Store, mode: Mode): string {
  return store === "embedded" ? `Longshore ${mode}` : `Longshore ${mode}, ${store}`;
}
