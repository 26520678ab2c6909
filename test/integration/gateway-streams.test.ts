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
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

const protos = protoDirectory({
  "tape.proto": `
    syntax = "proto3";
    package tape;
    service Tape {
      rpc Play(Note) returns (stream Note);
      rpc Record(stream Note) returns (Note);
      rpc Reply(stream Note) returns (stream Note);
    }
    message Note { uint32 n = 1; string text = 2; }
  `,
});

type Meta = { stream: { id: string; cursor?: number; state?: number } };

/** What the handlers saw and what they wait for. */
let seen: {
  pulls: number;
  produced: number;
  read: number;
  ahead: number;
  batches: { items: number; end: boolean; state: unknown }[];
  running: number;
  mostRunning: number;
  closed: { id: string; reason: string }[];
  waiting: boolean;
  aborted: boolean;
  release: Map<number, () => void>;
};

beforeEach(() => {
  seen = {
    pulls: 0,
    produced: 0,
    read: 0,
    ahead: 0,
    batches: [],
    running: 0,
    mostRunning: 0,
    closed: [],
    waiting: false,
    aborted: false,
    release: new Map(),
  };
});

const tape = {
  name: "tape",
  mixins: [
    grpc({
      proto: protos.path("tape.proto"),
      service: "tape.Tape",
      methods: {
        Play: { action: "play", close: "closed" },
        Record: { action: "record", close: "closed" },
        Reply: { action: "reply", stream: "each", inFlight: 4, close: "closed" },
      },
    }),
  ],
  actions: {
    /** Pages of ten notes, `n` in all; text says how. */
    async play(ctx: Context<{ n: number; text: string }, Meta>) {
      const { n, text } = ctx.params;
      const from = ctx.meta.stream.cursor ?? 0;
      if (text === "fail" && from >= 20) throw invalidArgument("n", "the tape is torn");
      if (text === "silent") {
        seen.waiting = true;
        await once(signalOf(ctx), "abort");
        seen.aborted = true;
      }
      const count = Math.min(10, n - from);
      seen.pulls++;
      seen.produced += count;
      seen.ahead = Math.max(seen.ahead, seen.produced - seen.read);
      const items = Array.from({ length: count }, (_, index) => ({
        n: from + index,
        text: "x".repeat(n > 100 ? 50_000 : 1),
      }));
      return { items, cursor: from + count, done: from + count >= n };
    },
    record(ctx: Context<{ items: Message[]; end: boolean }, Meta>) {
      const { items, end } = ctx.params;
      const { state = 0 } = ctx.meta.stream;
      seen.batches.push({ items: items.length, end, state });
      if (items.some(({ text }) => text === "bad")) throw invalidArgument("text", "is bad");
      const total = state + items.length;
      return end ? { n: total } : { state: total };
    },
    /** Answers when the test releases its number. */
    async reply(ctx: Context<{ n: number; text: string }>) {
      const { n, text } = ctx.params;
      seen.running++;
      seen.mostRunning = Math.max(seen.mostRunning, seen.running);
      if (text === "wait") await new Promise<void>((resolve) => seen.release.set(n, resolve));
      seen.running--;
      if (text === "bad") throw invalidArgument("text", "is bad");
      return { n, text: text.startsWith("x") ? text : "" };
    },
    closed(ctx: Context<{ id: string; reason: string }>) {
      seen.closed.push(ctx.params);
    },
  },
} as unknown as ServiceSchema;

let node: TestNode;
let client: TestClient;

beforeAll(async () => {
  node = await startNode({ services: [gateway, tape] });
  client = new TestClient(protos.path("tape.proto"), "tape.Tape", node.grpc);
});

afterAll(async () => {
  client.close();
  await node.stop();
  protos.remove();
});

