import { describe } from "@jest/globals";

/** The servers that `npm test` starts for the tests, by the variable that holds the address of each. */
const variables = {
  nats: "TEST_NATS_URL",
  mongodb: "TEST_MONGODB_URI",
  mariadb: "TEST_MARIADB_URL",
  postgres: "TEST_POSTGRES_URL",
} as const;

export type ServerName = keyof typeof variables;

const names = Object.keys(variables) as ServerName[];

/** The address of each server that this run has. */
export const servers: Readonly<Partial<Record<ServerName, string>>> = Object.fromEntries(
  names.map((name) => [name, process.env[variables[name]] || undefined]),
);

/** The address of a server that `describeWith` promised; throws where it is not there. */
export function serverUrl(name: ServerName): string {
  const url = servers[name];
  if (!url) throw new Error(`${variables[name]}: not set; run the tests with npm test`);
  return url;
}

/** A `describe` of tests that need servers: skipped, and its title says why, where one of them is not there. */
export function describeWith(needed: ServerName | readonly ServerName[], title: string, body: () => void): void {
  const missing = [needed].flat().filter((name) => !servers[name]);
  if (missing.length === 0) describe(title, body);
  else describe.skip(`${title} (no ${missing.join(", ")} here)`, body);
}
