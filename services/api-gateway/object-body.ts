/** Bodies that go to the object store as they come: of any size, in constant memory, never over NATS. */
import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { LongshoreError, invalidArgument } from "../../lib/errors.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import type { StoredBody } from "../../lib/rest-options.ts";
import { bodyTooLarge } from "./rest-errors.ts";

/** An upload that sends nothing for so long is given up. */
const IDLE_TIMEOUT = 60_000;

/** What packing adds at most to what cannot be packed: some 5 bytes for each 16 KiB, and the head. */
const packedLimit = (limit: number) => limit + Math.ceil(limit / 1_000) + 1_024;

export interface StoreOptions {
  /** Bytes at most, unpacked. */
  limit: number;
  /** Stores gzip as it came. */
  keepEncoding?: boolean;
  signal: AbortSignal;
}

/** Stores a request's body; a checksum that the request states must hold. A body that breaks leaves nothing behind. */
export async function storeBody(
  req: IncomingMessage,
  objects: ObjectStore,
  { limit, keepEncoding, signal }: StoreOptions,
): Promise<StoredBody> {
  const key = `incoming/${randomUUID()}`;
  const contentEncoding = req.headers["content-encoding"];
  const packed = keepEncoding && contentEncoding === "gzip";
  const maxBytes = packed ? packedLimit(limit) : limit;
  if (Number(req.headers["content-length"]) > maxBytes) throw bodyTooLarge(limit);
  const told = { contentType: req.headers["content-type"] ?? "", contentEncoding };
  if (packed) {
    const plain = { size: 0, sha256: "" };
    await objects.put(key, asItCame(bounded(received(req), maxBytes), req, limit, plain), { maxBytes, signal });
    return { key, ...plain, ...told };
  }
  const checked = checkSums(bounded(decoded(req, contentEncoding), limit), req);
  const { size, sha256 } = await objects.put(key, checked, { maxBytes, signal });
  return { key, size, sha256, ...told };
}

/** Passes gzip on, and tells what it unfolds to; that is bounded, and never held. */
async function* asItCame(
  packed: AsyncIterable<Buffer>,
  req: IncomingMessage,
  limit: number,
  told: { size: number; sha256: string },
): AsyncGenerator<Buffer> {
  const gunzip = createGunzip();
  // Whoever reads it is told.
  gunzip.on("error", () => undefined);
  const hash = createHash("sha256");
  let ended = false;
  const reading = (async () => {
    for await (const chunk of checkSums(bounded(unpacked(gunzip), limit), req)) {
      told.size += chunk.length;
      hash.update(chunk);
    }
  })().finally(() => (ended = true));
  reading.catch(() => undefined);
  try {
    for await (const chunk of packed) {
      // It ends early only where it fails.
      if (ended) await reading;
      if (!gunzip.write(chunk)) await Promise.race([once(gunzip, "drain").catch(() => reading), reading]);
      yield chunk;
    }
    gunzip.end();
    await reading;
    told.sha256 = hash.digest("hex");
  } finally {
    gunzip.destroy();
  }
}

function decoded(req: IncomingMessage, encoding: string | undefined): AsyncIterable<Buffer> {
  if (encoding === undefined || encoding === "identity") return received(req);
  if (encoding !== "gzip") throw invalidArgument("content-encoding", `${encoding} is not known; gzip is`);
  const compressed = Readable.from(received(req));
  const plain = createGunzip();
  // It may fail before anybody reads it: who does learns of it then.
  plain.on("error", () => undefined);
  compressed.on("error", (error) => plain.destroy(error)).pipe(plain);
  return unpacked(plain);
}

async function* unpacked(plain: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* plain;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code?.startsWith("Z_")) throw invalidArgument("body", `is not gzip: ${(error as Error).message}`);
    throw error;
  }
}

/** The request stays alive when reading ends early: it must still take the answer. */
async function* received(req: IncomingMessage): AsyncGenerator<Buffer> {
  const giveUp = (): void => {
    req.destroy(new LongshoreError("DEADLINE_EXCEEDED", `body: nothing came for ${IDLE_TIMEOUT / 1000} s`));
  };
  const timer = setTimeout(giveUp, IDLE_TIMEOUT);
  try {
    for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      timer.refresh();
      yield chunk;
    }
  } finally {
    clearTimeout(timer);
  }
}

async function* bounded(chunks: AsyncIterable<Buffer>, limit: number): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > limit) throw bodyTooLarge(limit);
    yield chunk;
  }
}

async function* checkSums(chunks: AsyncIterable<Buffer>, { headers }: IncomingMessage): AsyncGenerator<Buffer> {
  const sums = [
    { header: "content-md5", hash: createHash("md5") },
    { header: "x-amz-checksum-sha256", hash: createHash("sha256") },
  ].filter(({ header }) => headers[header] !== undefined);
  for await (const chunk of chunks) {
    for (const { hash } of sums) hash.update(chunk);
    yield chunk;
  }
  for (const { header, hash } of sums) {
    const actual = hash.digest("base64");
    if (headers[header] !== actual) throw invalidArgument(header, `the body's is ${actual}`);
  }
}
