/** Unary RPCs whose requests that come in together are one call of their action. */
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { status } from "@grpc/grpc-js";
import type { Context, ServiceSchema } from "moleculer";
import { notFound, viewError } from "../../lib/errors.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";
import { TestClient, protoDirectory } from "../grpc-client.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

const protos = protoDirectory({
  "post.proto": `
    syntax = "proto3";
    package post.v1;
    service Post { rpc Send(Letter) returns (Receipt); }
    service Desk { rpc Send(Letter) returns (Answer); }
    message Letter { string text = 1; }
    message Receipt { string text = 1; }
    message Answer { string text = 1; uint64 State = 2; string Message = 3; }
  `,
});

interface Letter {
  text: string;
}

/** The calls that the action saw: the client's name, and what it sent. */
let calls: { client: unknown; texts: string[] }[] = [];
/** While it is there, the action waits for it. */
let gate: Promise<void> | undefined;

const post = (name: string, service: string, errors?: Record<string, string>) =>
  ({
    name,
    mixins: [
      grpc({
        proto: protos.path("post.proto"),
        service,
        errors,
        methods: { Send: { action: "send", together: true } },
      }),
    ],
    actions: {
      async send(ctx: Context<{ items: Letter[] }, { grpc: Record<string, string> }>) {
        const texts = ctx.params.items.map(({ text }) => text);
        calls.push({ client: ctx.meta.grpc["x-client"], texts: texts.map((text) => text.slice(0, 10)) });
        await gate;
        if (texts.includes("none")) throw new Error("the store's password is hunter2");
        const outcome = (text: string) =>
          text === "lost" ? { error: viewError(notFound("there is no such street")) } : { answer: { text } };
        return { outcomes: texts.map(outcome) };
      },
    },
  }) as unknown as ServiceSchema;

let node: TestNode;
let client: TestClient;
let desk: TestClient;

beforeAll(async () => {
  const services = [
    gateway,
    post("post", "post.v1.Post"),
    post("desk", "post.v1.Desk", { State: "$http", Message: "$message" }),
  ];
  node = await startNode({ services });
  client = new TestClient(protos.path("post.proto"), "post.v1.Post", node.grpc);
  desk = new TestClient(protos.path("post.proto"), "post.v1.Desk", node.grpc);
});

beforeEach(() => {
  calls = [];
  gate = undefined;
});

afterAll(async () => {
  client.close();
  desk.close();
  await node.stop();
  protos.remove();
});

const texts = (count: number) => Array.from({ length: count }, (_, index) => `letter ${index}`);

test("each has its own answer, and together they are few calls", async () => {
  const sent = texts(200);
  const answers = await Promise.all(sent.map((text) => client.unary("Send", { text })));
  expect(answers.map(({ message }) => message["text"])).toEqual(sent);
  expect(calls.length).toBeLessThan(100);
  expect(calls.flatMap((call) => call.texts).sort()).toEqual([...sent].sort());
});

test("one that is refused fails alone, as a status or as an answer in the service's own form", async () => {
  const outcomes = await Promise.allSettled(["a", "lost", "b"].map((text) => client.unary("Send", { text })));
  expect(outcomes).toMatchObject([
    { status: "fulfilled", value: { message: { text: "a" } } },
    { status: "rejected", reason: { code: status.NOT_FOUND, details: "there is no such street" } },
    { status: "fulfilled", value: { message: { text: "b" } } },
  ]);
  const [own] = await Promise.all(["lost", "c"].map((text) => desk.unary("Send", { text })));
  expect(own?.message).toMatchObject({ State: "404", Message: "there is no such street" });
});

test("a fault of the action is that of all who came together, and tells nothing of the inside", async () => {
  const outcomes = await Promise.allSettled(["a", "none"].map((text) => client.unary("Send", { text })));
  const [first, second] = outcomes;
  expect(second).toMatchObject({ status: "rejected", reason: { code: status.INTERNAL } });
  expect(JSON.stringify([first, second])).not.toContain("hunter2");
});

test("clients with other metadata are in calls of their own", async () => {
  const clients = ["a", "b"];
  const metadata = (index: number) => ({ "x-client": clients[index % 2] ?? "" });
  await Promise.all(texts(40).map((text, index) => client.unary("Send", { text }, { metadata: metadata(index) })));
  for (const call of calls) {
    const parities = new Set(call.texts.map((text) => Number(text.split(" ")[1]) % 2));
    expect([...parities]).toEqual([clients.indexOf(String(call.client))]);
  }
});

test("no call brings more than half a MiB, for nodes pass no more than one", async () => {
  const long = "x".repeat(200_000);
  await Promise.all(texts(12).map((text) => client.unary("Send", { text: text + long })));
  expect(Math.max(...calls.map((call) => call.texts.length))).toBeLessThanOrEqual(2);
  expect(calls.flatMap((call) => call.texts)).toHaveLength(12);
});

test("who cancels or runs out of time does not end it for the others", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  gate = promise;
  const abort = new AbortController();
  const cancelled = client.unary("Send", { text: "first" }, { signal: abort.signal });
  const late = client.unary("Send", { text: "late" }, { timeout: 200 });
  const other = client.unary("Send", { text: "other" });
  const failures = Promise.allSettled([cancelled, late]);
  await waitFor(() => calls.flatMap((call) => call.texts).length === 3);
  abort.abort();
  expect(await failures).toMatchObject([
    { reason: { code: status.CANCELLED } },
    { reason: { code: status.DEADLINE_EXCEEDED } },
  ]);
  resolve();
  expect((await other).message).toMatchObject({ text: "other" });
});
