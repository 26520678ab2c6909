import { aptInstall } from "./apt.ts";
import { findProgram, run as runCommand } from "./command.ts";
import { startMariadb } from "./mariadb.ts";
import { startMongod } from "./mongod.ts";
import { startNats } from "./nats.ts";
import { startPostgres } from "./postgres.ts";
import type { Run } from "./run.ts";

const checkLimitMs = 30_000;

/** The servers that tests use: each takes the address that its variable holds, or is started. */
const servers = [
  { name: "nats-server", variable: "TEST_NATS_URL", start: startNats, howToGet: "install nats-server" },
  { name: "mongod", variable: "TEST_MONGODB_URI", start: startMongod, howToGet: "install mongod 7 or newer" },
  { name: "mariadbd", variable: "TEST_MARIADB_URL", start: startMariadb, howToGet: "install mariadb-server" },
  { name: "postgres", variable: "TEST_POSTGRES_URL", start: startPostgres, howToGet: "install postgresql" },
];

/** The programs of others that tests read our files with. */
const tools = [
  { name: "unzip", arguments: ["-v"], debianPackage: "unzip" },
  { name: "python3", arguments: ["-c", "import openpyxl"], debianPackage: "python3-openpyxl" },
];

/** What this machine does not have, and how to get it. */
export interface Missing {
  name: string;
  howToGet: string;
}

/** Starts all servers at once; answers the address of each by its variable, and what is missing. */
export async function startServers(run: Run): Promise<{ addresses: Record<string, string>; missing: Missing[] }> {
  const addresses: Record<string, string> = {};
  const missing: Missing[] = [];
  const provideServer = async ({ name, variable, start, howToGet }: (typeof servers)[number]) => {
    const hint = `${howToGet}, or set ${variable} to the address of one`;
    try {
      const address = process.env[variable] || (await start(run));
      if (address) addresses[variable] = address;
      else missing.push({ name, howToGet: hint });
    } catch (error) {
      missing.push({ name, howToGet: `it did not start: ${(error as Error).message}; else ${hint}` });
    }
  };
  const provideTool = async (tool: (typeof tools)[number]) => {
    try {
      if ((await works(tool)) || ((await aptInstall(tool.debianPackage)) && (await works(tool)))) return;
      missing.push({ name: tool.debianPackage, howToGet: `install ${tool.debianPackage}` });
    } catch (error) {
      missing.push({ name: tool.debianPackage, howToGet: `install it: ${(error as Error).message}` });
    }
  };
  await Promise.all([...servers.map(provideServer), ...tools.map(provideTool)]);
  return { addresses, missing };
}

async function works(tool: (typeof tools)[number]): Promise<boolean> {
  const program = await findProgram(tool.name);
  if (!program) return false;
  return runCommand(program, tool.arguments, { timeoutMs: checkLimitMs }).then(
    () => true,
    () => false,
  );
}
