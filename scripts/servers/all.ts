import { aptInstall } from "./apt.ts";
import { run as runCommand } from "./command.ts";
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

/** The programs of others that tests read our files with, and what the examples run on. */
const tools = [
  { check: ["unzip", "-v"], debianPackage: "unzip" },
  { check: ["7zz"], debianPackage: "7zip" },
  { check: ["soffice", "--version"], debianPackage: "libreoffice-calc-nogui" },
  { check: ["curl", "--version"], debianPackage: "curl" },
  // The system's Python: one of pyenv, first on PATH, does not see Debian's packages.
  { check: ["/usr/bin/python3", "-c", "import openpyxl"], debianPackage: "python3-openpyxl" },
  { check: ["/usr/bin/python3", "-c", "import grpc"], debianPackage: "python3-grpcio" },
  { check: ["/usr/bin/python3", "-c", "import google.protobuf"], debianPackage: "python3-protobuf" },
  { check: ["/usr/bin/python3", "-c", "import grpc_tools"], debianPackage: "python3-grpc-tools" },
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
      missing.push({ name, howToGet: `${hint} (${(error as Error).message})` });
    }
  };
  const provideTool = async ({ check, debianPackage }: (typeof tools)[number]) => {
    try {
      if (await works(check)) return;
      if ((await aptInstall(debianPackage)) && (await works(check))) return;
      missing.push({ name: debianPackage, howToGet: "install that Debian package" });
    } catch (error) {
      missing.push({ name: debianPackage, howToGet: `install that Debian package (${(error as Error).message})` });
    }
  };
  await Promise.all([...servers.map(provideServer), ...tools.map(provideTool)]);
  return { addresses, missing };
}

async function works([program = "", ...args]: string[]): Promise<boolean> {
  return runCommand(program, args, { timeoutMs: checkLimitMs }).then(
    () => true,
    () => false,
  );
}
