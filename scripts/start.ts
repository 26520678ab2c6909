/**
 * `npm start`: runs one node until it is told to stop. `npm run repl` gives it a console; where NATS joins the nodes, that
 * is a node without services, from which the others can be looked at.
 */
import { setFlagsFromString } from "node:v8";
import { ServiceBroker } from "moleculer";
import { configWarnings, loadConfig, type Config } from "../lib/config.ts";
import { LongshoreError, unavailable } from "../lib/errors.ts";
import { releaseMemoryWhenIdle } from "../lib/idle-memory.ts";
import { maskUrls } from "../lib/secrets.ts";
import { loadServices } from "../lib/service-files.ts";
import { signingKey } from "../lib/signing-key.ts";
import { brokerOptions } from "../moleculer.config.ts";
import { REPL_COMMANDS } from "./repl-commands.ts";

/** How long NATS may take to be there, and how long a node that failed may take to put things away, in ms. */
const CONNECT_TIMEOUT = 5_000;
const CLEANUP_TIMEOUT = 5_000;

// The flag of `npm start` is for this thread, whose heap has it by now: those of jobs have limits of their own.
setFlagsFromString("--max-semi-space-size=0");

const repl = process.argv.includes("--repl");
let broker: ServiceBroker | undefined;
let stopping = false;

process.on("SIGTERM", stopOnSignal);
process.on("SIGINT", stopOnSignal);
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
// nobody reads the log any more: no reason to fall over
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

try {
  await start(loadConfig());
} catch (error) {
  if (!stopping) await giveUp(error);
}

async function start(config: Config): Promise<void> {
  broker = new ServiceBroker(brokerOptions(config));
  for (const warning of configWarnings(config)) broker.logger.warn(warning);
  const visitor = repl && config.natsUrl !== undefined && config.services === undefined;
  if (!visitor) {
    await signingKey(config);
    for (const schema of await loadServices(config.services)) broker.createService(schema);
  }
  await Promise.race([broker.start(), natsAnswers(broker, config)]);
  // a broker alone does not keep its process alive
  setInterval(() => undefined, 2 ** 30);
  console.log(readyLine(broker, config));
  releaseMemoryWhenIdle();
  if (repl) {
    broker.options.replOptions = { customCommands: REPL_COMMANDS };
    broker.repl();
  }
}

/** Rejects where NATS has not answered in time; Moleculer itself would try for ever. */
function natsAnswers(broker: ServiceBroker, config: Config): Promise<never> {
  return new Promise((_, reject) => {
    if (!config.natsUrl) return;
    const url = maskUrls(config.natsUrl);
    const seconds = CONNECT_TIMEOUT / 1000;
    const timer = setTimeout(
      () => reject(unavailable(`NATS_URL ${url}: no NATS server let this node in within ${seconds} s`)),
      CONNECT_TIMEOUT,
    );
    broker.localBus.once("$transporter.connected", () => clearTimeout(timer));
  });
}

function readyLine(broker: ServiceBroker, config: Config): string {
  const gateway = broker.getLocalService("api-gateway") as unknown as {
    addresses: { http: string; grpc: string };
  } | null;
  const services = broker.services.map((service) => service.name).filter((name) => !name.startsWith("$"));
  const what = gateway
    ? `at ${gateway.addresses.http} (REST) and ${gateway.addresses.grpc} (gRPC)`
    : `as node ${config.nodeId}, which runs ${services.join(", ") || "no services"}`;
  return `Longshore is ready ${what}. A console: npm run repl`;
}

/** The first signal lets the node finish what it began; a second one does not. */
function stopOnSignal(): void {
  if (stopping) process.exit(1);
  stopping = true;
  const within = broker?.options.longshore?.stopTimeout ?? CLEANUP_TIMEOUT;
  void stopWithin(within).then((stopped) => {
    if (!stopped) console.error(`Longshore did not stop within STOP_TIMEOUT, ${within / 1000} s; it ends as it is`);
    process.exit(stopped ? 0 : 1);
  });
}

/** A fault that nobody caught: nothing can be relied on any more, so the node ends. */
function fail(error: unknown): void {
  if (broker) broker.logger.fatal("uncaught:", error);
  else console.error(error);
  if (stopping) return;
  stopping = true;
  void stopWithin(CLEANUP_TIMEOUT).then(() => process.exit(1));
}

/** The start failed: the last line says why. What is not one of our own errors is a fault, and shows its stack. */
async function giveUp(error: unknown): Promise<never> {
  stopping = true;
  await stopWithin(CLEANUP_TIMEOUT);
  console.error(`Longshore cannot start: ${maskUrls(error instanceof Error ? error.message : String(error))}`);
  if (!(error instanceof LongshoreError)) console.error(error);
  process.exit(1);
}

function stopWithin(ms: number): Promise<boolean> {
  const late = new Promise<boolean>((resolve) => setTimeout(resolve, ms, false));
  return Promise.race([Promise.resolve(broker?.stop()).then(() => true), late]);
}
