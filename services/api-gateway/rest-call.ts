/** One REST request from its route to the action and back. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { GatewayResponse, IncomingRequest } from "moleculer-web";
import { LongshoreError } from "../../lib/errors.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import type { BodyError, BodyTerms, RestOptions, StoredBody } from "../../lib/rest-options.ts";
import { sendEvents } from "./event-response.ts";
import { readBody, readJsonBody } from "./json-body.ts";
import { storeBody } from "./object-body.ts";
import type { ServedObject } from "./object-response.ts";
import { sendObject } from "./object-response.ts";
import { sendError, viewRestError } from "./rest-errors.ts";
import type { RestRoute } from "./rest-routes.ts";

const DEFAULT_LIMIT = 4 * 1024 * 1024;
/** What is left of a refused body is read so long, for the client to get to the answer. */
const LINGER = 5_000;

/** What moleculer-web gives a route's function: without merging, its sources of parameters stay apart. */
type RoutedRequest = IncomingRequest & {
  $params: { query: Record<string, unknown>; params: Record<string, unknown> };
};

/** What serving a request needs of the gateway. */
export interface RestScope {
  /** Answers as moleculer-web does, with what the action said of status and headers. */
  respond: (req: IncomingRequest, res: GatewayResponse, data: unknown) => void;
  /** Opened when it is first needed. */
  objects: () => Promise<ObjectStore>;
  /** Aborted when the node begins to stop: streams of events end then. */
  draining: AbortSignal;
}

/** Calls the route's action and answers with its result, or with its error in the service's form. */
export async function serveRest(
  route: RestRoute,
  req: IncomingRequest,
  res: GatewayResponse,
  scope: RestScope,
): Promise<void> {
  try {
    await answer(route, req, res, scope, abortedWithClient(res));
  } catch (error) {
    sendError(res, error, req.$ctx.requestID ?? "", route.errors);
    discardRest(req);
  }
}

async function answer(
  { action, options }: RestRoute,
  req: IncomingRequest,
  res: GatewayResponse,
  scope: RestScope,
  signal: AbortSignal,
): Promise<void> {
  const { query, params: path } = (req as RoutedRequest).$params;
  const headers = pick(req, options.headers);
  const check = async (): Promise<number> => {
    const terms: BodyTerms | undefined = options.check
      ? await req.$ctx.call(options.check, { ...query, ...path }, { signal, meta: { headers } })
      : undefined;
    return terms?.limit ?? options.limit ?? DEFAULT_LIMIT;
  };
  const call = (body: object) => req.$ctx.call(action, { ...query, ...body, ...path }, { signal, meta: { headers } });

  if (options.response === "events") {
    await check();
    const ended = AbortSignal.any([signal, scope.draining]);
    const pull = (stream: object) =>
      req.$ctx.call(action, { ...query, ...path }, { signal: ended, meta: { headers, stream } });
    return sendEvents(res, pull, req.headers["last-event-id"]?.toString(), ended, scope.draining);
  }

  const result =
    options.body === "object"
      ? await callWithObject(await scope.objects(), req, options, check, signal, call)
      : await call(await readParams(req, options, await check()));
  if (options.response === "object") {
    return sendObject(req, res, result as ServedObject, await scope.objects(), signal);
  }
  scope.respond(req, res, result);
  if (options.bodyErrors === "pass") discardRest(req);
}

/** The parameters that a body brings. */
async function readParams(req: IncomingMessage, { body, bodyErrors }: RestOptions, limit: number): Promise<object> {
  if (req.method === "GET" || req.method === "HEAD") return {};
  if (body !== "bytes") return readJsonBody(req, limit);
  const contentType = req.headers["content-type"] ?? "";
  try {
    return { body: await readBody(req, limit), contentType };
  } catch (error) {
    if (bodyErrors !== "pass") throw error;
    return { bodyError: bodyErrorOf(error), contentType };
  }
}

function bodyErrorOf(error: unknown): BodyError {
  const { http, message, data } = viewRestError(error);
  return { status: http, message, ...(data.reason !== undefined && { reason: data.reason }) };
}

/** The object is the action's once it has taken it; what it refuses is not kept. */
async function callWithObject(
  objects: ObjectStore,
  req: IncomingMessage,
  { keepEncoding, bodyErrors }: RestOptions,
  check: () => Promise<number>,
  signal: AbortSignal,
  call: (body: { object?: StoredBody; bodyError?: BodyError }) => Promise<unknown>,
): Promise<unknown> {
  let object: StoredBody;
  try {
    object = await storeBody(req, objects, { limit: await check(), keepEncoding, signal });
  } catch (error) {
    if (bodyErrors !== "pass") throw error;
    // Named, so that a query cannot bring an object.
    return call({ object: undefined, bodyError: bodyErrorOf(error) });
  }
  try {
    return await call({ object });
  } catch (error) {
    await objects.delete(object.key).catch(() => undefined);
    throw error;
  }
}

function pick({ headers }: IncomingMessage, names: string[] = []): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => (headers[name] === undefined ? [] : [[name, String(headers[name])]])),
  );
}

/** A client that still sends its body would not see an answer on a connection that is closed at once. */
function discardRest(req: IncomingMessage): void {
  if (req.complete || req.destroyed) return;
  req.resume();
  const timer = setTimeout(() => req.destroy(), LINGER).unref();
  req.once("close", () => clearTimeout(timer));
}

/** Aborts when the client goes away before it has its answer. */
function abortedWithClient(res: ServerResponse): AbortSignal {
  const abort = new AbortController();
  res.once("close", () => {
    if (!res.writableFinished) abort.abort(new LongshoreError("CANCELLED", "the client is gone"));
  });
  return abort.signal;
}
