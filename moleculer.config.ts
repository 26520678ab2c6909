/** The broker: how nodes find, call and protect each other. See docs/decisions/broker.md for the numbers. */
import { ServiceBroker, type BrokerOptions } from "moleculer";
import { loadConfig, type Config } from "./lib/config.ts";
import { viewError } from "./lib/errors.ts";
import { cancellation } from "./middlewares/cancellation.ts";

/** Moleculer's own middlewares in their order, with its Timeout replaced. */
function middlewares() {
  return ServiceBroker.INTERNAL_MIDDLEWARES.map((name) => (name === "Timeout" ? cancellation : name));
}

/** What a broker of ours is made with. */
export function brokerOptions(config: Config): BrokerOptions {
  return {
    longshore: config,
    namespace: config.namespace,
    nodeID: config.nodeId,
    logLevel: config.logLevel,
    transporter: config.natsUrl ? { type: "NATS", options: { url: config.natsUrl } } : null,
    serializer: "Notepack",
    requestTimeout: config.requestTimeout,
    heartbeatInterval: 3,
    heartbeatTimeout: 10,
    tracking: { enabled: true, shutdownTimeout: config.stopTimeout * 0.4 },
    registry: { preferLocal: true, stopDelay: config.natsUrl ? 1000 : 0 },
    internalMiddlewares: false,
    middlewares: middlewares() as BrokerOptions["middlewares"],
    circuitBreaker: { enabled: true, check: (error) => viewError(error).http >= 500 },
    bulkhead: { enabled: true, concurrency: 1000, maxQueueSize: 4000 },
    skipProcessEventRegistration: true,
  };
}

/** For moleculer-runner, which calls it. */
export default (): BrokerOptions => brokerOptions(loadConfig());
