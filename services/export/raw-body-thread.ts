import { buffer } from "node:stream/consumers";
import { parentPort, workerData } from "node:worker_threads";
import { sendError } from "../../lib/job-thread/sent-error.ts";
import { openObjects } from "../../lib/objects/open.ts";
import type { FromRawBodyThread, RawBody, RawBodyStart } from "./raw-body.ts";
import { takeRawBody } from "./raw-body.ts";

async function read(start: RawBodyStart): Promise<RawBody> {
  const store = await openObjects(start.objects);
  const { stream } = await store.get(start.body);
  return takeRawBody(store, await buffer(stream), start);
}

const answer = await read(workerData as RawBodyStart).then(
  (result): FromRawBodyThread => ({ kind: "done", result }),
  (error: unknown): FromRawBodyThread => ({ kind: "failed", error: sendError(error) }),
);
parentPort?.postMessage(answer);
