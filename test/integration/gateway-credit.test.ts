import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { once } from "node:events";
import type { ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Context, ServiceSchema } from "moleculer";
import { invalidArgument } from "../../lib/errors.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";
import type { Message } from "../grpc-client.ts";
import { TestClient, protoDirectory } from "../grpc-client.ts";
import type { Fields } from "../http2-frames.ts";
import { data, headers, RawClient, requestFields } from "../http2-frames.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

const protos = protoDirectory({
  "post.proto": `
    syntax = "proto3";
    package post;
    service Post { rpc Receive(stream Want) returns (stream Letter); }
    message Want { string Channel = 1; uint32 lease = 2; }
    message Letter { string text = 1; }
  `,
});

interface Waiting {
  params: { Channel: string; max: number; lease: number };
  stream: string;
  answer(items: Message[]): void;
  aborted: boolean;
}

/** The calls that wait, in the order in which they came. */
let calls: Waiting[] = [];
let closed: { id: string; reason: string }[] = [];

const post = {
  name: "post",
  mixins: [
    grpc({
      proto: protos.path("post.proto"),
      service: "post.Post",
      methods: { Receive: { action: "receive", stream: "credit", key: "Channel", close: "closed" } },
    }),
  ],
  actions: {
    receive(ctx: Context<Waiting["params"], { stream: { id: string } }>) {
      if (ctx.params.Channel === "") throw invalidArgument("Channel", "must not be empty");
      return new Promise((resolve) => {
        const call: Waiting = {
          params: ctx.params,
          stream: ctx.meta.stream.id,
          answer: (items) => resolve({ items }),
          aborted: false,
        };
        signalOf(ctx).addEventListener("abort", () => {
          call.aborted = true;
          // A node waits for its calls when it stops.
          call.answer([]);
        });
        calls.push(call);
      });
    },
    closed(ctx: Context<{ id: string; reason: string }>) {
      closed.push(ctx.params);
    },
  },
} as unknown as ServiceSchema;

let node: TestNode;
let client: TestClient;

beforeAll(async () => {
  node = await startNode({ services: [gateway, post] });
  client = new TestClient(protos.path("post.proto"), "post.Post", node.grpc);
});

beforeEach(() => {
  calls = [];
  closed = [];
});

afterAll(async () => {
  client.close();
  await node.stop();
  protos.remove();
});

function open() {
  const stream = client.bidi("Receive");
  const texts: unknown[] = [];
  stream.on("data", ({ text }: Message) => texts.push(text));
  stream.on("error", () => undefined);
  return { stream, texts };
}

test("one call waits for a channel, and the next asks for all the credits that have come meanwhile", async () => {
  const { stream, texts } = open();
  stream.write({ Channel: "a", lease: 1 });
  const first = await waitFor(() => calls[0]);
  expect(first.params).toMatchObject({ Channel: "a", max: 1, lease: 1 });
  for (const lease of [2, 3, 4]) stream.write({ Channel: "a", lease });
  stream.write({ Channel: "b" });
  // Channel b was sent last: when it waits, the credits of a have been read.
  await waitFor(() => calls.length === 2);
  expect(calls[1]!.params).toMatchObject({ Channel: "b", max: 1 });

  first.answer([{ text: "a1" }]);
  const second = await waitFor(() => calls[2]);
  expect(second.params).toMatchObject({ Channel: "a", max: 3, lease: 4 });
  second.answer([{ text: "a2" }, { text: "a3" }]);
  const third = await waitFor(() => calls[3]);
  expect(third.params).toMatchObject({ Channel: "a", max: 1 });
  third.answer([]);
  expect((await waitFor(() => calls[4])).params).toMatchObject({ max: 1 });
  calls[4]!.answer([{ text: "a4" }]);
  await waitFor(() => texts.length === 4);
  expect(texts).toEqual(["a1", "a2", "a3", "a4"]);
  expect(new Set(calls.map((call) => call.stream)).size).toBe(1);

  calls[1]!.answer([{ text: "b1" }]);
  await waitFor(() => texts.length === 5);
  // All credits are used up: nothing waits any more.
  expect(calls).toHaveLength(5);
  stream.end();
  await waitFor(() => closed[0]?.reason === "completed");
});

