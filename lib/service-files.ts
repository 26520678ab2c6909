/** Finds the services of this program: every `services/<name>/<name>.service.ts`. */
import { readdir } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { ServiceSchema } from "moleculer";
import { failedPrecondition } from "./errors.ts";
import { nearest } from "./setting-names.ts";

const FOLDER = join(import.meta.dirname, "..", "services");

/** The services with these names, all without names; FAILED_PRECONDITION naming the one that does not exist. */
export async function loadServices(names?: readonly string[]): Promise<ServiceSchema[]> {
  const known = await serviceNames();
  for (const name of names ?? []) {
    if (known.includes(name)) continue;
    const like = nearest(name, known);
    const hint = like ? `did you mean ${like.name}?` : `there are ${known.join(", ")}`;
    throw failedPrecondition(`SERVICES: there is no service ${JSON.stringify(name)}; ${hint}`);
  }
  return Promise.all([...new Set(names ?? known)].map(loadService));
}

async function serviceNames(): Promise<string[]> {
  const entries = await readdir(FOLDER, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return folders.filter((name) => existsSync(file(name))).sort();
}

async function loadService(name: string): Promise<ServiceSchema> {
  const module = (await import(pathToFileURL(file(name)).href)) as { default: ServiceSchema };
  return module.default;
}

function file(name: string): string {
  return join(FOLDER, name, `${name}.service.ts`);
}
