/** One REST request from its route to the action and back. */
import type { ServerResponse } from "node:http";
import type { CallingOptions } from "moleculer";
import type { GatewayResponse, IncomingRequest } from "moleculer-web";
import { LongshoreError } from "../../lib/errors.ts";
import { readJsonBody } from "./json-body.ts";
import { sendError } from "./rest-errors.ts";
import type { RestRoute } from "./rest-routes.ts";

const JSON_LIMIT = 4 * 1024 * 1024;

/** What moleculer-web gives a route's function: without merging, its three sources of parameters stay apart. */
type RoutedRequest = IncomingRequest & {
  $params: { query: Record<string, unknown>; params: Record<string, unknown> };
};

/** Answers as moleculer-web does, with what the action said of status and headers. */
export type Respond = (req: IncomingRequest, res: GatewayResponse, data: unknown) => void;

/** Calls the route's action and answers with its result, or with its error in the service's form. */
export async function serveRest(
  route: RestRoute,
  req: IncomingRequest,
  res: GatewayResponse,
  respond: Respond,
): Promise<void> {
  const { query, params } = (req as RoutedRequest).$params;
  const options: CallingOptions & { signal: AbortSignal } = { signal: abortedWithClient(res) };
  try {
    const body = req.method === "GET" || req.method === "HEAD" ? {} : await readJsonBody(req, limitOf(route));
    const data = await req.$ctx.call(route.action, { ...query, ...body, ...params }, options);
    respond(req, res, data);
  } catch (error) {
    sendError(res, error, req.$ctx.requestID ?? "", route.errors);
  }
}

function limitOf({ options }: RestRoute): number {
  return options.limit ?? JSON_LIMIT;
}

/** Aborts when the client goes away before it has its answer. */
function abortedWithClient(res: ServerResponse): AbortSignal {
  const abort = new AbortController();
  res.once("close", () => {
    if (!res.writableFinished) abort.abort(new LongshoreError("CANCELLED", "the client is gone"));
  });
  return abort.signal;
}
