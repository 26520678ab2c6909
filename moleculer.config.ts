/** The broker: how nodes find, call and protect each other. The reasons are in docs/decisions/broker.md. */
import { ServiceBroker, Validators, type BrokerOptions, type Middleware } from "moleculer";
import { loadConfig, type Config } from "./lib/config.ts";
import { ErrorRegenerator } from "./lib/error-regenerator.ts";
import { viewError } from "./lib/errors.ts";
import { LineLogger } from "./lib/logger.ts";
import { cancellation, skipCancelled } from "./middlewares/cancellation.ts";
import { draining } from "./middlewares/draining.ts";
import { errors } from "./middlewares/errors.ts";
import { idempotent } from "./middlewares/idempotent.ts";
import { packetParts } from "./middlewares/packet-parts.ts";
import { reconnection } from "./middlewares/reconnection.ts";
import { requestContext } from "./middlewares/request-context.ts";

/** What a broker of ours is made with. */
export function brokerOptions(config: Config): BrokerOptions {
  const clustered = config.natsUrl !== undefined;
  return {
    longshore: config,
    namespace: config.namespace,
    nodeID: config.nodeId,
    logger: new LineLogger(config.logLevel, config.logFormat) as BrokerOptions["logger"],
    transporter: config.natsUrl ? { type: "NATS", options: natsOptions(config.natsUrl, config.nodeId) } : null,
    // JSON would turn every Buffer into an array of numbers
    serializer: "Notepack",
    errorRegenerator: new ErrorRegenerator(),
    validator: new Validators.Fastest({ haltOnFirstError: true, messages: VALIDATION_MESSAGES }),

    requestTimeout: config.requestTimeout,
    // middlewares/idempotent.ts turns it on for the actions that may be repeated
    retryPolicy: { enabled: false, retries: 2, delay: 100, maxDelay: 1000, factor: 2 },
    // a refusal is an answer, and a deadline is the caller's choice: only faults open the circuit
    circuitBreaker: {
      enabled: true,
      threshold: 0.5,
      windowTime: 60,
      minRequestCount: 20,
      halfOpenTime: 5_000,
      check: (error) => ["INTERNAL", "UNAVAILABLE"].includes(viewError(error).type),
    },
    // an action and node; long-polling actions opt out
    bulkhead: { enabled: true, concurrency: 1_000, maxQueueSize: 4_000 },

    heartbeatInterval: 3,
    heartbeatTimeout: 10,
    // waited for twice, calls out and calls in: four fifths of the time, the rest is for closing
    tracking: { enabled: true, shutdownTimeout: config.stopTimeout * 0.4 },
    // the time that other nodes get to hear that this one takes no more calls
    registry: { preferLocal: true, stopDelay: clustered ? 1_000 : 0 },
    transit: { serviceChangedDebounceTime: 100 } as BrokerOptions["transit"],
    dependencyInterval: 100,

    internalMiddlewares: false,
    middlewares: middlewares(clustered) as BrokerOptions["middlewares"],
    // scripts/start.ts stops the broker, and tests do
    skipProcessEventRegistration: true,
  };
}

/** From the handler outward: Moleculer's own in their order, with its Timeout replaced and ours in their places. */
function middlewares(clustered: boolean): (string | Middleware | ((broker: ServiceBroker) => Middleware))[] {
  const own = ServiceBroker.INTERNAL_MIDDLEWARES.map((name) => (name === "Timeout" ? cancellation : name));
  const [actionHook = "ActionHook", ...others] = own;
  const between = clustered ? [reconnection, packetParts] : [];
  return [actionHook, errors, skipCancelled, ...others, requestContext, idempotent, draining, ...between];
}

/** Moleculer's own reading of a URL keeps a password percent-encoded and knows neither tokens nor TLS. */
function natsOptions(urls: string, name: string): Record<string, unknown> {
  const parsed = urls.split(",").map((url) => new URL(url));
  const [first] = parsed;
  const user = first?.username ? decodeURIComponent(first.username) : undefined;
  const pass = first?.password ? decodeURIComponent(first.password) : undefined;
  return {
    servers: parsed.map((url) => url.host),
    name,
    ...(pass === undefined ? { token: user } : { user, pass }),
    ...(parsed.some((url) => url.protocol === "tls:") ? { tls: {} } : {}),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    waitOnFirstConnect: true,
    // A connection that is lost without a word is seen after 15 s; with the client's own numbers it were six minutes.
    pingInterval: 5_000,
    maxPingOut: 2,
  };
}

/** `Task.Channel: is required`: the field is named before the message. */
const VALIDATION_MESSAGES = {
  required: "is required",
  string: "must be a string",
  stringEmpty: "must not be empty",
  stringMin: "must have at least {expected} characters",
  stringMax: "must have at most {expected} characters",
  stringLength: "must have {expected} characters",
  stringPattern: "has a form that is not allowed",
  stringEnum: "must be one of {expected}",
  number: "must be a number",
  numberMin: "must be at least {expected}",
  numberMax: "must be at most {expected}",
  numberInteger: "must be a whole number",
  numberPositive: "must be more than 0",
  array: "must be an array",
  arrayEmpty: "must not be empty",
  arrayMin: "must have at least {expected} items",
  arrayMax: "must have at most {expected} items",
  boolean: "must be true or false",
  enumValue: "must be one of {expected}",
  forbidden: "is not allowed",
  object: "must be an object",
  objectStrict: "has unknown fields: {actual}",
  url: "must be a URL",
};

/** For moleculer-runner, which calls it. */
export default (): BrokerOptions => brokerOptions(loadConfig());
