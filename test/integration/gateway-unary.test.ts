import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Context, ServiceSchema } from "moleculer";
import type protobuf from "protobufjs";
import { LongshoreError, failedPrecondition, invalidArgument, notFound } from "../../lib/errors.ts";
import { loadProto } from "../../lib/protobuf/proto-source.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";
import { TestClient, protoDirectory } from "../grpc-client.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";

const protos = protoDirectory({
  "shop.proto": `
    syntax = "proto3";
    package shop.v1;
    import "google/protobuf/timestamp.proto";
    service Shop {
      rpc Echo(Order) returns (Order);
      rpc Wait(Order) returns (Order);
      rpc Refuse(Order) returns (Order);
    }
    service Desk { rpc Refuse(Order) returns (Answer); }
    enum Size { SMALL = 0; LARGE = 1; }
    message Order {
      uint64 ID = 1;
      map<string, uint64> counts = 2;
      optional string note = 3;
      oneof paid { string card = 4; bool cash = 5; }
      bytes seal = 6;
      Size size = 7;
      google.protobuf.Timestamp at = 8;
      repeated Order parts = 9;
      string text = 10;
    }
    message Answer { uint64 State = 1; string Message = 2; string text = 3; }
  `,
});

/** What the handlers saw last. */
const seen: { meta: Record<string, unknown>; requestID?: string | null; aborted?: unknown; params?: unknown } = {
  meta: {},
};
const refusals: Record<string, () => unknown> = {
  field: () => invalidArgument("Order.ID", "must be positive"),
  missing: () => notFound("no order 7", { order: "7" }),
  state: () => failedPrecondition("it is closed"),
  node: () => new LongshoreError("UNAVAILABLE", "the store is away"),
  long: () => invalidArgument("text", "x".repeat(100_000)),
  fault: () => new Error("the password is hunter2"),
};

function refuse(ctx: Context<{ text: string }>): never {
  throw refusals[ctx.params.text]!();
}

const actions = {
  echo(ctx: Context<Record<string, unknown>, Record<string, unknown>>) {
    Object.assign(seen, { meta: ctx.meta, requestID: ctx.requestID, params: ctx.params });
    ctx.meta["$grpcHeaders"] = { "x-served-by": "echo" };
    ctx.meta["$grpcTrailers"] = { "x-cost": "3" };
    return ctx.params;
  },
  async wait(ctx: Context) {
    seen.aborted = new Promise((resolve) => {
      const signal = signalOf(ctx);
      signal.addEventListener("abort", () => resolve((signal.reason as LongshoreError).type));
    });
    await seen.aborted;
    return {};
  },
  refuse,
};

const shop = {
  name: "shop",
  mixins: [grpc({ proto: protos.path("shop.proto"), service: "shop.v1.Shop" })],
  actions,
} as unknown as ServiceSchema;

const desk = {
  name: "desk",
  mixins: [
    grpc({
      proto: protos.path("shop.proto"),
      service: "shop.v1.Desk",
      errors: { State: "$http", Message: "$message", text: "$type of $requestId costs $9" },
    }),
  ],
  actions: { refuse },
} as unknown as ServiceSchema;

let node: TestNode;
let client: TestClient;

beforeAll(async () => {
  node = await startNode({ services: [gateway, shop, desk] });
  client = new TestClient(protos.path("shop.proto"), "shop.v1.Shop", node.grpc);
});

afterAll(async () => {
  client.close();
  await node.stop();
  protos.remove();
});

async function refusal(text: string): Promise<ServiceError> {
  return client.unary("Refuse", { text }, { metadata: { "x-request-id": "r-1" } }).then(
    () => Promise.reject(new Error("it was not refused")),
    (error: ServiceError) => error,
  );
}

/** The google.rpc.Status in the trailers, its details decoded by their type. */
function detailsOf(error: ServiceError): { code: number; message: string; details: Record<string, unknown> } {
  const root = loadProto({
    "all.proto": 'syntax = "proto3"; import "google/rpc/status.proto"; import "google/rpc/error_details.proto";',
  });
  const [bytes] = error.metadata.get("grpc-status-details-bin") as [Buffer];
  const type = (name: string): protobuf.Type => root.lookupType(name);
  const statusType = type("google.rpc.Status");
  const decoded = statusType.toObject(statusType.decode(bytes)) as {
    code: number;
    message: string;
    details: { type_url: string; value: Buffer }[];
  };
  const details = decoded.details.map(({ type_url, value }) => {
    const name = type_url.replace("type.googleapis.com/", "");
    return [name, type(name).decode(value).toJSON()];
  });
  return { ...decoded, details: Object.fromEntries(details) as Record<string, unknown> };
}

test("a message goes through unchanged: 64-bit integers, maps, optional, oneof, bytes, enums, nested", async () => {
  const order = {
    ID: "18446744073709551615",
    counts: { a: "1", b: "9007199254740993" },
    note: "",
    cash: true,
    paid: "cash",
    seal: Buffer.from([0, 255]),
    size: "LARGE",
    at: { seconds: "1700000000", nanos: 5 },
    parts: [{ ID: "2", text: "Ünïcode 🚢" }],
  };
  const { message } = await client.unary("Echo", order);
  expect(message).toMatchObject(order);
  expect(seen.params).toMatchObject(order);
  expect(seen.params).not.toHaveProperty("_note");
  const { message: empty } = await client.unary("Echo", {});
  expect(empty).not.toHaveProperty("note");
  expect(empty).toMatchObject({ ID: "0", counts: {}, size: "SMALL", at: null });
});

