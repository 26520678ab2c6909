/** Opens the datastore that the configuration asks for. */
import type { Datastore } from "./datastore.ts";
import { openEmbedded } from "./embedded.ts";

/** MongoDB where there is an address of it, else the embedded store in the directory. */
export async function openDatastore(options: { mongodbUri?: string; dataDir: string }): Promise<Datastore> {
  if (options.mongodbUri === undefined) return openEmbedded(options.dataDir);
  // The driver is loaded only where it is used.
  const { openMongo } = await import("./mongodb.ts");
  return openMongo(options.mongodbUri);
}
