import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import type { Context, ServiceSchema } from "moleculer";
import { LongshoreError, invalidArgument } from "../../lib/errors.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

type Params = Record<string, unknown>;

let seen: {
  params: Params;
  meta: Params;
  requestID?: string | null;
  aborted: boolean;
  waiting: boolean;
  calls: number;
};

beforeEach(() => {
  seen = { params: {}, meta: {}, aborted: false, waiting: false, calls: 0 };
});

function echo(ctx: Context<Params, Params>): Params {
  Object.assign(seen, { params: ctx.params, meta: { ...ctx.meta }, requestID: ctx.requestID, calls: seen.calls + 1 });
  return { ...ctx.params };
}

const desk = {
  name: "desk",
  actions: {
    create: {
      rest: "POST /v1/notes",
      handler(ctx: Context<Params, Params>) {
        ctx.meta["$statusCode"] = 201;
        ctx.meta["$responseHeaders"] = { "X-Note": "new" };
        return echo(ctx);
      },
    },
    get: { rest: ["GET /v1/notes/{ID}", "GET /v1/old/{ID}"], handler: echo },
    byTitle: {
      rest: "GET /v1/notes/by-title/{title}",
      handler: (ctx: Context<Params, Params>) => ({ by: "title", ...echo(ctx) }),
    },
    latest: { rest: "GET /v1/notes/latest", handler: () => ({ by: "latest" }) },
    cancel: {
      rest: "POST /v1/notes/{ID}:cancel",
      handler: (ctx: Context<Params, Params>) => ({ by: "cancel", ...echo(ctx) }),
    },
    post: { rest: "POST /v1/notes/{ID}", handler: (ctx: Context<Params, Params>) => ({ by: "post", ...echo(ctx) }) },
    rest: { rest: "GET /v1/files/{name=**}", handler: echo },
    nothing: { rest: "DELETE /v1/notes/{ID}", handler: () => undefined },
    small: { rest: { path: "POST /v1/small", limit: 100 }, handler: echo },
    bytes: {
      rest: { path: "POST /v1/bytes", body: "bytes", headers: ["account"] },
      handler(ctx: Context<Params, Params>) {
        echo(ctx);
        ctx.meta["$responseType"] = "application/x-protobuf";
        return ctx.params["body"];
      },
    },
    wait: {
      rest: "POST /v1/wait",
      async handler(ctx: Context) {
        seen.waiting = true;
        await once(signalOf(ctx), "abort");
        seen.aborted = true;
      },
    },
    slow: {
      rest: "POST /v1/slow",
      timeout: 50,
      handler: (ctx: Context) => once(signalOf(ctx), "abort"),
    },
    refuse: {
      rest: "GET /v1/refuse/{how}",
      handler({ params: { how } }: Context<{ how: string }>) {
        if (how === "field") throw invalidArgument("Note.title", "is empty");
        if (how === "lost")
          throw new LongshoreError("NOT_FOUND", "no such note", { reason: "NOTE_MISSING", metadata: { note: "7" } });
        throw new Error("the password is hunter2");
      },
    },
    events: {
      rest: { path: "GET /v1/events", response: "events" },
      async handler(ctx: Context<{ last?: string }, { stream: { cursor?: string } }>) {
        const from = Number(ctx.meta.stream.cursor ?? 0);
        if (ctx.params.last === "forever" && from > 0) {
          seen.waiting = true;
          await once(signalOf(ctx), "abort");
          seen.aborted = true;
        }
        if (ctx.params.last === "none") throw invalidArgument("last", "is none");
        return {
          items: [{ n: from + 1 }, { n: from + 2 }],
          cursor: String(from + 2),
          done: from + 2 >= Number(ctx.params.last),
        };
      },
    },
  },
} as unknown as ServiceSchema;

const counter = {
  name: "counter",
  settings: { rest: { errors: { State: "$http", Message: "$message", id: "$requestId" } } },
  actions: {
    get: {
      rest: "GET /v2/refuse",
      handler: () => {
        throw invalidArgument("x", "is wrong");
      },
    },
    post: { rest: { path: "POST /v2/post", limit: 50 }, handler: echo },
  },
} as unknown as ServiceSchema;