test("metadata reaches the action, and the action's headers and trailers reach the client", async () => {
  const { headers, trailers } = await client.unary("Echo", {}, { metadata: { "x-worker-id": "w7" } });
  expect(seen.meta["grpc"]).toMatchObject({ "x-worker-id": "w7" });
  expect(headers).toMatchObject({ "x-served-by": "echo" });
  expect(trailers).toMatchObject({ "x-cost": "3" });
});

test("the request's id and trace come from its metadata", async () => {
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  await client.unary("Echo", {}, { metadata: { traceparent: `00-${trace}-00f067aa0ba902b7-01` } });
  expect(seen.requestID).toBe(trace);
  expect(seen.meta["traceparent"]).toMatch(new RegExp(`^00-${trace}-(?!00f067aa0ba902b7)[0-9a-f]{16}-01$`));
  await client.unary("Echo", {}, { metadata: { "x-request-id": "mine" } });
  expect(seen.requestID).toBe("mine");
});

test("a deadline ends the call for the client and aborts the handler", async () => {
  await expect(client.unary("Wait", {}, { timeout: 100 })).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  expect(["DEADLINE_EXCEEDED", "CANCELLED"]).toContain(await seen.aborted);
});

test("a client's cancel aborts the handler", async () => {
  seen.aborted = undefined;
  const abort = new AbortController();
  const call = client.unary("Wait", {}, { signal: abort.signal });
  while (!seen.aborted) await new Promise(setImmediate);
  abort.abort();
  await expect(call).rejects.toMatchObject({ code: status.CANCELLED });
  expect(await seen.aborted).toBe("CANCELLED");
});

describe("an error", () => {
  test("has its status, and the details of google.rpc name field and request", async () => {
    const error = await refusal("field");
    expect(error).toMatchObject({ code: status.INVALID_ARGUMENT, details: "Order.ID: must be positive" });
    expect(detailsOf(error)).toMatchObject({
      code: status.INVALID_ARGUMENT,
      message: "Order.ID: must be positive",
      details: {
        "google.rpc.ErrorInfo": { reason: "INVALID_ARGUMENT", domain: "longshore" },
        "google.rpc.BadRequest": { field_violations: [{ field: "Order.ID" }] },
        "google.rpc.RequestInfo": { request_id: "r-1" },
      },
    });
    expect(detailsOf(await refusal("missing")).details["google.rpc.ErrorInfo"]).toMatchObject({
      metadata: { order: "7" },
    });
  });

  test("that nobody meant is INTERNAL and tells nothing of the inside", async () => {
    const error = await refusal("fault");
    expect(error.code).toBe(status.INTERNAL);
    expect(JSON.stringify([error.details, detailsOf(error)])).not.toMatch(/hunter2|\.ts/);
  });

  test("with a very long message still fits into the trailers", async () => {
    const error = await refusal("long");
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(error.details.length).toBeLessThan(2_000);
  });

  test("is an answer in the service's own form where that has one, but not where the transport failed", async () => {
    const other = new TestClient(protos.path("shop.proto"), "shop.v1.Desk", node.grpc);
    const { message } = await other.unary("Refuse", { text: "state" }, { metadata: { "x-request-id": "r-2" } });
    const text = "FAILED_PRECONDITION of r-2 costs $9";
    expect(message).toEqual({ State: "400", Message: "it is closed", text });
    await expect(other.unary("Refuse", { text: "node" })).rejects.toMatchObject({ code: status.UNAVAILABLE });
    other.close();
  });
});

test("a message of 5 MiB is RESOURCE_EXHAUSTED, one of 3 MiB is not", async () => {
  const MIB = 1024 * 1024;
  const large = client.unary("Echo", { text: "x".repeat(5 * MIB) });
  await expect(large).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  const { message } = await client.unary("Echo", { text: "x".repeat(3 * MIB) });
  expect(message["text"]).toHaveLength(3 * MIB);
});

test("compressed requests are read, and a bomb among them is refused", async () => {
  const gzip = { "grpc.default_compression_algorithm": 2 };
  const compressing = new TestClient(protos.path("shop.proto"), "shop.v1.Shop", node.grpc, gzip);
  const { message } = await compressing.unary("Echo", { text: "x".repeat(100_000) });
  expect(message["text"]).toHaveLength(100_000);
  const bomb = compressing.unary("Echo", { text: "x".repeat(50_000_000) });
  await expect(bomb).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  compressing.close();
});

test("an RPC that no service has is UNIMPLEMENTED", async () => {
  const text = 'syntax = "proto3"; package shop.v1; service Shop { rpc Steal(E) returns (E); } message E {}';
  const other = protoDirectory({ "other.proto": text });
  const stranger = new TestClient(other.path("other.proto"), "shop.v1.Shop", node.grpc);
  await expect(stranger.unary("Steal", {})).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  stranger.close();
  other.remove();
});
