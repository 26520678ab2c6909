/**
 * The source text of a contract: a `.proto` file and what it imports. It is what one node tells another of its gRPC
 * services, for of all forms it alone loses nothing (protobufjs reads no map and no `optional` back from a descriptor).
 * Google's own files are left out: every node has them.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { LongshoreError, failedPrecondition } from "../errors.ts";

/** The directory that imports of our own contracts start from. */
export const PROTO_DIRECTORY = fileURLToPath(new URL("../../proto", import.meta.url));

const GOOGLE_DIRECTORY = dirname(createRequire(import.meta.url).resolve("google-proto-files/package.json"));

/** Text by import name (`standard/queues.proto`), the file that was asked for first. */
export type ProtoSource = Record<string, string>;

/** Of each contract there is one: parsed by the service that answers it, by the gateway, and by whoever names its types. */
const MAX_KNOWN = 256;
const sources = new Map<string, ProtoSource>();
const roots = new Map<string, protobuf.Root>();

/** Reads a `.proto` file (under `proto/`, absolute, or one of Google's) and every file it imports, Google's excepted, once. */
export function readProto(path: string): ProtoSource {
  return { ...remember(sources, path, () => readFiles(path)) };
}

function readFiles(path: string): ProtoSource {
  const directory = isAbsolute(path) ? dirname(path) : PROTO_DIRECTORY;
  const source: ProtoSource = {};
  const root = loadFiles(isAbsolute(path) ? basename(path) : path, (name, importedBy) => {
    const text = readIfThere(directory, name) ?? readIfThere(PROTO_DIRECTORY, name);
    if (text !== undefined) return (source[name] = text);
    const google = readGoogle(name, importedBy);
    // What was asked for itself is the source, whoever wrote it.
    return importedBy === undefined ? (source[name] = google) : google;
  });
  remember(roots, JSON.stringify(source), () => root);
  return source;
}

/**
 * Makes the types and services of a source; each knows its file by import name. Field names stay as written. Whoever asks for
 * the same source has the same: it is not to be changed.
 */
export function loadProto(source: ProtoSource): protobuf.Root {
  const [first] = Object.keys(source);
  if (first === undefined) throw failedPrecondition("a contract without a file");
  return remember(roots, JSON.stringify(source), () =>
    loadFiles(first, (name, importedBy) => source[name] ?? readGoogle(name, importedBy)),
  );
}

function remember<T>(known: Map<string, T>, key: string, make: () => T): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  const made = make();
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(key, made);
  return made;
}

function loadFiles(first: string, read: (name: string, importedBy?: string) => string): protobuf.Root {
  const root = new protobuf.Root();
  const seen = new Set<string>();
  const load = (name: string, importedBy?: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const { imports = [], weakImports = [] } = parse(read(name, importedBy), name, root);
    for (const imported of [...imports, ...weakImports]) load(imported, name);
  };
  load(first);
  root.files = [...seen];
  return resolve(root, first);
}

function parse(text: string, name: string, root: protobuf.Root): protobuf.IParserResult {
  // protobufjs takes the file's name from here, and gives it to every object that it makes.
  (protobuf.parse as unknown as { filename: string }).filename = name;
  try {
    return protobuf.parse(text, root, { keepCase: true });
  } catch (error) {
    throw failedPrecondition(`${name}: ${(error as Error).message}`);
  }
}

function resolve(root: protobuf.Root, first: string): protobuf.Root {
  try {
    root.resolveAll();
    return root;
  } catch (error) {
    throw failedPrecondition(`${first}: ${(error as Error).message}`);
  }
}

function readGoogle(name: string, importedBy?: string): string {
  const text = name.startsWith("google/") ? readIfThere(GOOGLE_DIRECTORY, name) : undefined;
  if (text !== undefined) return text;
  throw failedPrecondition(importedBy ? `${importedBy}: imports ${name}, which is not there` : `${name}: no such file`);
}

function readIfThere(directory: string, name: string): string | undefined {
  try {
    return readFileSync(join(directory, name), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new LongshoreError("FAILED_PRECONDITION", `${name}: ${(error as Error).message}`, {}, { cause: error });
  }
}
