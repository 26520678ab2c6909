import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { once } from "node:events";
import type { ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Context, ServiceSchema } from "moleculer";
import { invalidArgument, unavailable } from "../../lib/errors.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";
import type { Message } from "../grpc-client.ts";
import { TestClient, protoDirectory } from "../grpc-client.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

const IN_FLIGHT = 8;

const protos = protoDirectory({
  "ledger.proto": `
    syntax = "proto3";
    package ledger;
    service Ledger {
      rpc Book(stream Entry) returns (stream Receipt);
      rpc Copy(stream Entry) returns (stream Receipt);
    }
    message Entry { string ID = 1; uint32 n = 2; string text = 3; }
    message Receipt { string State = 1; string Message = 2; uint32 n = 3; string Data = 4; string text = 5; }
  `,
});

type Entry = { ID: string; n: number; text: string };

interface Call {
  items: Entry[];
  answer(): void;
  fail(error: Error): void;
  aborted: boolean;
}

/** All calls so far, and those that nobody has answered yet. */
let calls: Call[] = [];
let running: Set<Call>;
/** Answers calls by itself, where it is set. */
let onCall: ((call: Call) => void) | undefined;
let closed: { reason: string }[] = [];

const book = (ctx: Context<{ items: Entry[] }>) =>
  new Promise((resolve, reject) => {
    const { items } = ctx.params;
    const call: Call = {
      items,
      answer() {
        running.delete(call);
        resolve({ items: items.map(({ ID, n, text }) => ({ State: "200", n, Data: ID, text })) });
      },
      fail(error) {
        running.delete(call);
        reject(error);
      },
      aborted: false,
    };
    signalOf(ctx).addEventListener("abort", () => (call.aborted = true));
    calls.push(call);
    running.add(call);
    onCall?.(call);
  });

const ledger = {
  name: "ledger",
  mixins: [
    grpc({
      proto: protos.path("ledger.proto"),
      service: "ledger.Ledger",
      methods: {
        Book: {
          action: "book",
          stream: "batch",
          key: "ID",
          inFlight: IN_FLIGHT,
          close: "closed",
          errors: { State: "$httpText", Message: "$message", Data: "$request.ID" },
        },
        Copy: { action: "book", stream: "batch" },
      },
    }),
  ],
  actions: {
    book,
    closed(ctx: Context<{ reason: string }>) {
      closed.push(ctx.params);
    },
  },
} as unknown as ServiceSchema;

let node: TestNode;
let client: TestClient;

async function start(): Promise<void> {
  node = await startNode({ services: [gateway, ledger], config: { stopTimeout: 5_000 } });
  client = new TestClient(protos.path("ledger.proto"), "ledger.Ledger", node.grpc);
}

beforeAll(start);

beforeEach(() => {
  calls = [];
  running = new Set();
  onCall = undefined;
  closed = [];
});

afterAll(async () => {
  client.close();
  await node.stop();
  protos.remove();
});