let node: TestNode;

beforeAll(async () => {
  node = await startNode({ services: [gateway, desk, counter] });
});

afterAll(() => node.stop());

async function call(path: string, init: RequestInit = {}) {
  const response = await fetch(node.http + path, init);
  const text = await response.text();
  const type = response.headers.get("content-type") ?? "";
  const body = (type.startsWith("application/json") ? JSON.parse(text) : text) as Params & { error: Params };
  return { status: response.status, headers: response.headers, body };
}

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  call(path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), headers });

describe("a path", () => {
  test("gives its segments, decoded, to the action", async () => {
    expect((await call("/v1/notes/a%2Fb%20%C3%BC")).body).toEqual({ ID: "a/b ü" });
    expect((await call("/v1/old/7")).body).toEqual({ ID: "7" });
  });

  test("with a verb is not taken for one without, nor the other way round", async () => {
    expect((await post("/v1/notes/7:cancel", {})).body).toEqual({ by: "cancel", ID: "7" });
    expect((await post("/v1/notes/a:b:cancel", {})).body).toEqual({ by: "cancel", ID: "a:b" });
    expect((await post("/v1/notes/7", {})).body).toEqual({ by: "post", ID: "7" });
  });

  test("of words goes before one of variables", async () => {
    expect((await call("/v1/notes/latest")).body).toEqual({ by: "latest" });
    expect((await call("/v1/notes/by-title/x")).body).toEqual({ by: "title", title: "x" });
  });

  test("that takes the rest takes slashes", async () => {
    expect((await call("/v1/files/a/b%20c/d.txt")).body).toEqual({ name: "a/b c/d.txt" });
  });

  test("is case sensitive, and unknown ones are named with their method", async () => {
    const { status, body } = await call("/V1/notes/7?x=1");
    expect(status).toBe(404);
    expect(body.error).toMatchObject({
      code: 404,
      status: "NOT_FOUND",
      message: "GET /V1/notes/7: there is no such path",
    });
    expect((await call("/v1/notes", { method: "PATCH" })).status).toBe(404);
  });

  test("that is not well encoded is the client's fault", async () => {
    expect(await call("/v1/notes/%ff")).toMatchObject({ status: 400, body: { error: { status: "INVALID_ARGUMENT" } } });
  });

  test("answers HEAD as GET, without a body", async () => {
    const response = await fetch(`${node.http}/v1/notes/7`, { method: "HEAD" });
    expect(response.status).toBe(200);
    expect(await response.text()).toBe("");
  });

  test.each(["/", "/desk/create", "/v1", "/$node/list", "/~node/actions", "/api-gateway/rest", "/list-aliases"])(
    "that no action declares reaches none: %s",
    async (path) => {
      expect((await call(path)).status).toBe(404);
    },
  );
});

describe("parameters", () => {
  test("come from path, body and query, the first that has one", async () => {
    const { body } = await post("/v1/notes/path:cancel?ID=query&a=query&b=query", { ID: "body", a: "body" });
    expect(body).toMatchObject({ ID: "path", a: "body", b: "query" });
  });

  test("cannot reach prototypes", async () => {
    await post("/v1/notes", '{"__proto__": {"admin": true}, "a": 1}');
    expect(seen.params["admin"]).toBeUndefined();
    await call("/v1/notes/7?__proto__[admin]=true&constructor[x]=1");
    expect(seen.params["admin"]).toBeUndefined();
    expect(({} as Params)["admin"]).toBeUndefined();
  });
});

