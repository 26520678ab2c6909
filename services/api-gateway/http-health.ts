import type { IncomingMessage, ServerResponse } from "node:http";
import { sendJson } from "./rest-errors.ts";

/** Answers `/health/live` and `/health/ready`; false where the request is for something else. */
export function answerHealth(req: IncomingMessage, res: ServerResponse, ready: boolean): boolean {
  if (req.method !== "GET" && req.method !== "HEAD") return false;
  if (req.url === "/health/live") sendJson(res, 200, { status: "live" });
  else if (req.url === "/health/ready") sendJson(res, ready ? 200 : 503, { status: ready ? "ready" : "not ready" });
  else return false;
  return true;
}
