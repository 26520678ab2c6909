/** Bodies that go to the object store as they come: of any size, in constant memory, never over NATS. */
import { createHash, randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { LongshoreError, invalidArgument } from "../../lib/errors.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import type { StoredBody } from "../../lib/rest-options.ts";
import { bodyTooLarge } from "./rest-errors.ts";

/** An upload that sends nothing for so long is given up. */
const IDLE_TIMEOUT = 60_000;

/** Stores a request's body; a checksum that the request states must hold. A body that breaks leaves nothing behind. */
export async function storeBody(
  req: IncomingMessage,
  objects: ObjectStore,
  limit: number,
  signal: AbortSignal,
): Promise<StoredBody> {
  if (Number(req.headers["content-length"]) > limit) throw bodyTooLarge(limit);
  const key = `incoming/${randomUUID()}`;
  const contentEncoding = req.headers["content-encoding"];
  const checked = checkSums(bounded(decoded(req, contentEncoding), limit), req);
  const { size, sha256 } = await objects.put(key, checked, { maxBytes: limit, signal });
  return { key, size, sha256, contentType: req.headers["content-type"] ?? "", contentEncoding };
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