describe("a body", () => {
  test.each([
    ["{", /^body: is not JSON/],
    ["[1]", /^body: must be a JSON object$/],
    ['"text"', /^body: must be a JSON object$/],
    ["null", /^body: must be a JSON object$/],
    ["\xff", /^body: /],
  ])("that is no JSON object is refused: %s", async (text, message) => {
    const { status, body } = await post("/v1/notes", text);
    expect(status).toBe(400);
    expect(body.error).toMatchObject({ status: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
    expect(seen.calls).toBe(0);
  });

  test("that is absent is an empty object", async () => {
    expect(await call("/v1/notes", { method: "POST" })).toMatchObject({ status: 201, body: {} });
  });

  test("of up to 4 MiB is taken, a larger one is 413, announced or not", async () => {
    const MIB = 1024 * 1024;
    expect((await post("/v1/notes", { text: "x".repeat(4 * MIB - 20) })).status).toBe(201);
    expect(await post("/v1/notes", { text: "x".repeat(4 * MIB) })).toMatchObject({
      status: 413,
      body: { error: { code: 413, status: "RESOURCE_EXHAUSTED" } },
    });
    const endless = new ReadableStream({ pull: (controller) => controller.enqueue(Buffer.alloc(64 * 1024, "x")) });
    const init = { method: "POST", body: endless, duplex: "half" } as RequestInit;
    const answer = await call("/v1/notes", init).catch((error: unknown) => error);
    expect(answer).toMatchObject({ status: 413 });
    expect((await post("/v1/small", { text: "x".repeat(100) })).status).toBe(413);
  });

  test("of bytes goes to the action as it is, with the headers it asked for, and back", async () => {
    const bytes = Buffer.from([0, 1, 254, 255]);
    const response = await fetch(`${node.http}/v1/bytes?x=1`, {
      method: "POST",
      body: bytes,
      headers: { "Content-Type": "application/x-protobuf", Account: "2000", Authorization: "secret" },
    });
    expect(Buffer.from(await response.arrayBuffer())).toEqual(bytes);
    expect(response.headers.get("content-type")).toBe("application/x-protobuf");
    expect(seen.params).toMatchObject({ x: "1", contentType: "application/x-protobuf" });
    expect(seen.meta["headers"]).toEqual({ account: "2000" });
  });
});

describe("an answer", () => {
  test("has the status and headers that the action set", async () => {
    const { status, headers } = await post("/v1/notes", { a: 1 });
    expect(status).toBe(201);
    expect(headers.get("x-note")).toBe("new");
  });

  test("of nothing is empty", async () => {
    expect(await call("/v1/notes/7", { method: "DELETE" })).toMatchObject({ status: 200, body: "" });
  });

  test("bears the request's id and no word about what serves it", async () => {
    const { headers } = await call("/v1/notes/7", { headers: { "x-b3-traceid": "463ac35c9f6413ad" } });
    expect(headers.get("x-request-id")).toBe("463ac35c9f6413ad");
    expect(seen.requestID).toBe("463ac35c9f6413ad");
    expect(seen.meta["traceparent"]).toMatch(/^00-0000000000000000463ac35c9f6413ad-/);
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("x-powered-by")).toBeNull();
    expect(headers.get("access-control-allow-origin")).toBeNull();
    const { headers: other } = await call("/v1/notes/7", { headers: { "x-request-id": "spaces are not safe" } });
    expect(other.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("an error", () => {
  test("has Google's form, with details in protobuf JSON", async () => {
    const { status, body } = await call("/v1/refuse/field", { headers: { "x-request-id": "r-1" } });
    expect(status).toBe(400);
    expect(body).toEqual({
      error: {
        code: 400,
        message: "Note.title: is empty",
        status: "INVALID_ARGUMENT",
        details: [
          {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            reason: "INVALID_ARGUMENT",
            domain: "longshore",
            metadata: {},
          },
          {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            fieldViolations: [{ field: "Note.title", description: "Note.title: is empty" }],
          },
          { "@type": "type.googleapis.com/google.rpc.RequestInfo", requestId: "r-1" },
        ],
      },
    });
    const lost = await call("/v1/refuse/lost");
    expect(lost.status).toBe(404);
    expect(lost.body.error["details"]).toContainEqual(
      expect.objectContaining({ reason: "NOTE_MISSING", metadata: { note: "7" } }),
    );
  });

  test("that nobody meant is 500 and tells nothing of the inside", async () => {
    const { status, body } = await call("/v1/refuse/fault");
    expect(status).toBe(500);
    expect(JSON.stringify(body)).not.toMatch(/hunter2|\.ts/);
  });

  test("has its service's own form where that has one, also for what the gateway refuses", async () => {
    const headers = { "x-request-id": "r-2" };
    expect((await call("/v2/refuse", { headers })).body).toEqual({ State: 400, Message: "x: is wrong", id: "r-2" });
    expect((await post("/v2/post", "{", headers)).body).toMatchObject({ State: 400, id: "r-2" });
    expect((await post("/v2/post", { text: "x".repeat(60) }, headers)).body).toMatchObject({ State: 413, id: "r-2" });
  });

  test("of a call that took too long is 504", async () => {
    expect(await post("/v1/slow", {})).toMatchObject({ status: 504, body: { error: { status: "DEADLINE_EXCEEDED" } } });
  });
});

test("a client that goes away aborts the handler", async () => {
  const abort = new AbortController();
  const call = fetch(`${node.http}/v1/wait`, { method: "POST", signal: abort.signal });
  await waitFor(() => seen.waiting);
  abort.abort();
  await expect(call).rejects.toThrow();
  await waitFor(() => seen.aborted);
});

describe("another site's page", () => {
  test.each([
    ["says so", { "Sec-Fetch-Site": "cross-site" }],
    ["has another origin", { Origin: "https://evil.example" }],
    ["hides its origin", { Origin: "null" }],
  ])("is refused what changes something when the browser %s", async (_, headers) => {
    // fetch does not let a program set these.
    const request = httpRequest(`${node.http}/v1/notes`, { method: "POST", headers });
    request.end("{}");
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.resume();
    expect(response.statusCode).toBe(403);
    expect(seen.calls).toBe(0);
  });

  test("cannot run an action by asking whether it might", async () => {
    const headers = { Origin: "https://evil.example", "Access-Control-Request-Method": "POST" };
    const request = httpRequest(`${node.http}/v1/notes`, { method: "OPTIONS", headers });
    request.end();
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.resume();
    expect(response.statusCode).toBe(403);
    expect(seen.calls).toBe(0);
  });

  test("is not our own page", async () => {
    const request = httpRequest(`${node.http}/v1/notes`, { method: "POST", headers: { Origin: node.http } });
    request.end("{}");
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.resume();
    expect(response.statusCode).toBe(201);
  });
});

describe("events", () => {
  test("are sent page after page, each with its place", async () => {
    const response = await fetch(`${node.http}/v1/events?last=4`);
    expect(response.headers.get("content-type")).toMatch(/^text\/event-stream/);
    expect(await response.text()).toBe(
      'data: {"n":1}\n\nid: 2\ndata: {"n":2}\n\ndata: {"n":3}\n\nid: 4\ndata: {"n":4}\n\n',
    );
  });

  test("go on where a client has lost them", async () => {
    const response = await fetch(`${node.http}/v1/events?last=4`, { headers: { "Last-Event-ID": "2" } });
    expect(await response.text()).toBe('data: {"n":3}\n\nid: 4\ndata: {"n":4}\n\n');
  });

  test("that cannot begin are an error with its status", async () => {
    expect(await call("/v1/events?last=none")).toMatchObject({ status: 400 });
  });

  test("end with their client", async () => {
    const abort = new AbortController();
    const response = await fetch(`${node.http}/v1/events?last=forever`, { signal: abort.signal });
    await response.body!.getReader().read();
    await waitFor(() => seen.waiting);
    abort.abort();
    await waitFor(() => seen.aborted);
  });
});

test("headers of more than 16 KiB are refused", async () => {
  const socket = connect(Number(node.http.split(":").at(-1)), "127.0.0.1");
  socket.write(`GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(20_000)}\r\n\r\n`);
  const [data] = (await once(socket, "data")) as [Buffer];
  expect(data.toString()).toMatch(/^HTTP\/1\.1 431/);
  socket.destroy();
});

test("an encoded body of JSON is not guessed at", async () => {
  const { status } = await call("/v1/notes", {
    method: "POST",
    body: gzipSync('{"a":1}'),
    headers: { "Content-Encoding": "gzip" },
  });
  expect(status).toBe(400);
});
