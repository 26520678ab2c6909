/** The ways that Longshore runs, for tests that must hold in each of them. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../lib/config.ts";
import type { TestNode } from "./node.ts";
import { startNode } from "./node.ts";
import type { ServerName } from "./servers.ts";
import { describeWith, serverUrl } from "./servers.ts";

export interface Cluster {
  nodes: TestNode[];
  /** Where clients call; a cluster has a second gateway, one process has one for both. */
  gateways: [TestNode, TestNode];
  stop(): Promise<void>;
}

export type StartCluster = (config?: Partial<Config>) => Promise<Cluster>;

/** A database of its own on the test's MongoDB. */
export function ownDatabase(): string {
  const url = new URL(serverUrl("mongodb"));
  url.pathname = `/test-${randomBytes(6).toString("hex")}`;
  return url.href;
}

async function one(config: Partial<Config>): Promise<Cluster> {
  const node = await startNode({ config });
  return { nodes: [node], gateways: [node, node], stop: () => node.stop() };
}

/** Two gateways and two nodes that work, three nodes in all; they share a directory for objects. */
async function three(config: Partial<Config>): Promise<Cluster> {
  const dataDir = await mkdtemp(join(tmpdir(), "longshore-cluster-"));
  const shared = {
    mongodbUri: ownDatabase(),
    natsUrl: serverUrl("nats"),
    namespace: `test-${randomBytes(6).toString("hex")}`,
    signingKey: randomBytes(24).toString("hex"),
    dataDir,
    ...config,
  };
  const nodes = await Promise.all([
    startNode({ services: ["api-gateway"], config: shared }),
    startNode({ services: ["queues", "export", "operations", "saas"], config: shared }),
    startNode({ config: shared }),
  ]);
  const [first, , last] = nodes as [TestNode, TestNode, TestNode];
  await Promise.all([first, last].map(knowsItsServices));
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await rm(dataDir, { recursive: true, force: true });
  };
  return { nodes, gateways: [first, last], stop };
}

/** A gateway learns of the services of other nodes a moment after it is ready. */
async function knowsItsServices({ http }: TestNode): Promise<void> {
  for (const path of [
    "/v1/queues/channels/any/length",
    "/v1/export/history?user_id=any",
    "/v1/operations",
    "/v1/tasks",
    "/v1/saas/accounts",
  ]) {
    while ((await fetch(http + path)).status !== 200) continue;
  }
}

interface Topology {
  name: string;
  needs: ServerName[];
  start: StartCluster;
}

const topologies: Topology[] = [
  { name: "embedded store, one process", needs: [], start: (config = {}) => one(config) },
  {
    name: "MongoDB, one process",
    needs: ["mongodb"],
    start: (config = {}) => one({ mongodbUri: ownDatabase(), ...config }),
  },
  { name: "MongoDB, three nodes over NATS", needs: ["mongodb", "nats"], start: (config = {}) => three(config) },
];

/** Describes the tests once for each topology. */
export function onEveryTopology(title: string, body: (start: StartCluster) => void): void {
  describeOn(topologies, title, body);
}

/** Describes them for the smallest and the largest, where the datastore does not matter. */
export function onSmallestAndLargest(title: string, body: (start: StartCluster) => void): void {
  describeOn([topologies.at(0)!, topologies.at(-1)!], title, body);
}

function describeOn(some: Topology[], title: string, body: (start: StartCluster) => void): void {
  for (const { name, needs, start } of some) describeWith(needs, `${title} (${name})`, () => body(start));
}