test("credits that come in together are one call", async () => {
  // In one packet, as a client that is not Node's sends them.
  const raw = await RawClient.greet(Number(node.grpc.split(":").at(-1)));
  const fields: Fields = [
    ["content-type", "application/grpc"],
    ["te", "trailers"],
  ];
  const want = (lease: number) => Buffer.from([0, 0, 0, 0, 5, 0x0a, 1, "a".charCodeAt(0), 0x10, lease]);
  raw.send(headers(1, requestFields(fields, "/post.Post/Receive")), data(1, Buffer.concat([1, 2, 3].map(want))));
  const call = await waitFor(() => calls[0]);
  expect(call.params).toMatchObject({ Channel: "a", max: 3, lease: 3 });
  raw.close();
  await waitFor(() => closed[0]?.reason === "broken");
});

test("half-close aborts what waits, ends the stream with OK and tells that it is completed", async () => {
  const { stream } = open();
  stream.write({ Channel: "a" });
  stream.write({ Channel: "b" });
  await waitFor(() => calls.length === 2);
  const ended = once(stream, "status");
  stream.end();
  expect((await ended)[0]).toMatchObject({ code: status.OK });
  await waitFor(() => calls.every((call) => call.aborted));
  expect(await waitFor(() => closed[0])).toEqual({ id: calls[0]!.stream, reason: "completed" });
});

test("a client that breaks off aborts what waits and is told as broken, once", async () => {
  const { stream } = open();
  stream.write({ Channel: "a" });
  await waitFor(() => calls[0]);
  stream.cancel();
  await waitFor(() => calls[0]!.aborted);
  expect(await waitFor(() => closed[0])).toEqual({ id: calls[0]!.stream, reason: "broken" });
  expect(closed).toHaveLength(1);
});

test("a connection that dies is told as broken", async () => {
  const other = new TestClient(protos.path("post.proto"), "post.Post", node.grpc, {
    "grpc.use_local_subchannel_pool": 1,
  });
  const stream = other.bidi("Receive");
  stream.on("error", () => undefined);
  stream.write({ Channel: "a" });
  await waitFor(() => calls[0]);
  other.close();
  stream.destroy();
  stream.cancel();
  await waitFor(() => closed[0]?.reason === "broken");
});

test("an error of the action ends the stream with its status and aborts the other channels", async () => {
  const { stream } = open();
  stream.write({ Channel: "a" });
  await waitFor(() => calls[0]);
  const failed = once(stream, "error");
  stream.write({ Channel: "" });
  const [error] = (await failed) as [ServiceError];
  expect(error).toMatchObject({ code: status.INVALID_ARGUMENT, details: "Channel: must not be empty" });
  await waitFor(() => calls[0]!.aborted);
  await waitFor(() => closed[0]?.reason === "broken");
});

test("a client that stops reading stops being given letters", async () => {
  const stream = client.bidi("Receive");
  const CREDITS = 600;
  for (let sent = 0; sent < CREDITS; sent++) stream.write({ Channel: "a" });
  let given = 0;
  let read = 0;
  let ahead = 0;
  const text = "x".repeat(100_000);
  const giving = (async () => {
    while (given < CREDITS) {
      const call = await waitFor(() => calls.shift());
      const items = Array.from({ length: Math.min(call.params.max, 5) }, () => ({ text }));
      given += items.length;
      ahead = Math.max(ahead, given - read);
      call.answer(items);
    }
  })();
  for await (const _ of stream) {
    if (++read === CREDITS) stream.end();
    await new Promise(setImmediate);
  }
  await giving;
  expect(read).toBe(CREDITS);
  expect(ahead).toBeLessThan(100);
});
