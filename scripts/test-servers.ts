/**
 * Starts the servers that tests use, prints their addresses as lines for a shell, and keeps them up until Ctrl-C. In
 * another terminal that has run those lines `npm test -- <path>` starts nothing.
 */
import { startServers } from "./servers/all.ts";
import { Run } from "./servers/run.ts";

const run = new Run();
const keepAlive = setInterval(() => undefined, 60_000);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    clearInterval(keepAlive);
    void run.stop();
  });
}

void run.loss.then((what) => console.error(what));
const { addresses, missing } = await startServers(run);
for (const { name, howToGet } of missing) console.error(`${name} is missing: ${howToGet}`);
for (const [variable, address] of Object.entries(addresses)) console.log(`export ${variable}='${address}'`);
