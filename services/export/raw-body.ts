/** Rows that came in the request. */
import { buffer } from "node:stream/consumers";
import { Worker } from "node:worker_threads";
import { invalidArgument } from "../../lib/errors.ts";
import type { SentError } from "../../lib/job-thread/sent-error.ts";
import { receiveError } from "../../lib/job-thread/sent-error.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import type { ObjectsPlace } from "../../lib/objects/open.ts";
import type { ExportRequest, RequestLimits } from "./request.ts";
import { hashKey, parseRawExport } from "./request.ts";

/** A body of 64 MB would hold up the node for a second, so it is read in a thread, which takes 100 ms to begin; one of this size takes 2. */
const SMALL_BYTES = 64 * 1024;

/** What is read, and how. */
export interface RawBodyStart {
  objects: ObjectsPlace;
  /** The key of the object that holds the request's body. */
  body: string;
  limits: RequestLimits;
  /** See hashKey. */
  secret: Uint8Array;
}

export interface RawBody {
  hashKey: string;
  request: ExportRequest;
  /** The key of the object that now holds the rows. */
  rows: string;
}

export type FromRawBodyThread = { kind: "done"; result: RawBody } | { kind: "failed"; error: SentError };

/** Checks the body, which `store` holds, stores its rows as an object of their own and answers the rest of it. */
export async function readRawBody(store: ObjectStore, start: RawBodyStart, signal: AbortSignal): Promise<RawBody> {
  const { stream, info } = await store.get(start.body);
  if (info.size <= SMALL_BYTES) return takeRawBody(store, await buffer(stream), start);
  stream.destroy();
  return readInThread(start, signal);
}

/** The same of a body that is here. */
export async function takeRawBody(
  store: ObjectStore,
  body: Buffer,
  { limits, secret }: Pick<RawBodyStart, "limits" | "secret">,
): Promise<RawBody> {
  const parsed = parseBody(body);
  const { rows: text, ...request } = parseRawExport(parsed, limits);
  const key = hashKey(parsed as Record<string, unknown>, secret);
  const rows = `sources/${key}.json`;
  await store.put(rows, inChunks(Buffer.from(text)));
  return { hashKey: key, request, rows };
}

function parseBody(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    throw invalidArgument("body", `is not JSON (${(error as Error).message.slice(0, 200)})`);
  }
}

async function* inChunks(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let from = 0; from < bytes.length; from += 256 * 1024) yield bytes.subarray(from, from + 256 * 1024);
}

function readInThread(start: RawBodyStart, signal: AbortSignal): Promise<RawBody> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL("./raw-body-thread.ts", import.meta.url), {
      name: "export-raw-body",
      workerData: start,
      resourceLimits: { maxOldGenerationSizeMb: 1_024 },
    });
    const abort = () => void thread.terminate();
    signal.addEventListener("abort", abort, { once: true });
    thread.once("message", (message: FromRawBodyThread) => {
      if (message.kind === "done") resolve(message.result);
      else reject(receiveError(message.error));
    });
    thread.once("error", reject);
    thread.once("exit", () => {
      signal.removeEventListener("abort", abort);
      // Has no effect where the thread has answered.
      reject(signal.aborted ? (signal.reason as Error) : new Error("the thread ended without an answer"));
    });
  });
}
