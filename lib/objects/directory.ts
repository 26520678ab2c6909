import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { mkdir, open, opendir, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { LongshoreError, failedPrecondition, notFound } from "../errors.ts";
import { INCOMING, incomingName, writerIsDead } from "./incoming.ts";
import { Intake } from "./intake.ts";
import type { ByteRange, ObjectInfo, ObjectStore, PutOptions, PutResult } from "./object-store.ts";
import { checkKey } from "./object-store.ts";

/** A put that has written nothing for so long is dead, whatever host it ran on. */
const STALE_MS = 3_600_000;

export interface DirectoryOptions {
  /** Names this store's temporary files, so that `sweepIncoming` can remove them; letters, digits and dashes. */
  owner?: string;
}

/** Opens a directory as an object store; creates it where missing and sweeps what dead puts left. */
export async function openDirectory(root: string, { owner }: DirectoryOptions = {}): Promise<ObjectStore> {
  await mkdir(join(root, INCOMING), { recursive: true, mode: 0o700 });
  await sweepStale(root);
  return new DirectoryStore(root, owner ?? "put");
}

/** Removes the temporary files of one owner, for whoever had to end that owner by force. */
export async function sweepIncoming(root: string, owner: string): Promise<void> {
  // Whoever died early may not even have opened the store.
  const names = await readdir(join(root, INCOMING)).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for (const name of names) {
    if (name.startsWith(`${owner}.`)) await rm(join(root, INCOMING, name), { force: true });
  }
}

class DirectoryStore implements ObjectStore {
  readonly #root: string;
  readonly #owner: string;

  constructor(root: string, owner: string) {
    this.#root = root;
    this.#owner = owner;
  }

  async put(
    key: string,
    source: AsyncIterable<Uint8Array>,
    { signal, maxBytes = Infinity }: PutOptions = {},
  ): Promise<PutResult> {
    const target = this.#path(key);
    // Within the root, so that the rename never crosses file systems.
    const temporary = join(this.#root, INCOMING, incomingName(this.#owner));
    try {
      const file = await open(temporary, "wx");
      const intake = new Intake(key, maxBytes);
      try {
        await writeAll(file, intake.take(source, signal));
        await file.sync();
      } finally {
        await file.close();
      }
      signal?.throwIfAborted();
      await this.#moveInPlace(temporary, target);
      return { ...intake.sum(), etag: etagOf(await stat(target, { bigint: true })) };
    } catch (error) {
      await rm(temporary, { force: true });
      throw this.#explain(error, key);
    }
  }

  async get(key: string, { start = 0, end }: ByteRange = {}) {
    const file = await this.#open(key);
    try {
      const info = await describe(file, key);
      // An empty range cannot be said to createReadStream: its `end` is inclusive.
      const last = Math.min(end ?? info.size - 1, info.size - 1);
      const stream = file.createReadStream({ start, end: Math.max(last, start), highWaterMark: 256 * 1024 });
      return { stream, info };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async head(key: string): Promise<ObjectInfo | undefined> {
    try {
      const file = await this.#open(key);
      try {
        return await describe(file, key);
      } finally {
        await file.close();
      }
    } catch (error) {
      if (error instanceof LongshoreError && error.type === "NOT_FOUND") return undefined;
      throw error;
    }
  }

  async delete(key: string): Promise<boolean> {
    try {
      await rm(this.#path(key));
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async move(from: string, to: string): Promise<void> {
    try {
      await this.#moveInPlace(this.#path(from), this.#path(to));
    } catch (error) {
      if (isMissing(error)) throw notFound(`there is no object ${from}`);
      throw this.#explain(error, to);
    }
  }

  async *list(prefix: string): AsyncIterable<ObjectInfo> {
    // Only where such keys can be.
    const root = join(this.#root, dirname(`${prefix}-`));
    const entries = await opendir(root, { recursive: true }).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    });
    for await (const entry of entries) {
      const path = join(entry.parentPath, entry.name);
      const key = relative(this.#root, path).split(sep).join("/");
      if (!entry.isFile() || key.startsWith(".") || !key.startsWith(prefix)) continue;
      const info = await this.head(key);
      if (info) yield info;
    }
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#root);
    return bavail * bsize;
  }

  #path(key: string): string {
    checkKey(key);
    return join(this.#root, ...key.split("/"));
  }

  async #open(key: string): Promise<FileHandle> {
    let file: FileHandle;
    try {
      file = await open(this.#path(key), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      if (isMissing(error)) throw notFound(`there is no object ${key}`);
      throw error;
    }
    if ((await file.stat()).isFile()) return file;
    await file.close();
    throw notFound(`there is no object ${key}`);
  }

  /** After the rename the directories are synced too: without that a power cut may take the name away again. */
  async #moveInPlace(temporary: string, target: string): Promise<void> {
    const created = await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await rename(temporary, target);
    const top = created === undefined ? dirname(target) : dirname(created);
    for (let path = dirname(target); path.length >= top.length; path = dirname(path)) await syncDirectory(path);
  }

  #explain(error: unknown, key: string): unknown {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOSPC" || code === "EDQUOT") {
      const message = `no room left for ${key}: the disk of ${this.#root} is full (${code})`;
      return new LongshoreError("RESOURCE_EXHAUSTED", message, { reason: "DISK_FULL" }, { cause: error });
    }
    if (code === "EISDIR" || code === "ENOTDIR" || code === "EEXIST") {
      return failedPrecondition(`${key} cannot be stored: another object's key is a part of its path`);
    }
    return error;
  }
}

async function writeAll(file: FileHandle, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) {
    for (let done = 0; done < chunk.byteLength;) done += (await file.write(chunk, done)).bytesWritten;
  }
}

async function describe(file: FileHandle, key: string): Promise<ObjectInfo> {
  const stats = await file.stat({ bigint: true });
  return { key, size: Number(stats.size), etag: etagOf(stats), modifiedAt: stats.mtime };
}

function etagOf({ size, mtimeNs, ino }: { size: bigint; mtimeNs: bigint; ino: bigint }): string {
  return `"${size.toString(36)}-${mtimeNs.toString(36)}-${ino.toString(36)}"`;
}

async function sweepStale(root: string): Promise<void> {
  for (const name of await readdir(join(root, INCOMING))) {
    const path = join(root, INCOMING, name);
    if (writerIsDead(name)) {
      await rm(path, { force: true });
      continue;
    }
    const modified = await stat(path).then(
      (stats) => stats.mtimeMs,
      () => Infinity,
    );
    if (Date.now() - modified > STALE_MS) await rm(path, { force: true });
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR" || code === "ERR_FS_EISDIR" || code === "ELOOP";
}
