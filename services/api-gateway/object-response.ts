/** Answers that come from the object store: whole or a range of it (RFC 9110, sections 13 and 14). */
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { LongshoreError, notFound, unavailable } from "../../lib/errors.ts";
import { contentDisposition } from "../../lib/objects/content-disposition.ts";
import type { ObjectInfo, ObjectStore } from "../../lib/objects/object-store.ts";
import { decideRange } from "../../lib/objects/range.ts";

/** What an action answers to have an object sent. */
export interface ServedObject {
  key: string;
  /** What the browser shall call it; any characters. */
  fileName: string;
  contentType: string;
}

/** A client that takes nothing for so long is cut off: it holds a file open. */
const STALLED = 120_000;

/** Sends an object, or what the request wants of it. Throws NOT_FOUND, or OUT_OF_RANGE, before anything is sent. */
export async function sendObject(
  req: IncomingMessage,
  res: ServerResponse,
  { key, fileName, contentType }: ServedObject,
  objects: ObjectStore,
  signal: AbortSignal,
): Promise<void> {
  const info = await objects.head(key);
  if (!info) throw notFound("the file is not there any more");
  const lastModified = info.modifiedAt.toUTCString();
  res.setHeader("ETag", info.etag).setHeader("Last-Modified", lastModified).setHeader("Accept-Ranges", "bytes");
  if (matchesAny(req.headers["if-none-match"], info.etag)) {
    res.writeHead(304).end();
    return;
  }
  const range = decideRange(rangeHeader(req, info.etag, lastModified), info.size);
  if (range.kind === "unsatisfiable") {
    res.setHeader("Content-Range", `bytes */${info.size}`);
    throw new LongshoreError("OUT_OF_RANGE", `range: the file has ${info.size} bytes`, { field: "range" });
  }
  const { start, end } = range.kind === "partial" ? range : { start: 0, end: info.size - 1 };
  const headers = {
    "Content-Type": contentType,
    "Content-Disposition": contentDisposition(fileName),
    "Content-Length": end - start + 1,
    ...(range.kind === "partial" && { "Content-Range": `bytes ${start}-${end}/${info.size}` }),
  };
  const status = range.kind === "partial" ? 206 : 200;
  if (req.method === "HEAD" || info.size === 0) {
    res.writeHead(status, headers).end();
    return;
  }
  const stream = await openSame(objects, info, start, end);
  res.writeHead(status, headers);
  res.setTimeout(STALLED, () => res.destroy());
  // The client learns of a broken stream by the missing bytes; there is nobody else to tell.
  await pipeline(stream, res, { signal }).catch(() => res.destroy());
}

async function openSame(objects: ObjectStore, { key, etag }: ObjectInfo, start: number, end: number) {
  const { stream, info } = await objects.get(key, { start, end });
  if (info.etag === etag) return stream;
  stream.destroy();
  throw unavailable("the file was replaced just now; ask again");
}

/** A range counts only while the file is the one that the client has the other part of. */
function rangeHeader({ headers }: IncomingMessage, etag: string, lastModified: string): string | undefined {
  const condition = headers["if-range"];
  return condition === undefined || condition === etag || condition === lastModified ? headers.range : undefined;
}

function matchesAny(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((one) => [etag, "*"].includes(one.trim().replace(/^W\//, "")));
}