function open(name = "Book") {
  const stream = client.bidi(name);
  const answers: Message[] = [];
  stream.on("data", (answer: Message) => answers.push(answer));
  stream.on("error", () => undefined);
  const numbers = () => answers.map(({ n }) => n);
  return { stream, answers, numbers };
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const itemsOf = (call: Call | undefined) => call?.items.map(({ ID, n }) => `${ID}${n}`);

test("requests that come while a call is under way form the next, and answers keep the order of the requests", async () => {
  const { stream, numbers } = open();
  stream.write({ ID: "a", n: 0 });
  const first = await waitFor(() => calls[0]);
  stream.write({ ID: "b", n: 1 });
  stream.write({ ID: "c", n: 2 });
  await waitFor(() => calls.flatMap(({ items }) => items).length === 3);
  for (const call of calls.slice(1)) call.answer();
  stream.write({ ID: "d", n: 3 });
  (await waitFor(() => calls.find(({ items }) => items[0]?.ID === "d"))).answer();
  expect(numbers()).toEqual([]);
  first.answer();
  await waitFor(() => numbers().length === 4);
  expect(numbers()).toEqual([0, 1, 2, 3]);
  stream.end();
  await waitFor(() => closed[0]?.reason === "completed");
});

test("a request whose key is in a call under way waits for that, and those behind it wait with it", async () => {
  const { stream, numbers } = open();
  stream.write({ ID: "a", n: 0 });
  const first = await waitFor(() => calls[0]);
  stream.write({ ID: "b", n: 1 });
  const second = await waitFor(() => calls[1]);
  stream.write({ ID: "a", n: 2 });
  stream.write({ ID: "c", n: 3 });
  // An answer on another stream of the same connection: what was written before it has arrived.
  const other = open("Copy");
  other.stream.write({ ID: "z" });
  (await waitFor(() => calls[2])).answer();
  await waitFor(() => other.answers.length === 1);
  other.stream.end();
  expect(calls.map(itemsOf)).toEqual([["a0"], ["b1"], ["z0"]]);
  second.answer();
  first.answer();
  const third = await waitFor(() => calls[3]);
  expect(itemsOf(third)).toEqual(["a2", "c3"]);
  third.answer();
  await waitFor(() => numbers().length === 4);
  expect(numbers()).toEqual([0, 1, 2, 3]);
  stream.end();
});

test("whatever keys come and however calls overtake each other, no key is in two calls and all keep their order", async () => {
  const { stream, numbers } = open();
  const done = new Map<string, number[]>();
  let twice = 0;
  let most = 0;
  onCall = (call) => {
    const keys = new Set(call.items.map(({ ID }) => ID));
    for (const other of running) if (other !== call && other.items.some(({ ID }) => keys.has(ID))) twice += 1;
    most = Math.max(most, running.size);
    let turns = Math.floor(Math.random() * 4);
    const next = () => {
      turns -= 1;
      if (turns > 0) return void setImmediate(next);
      for (const { ID, n } of call.items) done.set(ID, [...(done.get(ID) ?? []), n]);
      call.answer();
    };
    next();
  };
  for (const n of upTo(1_000)) stream.write({ ID: `k${Math.floor(Math.random() * 20)}`, n });
  stream.end();
  await once(stream, "end");
  expect(numbers()).toEqual(upTo(1_000));
  expect(twice).toBe(0);
  expect(most).toBeGreaterThan(1);
  for (const order of done.values()) expect(order).toEqual(order.toSorted((left, right) => left - right));
});

test("no more than `inFlight` requests are unanswered, and all are answered in the end", async () => {
  const { stream, numbers } = open();
  for (const n of upTo(100)) stream.write({ ID: `${n}`, n });
  stream.end();
  const taken = () => calls.flatMap(({ items }) => items).length;
  let most = 0;
  while (numbers().length < 100) {
    // All that may be taken is: what is missing was not read.
    await waitFor(() => taken() === Math.min(100, numbers().length + IN_FLIGHT));
    most = Math.max(most, taken() - numbers().length);
    const before = numbers().length;
    const [call] = running;
    call!.answer();
    await waitFor(() => numbers().length === before + call!.items.length);
  }
  expect(most).toBe(IN_FLIGHT);
  expect(numbers()).toEqual(upTo(100));
});

test("a call is given half a megabyte, or one request that is larger", async () => {
  const { stream, numbers } = open();
  onCall = (call) => call.answer();
  for (const [n, size] of [200_000, 200_000, 200_000, 200_000, 600_000, 1_000, 1_000].entries()) {
    stream.write({ ID: `${n}`, n, text: "x".repeat(size) });
  }
  stream.end();
  await once(stream, "end");
  expect(numbers()).toEqual(upTo(7));
  for (const { items } of calls) {
    const bytes = items.reduce((sum, { text }) => sum + text.length, 0);
    expect(bytes <= 512 * 1024 || items.length === 1).toBe(true);
  }
});

test("a client that sends but does not read is not read from", async () => {
  const stream = client.bidi("Copy");
  onCall = (call) => call.answer();
  const COUNT = 2_000;
  const text = "x".repeat(20_000);
  let read = 0;
  let sent = 0;
  let ahead = 0;
  const sending = (async () => {
    for (const n of upTo(COUNT)) {
      if (!stream.write({ n, text })) await once(stream, "drain");
      sent += 1;
      ahead = Math.max(ahead, sent - read);
    }
    stream.end();
  })();
  for await (const { n } of stream as AsyncIterable<Message>) {
    expect(n).toBe(read);
    read += 1;
    for (let turn = 0; turn < 4; turn += 1) await new Promise(setImmediate);
  }
  await sending;
  expect(read).toBe(COUNT);
  expect(ahead).toBeLessThan(600);
});

test("a call that is refused as a whole refuses each of its requests, and the stream goes on", async () => {
  const { stream, answers } = open();
  stream.write({ ID: "a", n: 0 });
  const first = await waitFor(() => calls[0]);
  stream.write({ ID: "b", n: 1 });
  stream.write({ ID: "c", n: 2 });
  await waitFor(() => calls.flatMap(({ items }) => items).length === 3);
  for (const call of calls.slice(1)) call.fail(invalidArgument("items", "are bad"));
  first.answer();
  await waitFor(() => answers.length === 3);
  expect(answers.map(({ State, Message: text, Data }) => [State, text, Data])).toEqual([
    ["200", "", "a"],
    ["400", "items: are bad", "b"],
    ["400", "items: are bad", "c"],
  ]);
  onCall = (call) => call.answer();
  // Their keys are free again.
  stream.write({ ID: "b", n: 3 });
  await waitFor(() => answers.length === 4);
  expect(answers[3]).toMatchObject({ State: "200", n: 3 });
  stream.end();
  await waitFor(() => closed[0]?.reason === "completed");
});

test("a call that cannot be made ends the stream, after the answers to the requests before it", async () => {
  const { stream, numbers } = open();
  stream.write({ ID: "a", n: 0 });
  await waitFor(() => calls.length === 1);
  stream.write({ ID: "b", n: 1 });
  await waitFor(() => calls.length === 2);
  stream.write({ ID: "c", n: 2 });
  const third = await waitFor(() => calls[2]);
  const failed = once(stream, "error");
  calls[1]!.fail(unavailable("the store is away"));
  calls[0]!.answer();
  const [error] = (await failed) as [ServiceError];
  expect(error).toMatchObject({ code: status.UNAVAILABLE, details: "the store is away" });
  expect(numbers()).toEqual([0]);
  await waitFor(() => third.aborted);
  await waitFor(() => closed[0]?.reason === "broken");
});

test("without a form for refusals one ends the stream with its status", async () => {
  const { stream } = open("Copy");
  onCall = (call) => call.fail(invalidArgument("n", "is bad"));
  const failed = once(stream, "error");
  stream.write({ n: 1 });
  expect((await failed)[0]).toMatchObject({ code: status.INVALID_ARGUMENT, details: "n: is bad" });
});

test("half-close ends the stream with OK when all is answered", async () => {
  const { stream, numbers } = open();
  for (const n of upTo(5)) stream.write({ ID: "same", n });
  const ended = once(stream, "status");
  stream.end();
  onCall = (call) => call.answer();
  for (const call of running) call.answer();
  expect((await ended)[0]).toMatchObject({ code: status.OK });
  expect(numbers()).toEqual(upTo(5));
  expect(closed).toEqual([expect.objectContaining({ reason: "completed" })]);
});

test("a client that breaks off aborts the calls under way and is told as broken, once", async () => {
  const { stream } = open();
  stream.write({ ID: "a" });
  const call = await waitFor(() => calls[0]);
  stream.write({ ID: "a", n: 1 });
  stream.cancel();
  await waitFor(() => call.aborted);
  await waitFor(() => closed[0]);
  call.answer();
  expect(closed).toEqual([expect.objectContaining({ reason: "broken" })]);
});

test("a node that stops answers what it has read, and ends the stream with UNAVAILABLE", async () => {
  const { stream, numbers } = open();
  for (const n of upTo(3)) stream.write({ ID: `${n}`, n });
  await waitFor(() => calls.flatMap(({ items }) => items).length === 3);
  const failed = once(stream, "error");
  const stopped = node.stop();
  await waitFor(async () => !(await fetch(`${node.http}/health/ready`).catch(() => undefined))?.ok);
  for (const call of running) call.answer();
  expect((await failed)[0]).toMatchObject({ code: status.UNAVAILABLE });
  expect(numbers()).toEqual([0, 1, 2]);
  client.close();
  await stopped;
  await start();
});
