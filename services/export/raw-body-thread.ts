import { buffer } from "node:stream/consumers";
import { parentPort, workerData } from "node:worker_threads";
import { invalidArgument } from "../../lib/errors.ts";
import { sendError } from "../../lib/job-thread/sent-error.ts";
import { openObjects } from "../../lib/objects/open.ts";
import type { FromRawBodyThread, RawBody, RawBodyStart } from "./raw-body.ts";
import { hashKey, parseRawExport } from "./request.ts";

async function read({ objects, body, limits, secret }: RawBodyStart): Promise<RawBody> {
  const store = await openObjects(objects);
  const { stream } = await store.get(body);
  const parsed = parseBody(await buffer(stream));
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

const answer = await read(workerData as RawBodyStart).then(
  (result): FromRawBodyThread => ({ kind: "done", result }),
  (error: unknown): FromRawBodyThread => ({ kind: "failed", error: sendError(error) }),
);
parentPort?.postMessage(answer);