async function numbers(stream: AsyncIterable<Message>): Promise<unknown[]> {
  const result = [];
  for await (const { n } of stream) result.push(n);
  return result;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

test("a server stream is pulled page by page to its end", async () => {
  expect(await numbers(client.serverStream("Play", { n: 35 }))).toEqual(upTo(35));
  expect(seen.pulls).toBe(4);
  expect(await waitFor(() => seen.closed[0])).toMatchObject({ reason: "completed" });
});

test("a server stream is pulled no faster than its client reads", async () => {
  const stream = client.serverStream("Play", { n: 2_000 });
  for await (const _ of stream) {
    seen.read++;
    await new Promise(setImmediate);
  }
  expect(seen.read).toBe(2_000);
  // What lies between is bounded by the buffers of two ends, not by the length of the stream.
  expect(seen.ahead).toBeLessThan(200);
});

test("a server stream whose action fails ends with the error, after what came before", async () => {
  const stream = client.serverStream("Play", { n: 35, text: "fail" });
  const read: unknown[] = [];
  stream.on("data", ({ n }: Message) => read.push(n));
  const [error] = (await once(stream, "error")) as [ServiceError];
  expect(error).toMatchObject({ code: status.INVALID_ARGUMENT, details: "n: the tape is torn" });
  expect(read).toEqual(upTo(20));
  expect(await waitFor(() => seen.closed[0])).toMatchObject({ reason: "broken" });
});

test("a client that leaves a server stream aborts the call that waits for more", async () => {
  const stream = client.serverStream("Play", { n: 1, text: "silent" });
  stream.on("error", () => undefined);
  await waitFor(() => seen.waiting);
  stream.cancel();
  await waitFor(() => seen.aborted);
  await waitFor(() => seen.closed[0]?.reason === "broken");
});

test("a client stream arrives in bounded batches, in order, with the state of the batch before", async () => {
  expect(
    await client.clientStream(
      "Record",
      upTo(250).map((n) => ({ n })),
    ),
  ).toMatchObject({ n: 250 });
  expect(seen.batches).toEqual([
    { items: 100, end: false, state: 0 },
    { items: 100, end: false, state: 100 },
    { items: 50, end: true, state: 200 },
  ]);
  await waitFor(() => seen.closed[0]?.reason === "completed");
});

test("the batches of a client stream stay below half a megabyte", async () => {
  const requests = upTo(5).map((n) => ({ n, text: "x".repeat(200_000) }));
  await client.clientStream("Record", requests);
  expect(seen.batches.map(({ items }) => items)).toEqual([2, 2, 1]);
});

test("an empty client stream is one call, a failing one ends with the error", async () => {
  expect(await client.clientStream("Record", [])).toMatchObject({ n: 0 });
  const failing = client.clientStream("Record", [{ text: "bad" }]);
  await expect(failing).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  await waitFor(() => seen.closed.some(({ reason }) => reason === "broken"));
});

test("a client stream that is cancelled is not taken for a complete one", async () => {
  const call = client.openClientStream("Record");
  call.on("error", () => undefined);
  for (const n of upTo(150)) call.write({ n });
  await waitFor(() => seen.batches.length === 1);
  call.cancel();
  await waitFor(() => seen.closed[0]);
  expect(seen.closed).toEqual([{ id: expect.any(String), reason: "broken" }]);
  expect(seen.batches.some(({ end }) => end)).toBe(false);
});

test("each request of a bidirectional stream has its answer, in the order of the requests", async () => {
  const stream = client.bidi("Reply");
  const answers = numbers(stream);
  for (const n of upTo(4)) stream.write({ n, text: "wait" });
  await waitFor(() => seen.release.size === 4);
  for (const n of [3, 1, 2, 0]) seen.release.get(n)!();
  stream.end();
  expect(await answers).toEqual([0, 1, 2, 3]);
  expect(await waitFor(() => seen.closed[0])).toMatchObject({ reason: "completed" });
});

test("no more calls than `inFlight` run at once, and all are answered", async () => {
  const stream = client.bidi("Reply");
  const answers = numbers(stream);
  for (const n of upTo(50)) stream.write({ n, text: n < 8 ? "wait" : "" });
  stream.end();
  for (const n of upTo(8)) (await waitFor(() => seen.release.get(n)))();
  expect(await answers).toEqual(upTo(50));
  expect(seen.mostRunning).toBe(4);
});

test("a client that sends but does not read is not read from", async () => {
  const stream = client.bidi("Reply");
  const text = "x".repeat(20_000);
  const COUNT = 3_000;
  const sent = (async () => {
    for (const n of upTo(COUNT)) {
      if (!stream.write({ n, text })) await once(stream, "drain");
      seen.produced++;
      seen.ahead = Math.max(seen.ahead, seen.produced - seen.read);
    }
    stream.end();
  })();
  for await (const _ of stream) {
    seen.read++;
    await new Promise(setImmediate);
  }
  await sent;
  expect(seen.read).toBe(COUNT);
  expect(seen.ahead).toBeLessThan(500);
});

test("an error ends a bidirectional stream, after the answers to the requests before it", async () => {
  const stream = client.bidi("Reply");
  const read: unknown[] = [];
  stream.on("data", ({ n }: Message) => read.push(n));
  stream.write({ n: 0, text: "wait" });
  stream.write({ n: 1, text: "bad" });
  stream.write({ n: 2 });
  const failed = once(stream, "error");
  (await waitFor(() => seen.release.get(0)))();
  const [error] = (await failed) as [ServiceError];
  expect(error.code).toBe(status.INVALID_ARGUMENT);
  expect(read).toEqual([0]);
  await waitFor(() => seen.closed[0]?.reason === "broken");
});

test("a bidirectional stream that its client breaks is told as broken, once", async () => {
  const stream = client.bidi("Reply");
  stream.on("error", () => undefined);
  stream.write({ n: 0, text: "wait" });
  await waitFor(() => seen.release.get(0));
  stream.cancel();
  await waitFor(() => seen.closed[0]);
  seen.release.get(0)!();
  await waitFor(() => seen.running === 0);
  expect(seen.closed).toEqual([{ id: expect.any(String), reason: "broken" }]);
});
