/** `npm start`: one node. */
import { ServiceBroker } from "moleculer";
import { loadConfig } from "../lib/config.ts";
import { loadServices } from "../lib/service-files.ts";
import { brokerOptions } from "../moleculer.config.ts";

const config = loadConfig();
const broker = new ServiceBroker(brokerOptions(config));
for (const schema of await loadServices(config.services)) broker.createService(schema);
await broker.start();
const gateway = broker.getLocalService("api-gateway") as unknown as
  { addresses: Record<"http" | "grpc", string> } | undefined;
console.log(`Longshore is ready at ${gateway?.addresses.http} and ${gateway?.addresses.grpc}`);
process.once("SIGTERM", () => void broker.stop().then(() => process.exit(0)));
