import { join } from "node:path";
import type { Config } from "../config.ts";
import type { ObjectsPlace } from "./open.ts";

/** Where a node with this configuration keeps its objects. */
export function objectsPlace({ dataDir }: Config): ObjectsPlace {
  return { kind: "directory", root: join(dataDir, "objects") };
}
