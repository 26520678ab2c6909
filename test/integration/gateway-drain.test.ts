import { afterAll, afterEach, beforeEach, expect, test } from "@jest/globals";
import { once } from "node:events";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Context, ServiceSchema } from "moleculer";
import { signalOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import gateway from "../../services/api-gateway/api-gateway.service.ts";
import type { Message } from "../grpc-client.ts";
import { TestClient, protoDirectory } from "../grpc-client.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import { waitFor } from "../wait-for.ts";

const HEALTH = join(
  dirname(createRequire(import.meta.url).resolve("grpc-health-check/package.json")),
  "proto/health/v1/health.proto",
);

const protos = protoDirectory({
  "work.proto": `
    syntax = "proto3";
    package work;
    service Work {
      rpc Do(Job) returns (Job);
      rpc Follow(Job) returns (stream Job);
      rpc Each(stream Job) returns (stream Job);
      rpc Receive(stream Job) returns (stream Job);
    }
    message Job { string text = 1; }
  `,
});

let started: Record<string, number>;
let finish: (() => void) | undefined;
let closed: { reason: string }[];

const untilAborted = async (ctx: Context<{ text: string }>): Promise<Message> => {
  started[ctx.params.text] = 1;
  await once(signalOf(ctx), "abort");
  return { items: [] };
};

const work = {
  name: "work",
  mixins: [
    grpc({
      proto: protos.path("work.proto"),
      service: "work.Work",
      methods: {
        Each: "do",
        Follow: "follow",
        Receive: { action: "receive", stream: "credit", key: "text", close: "closed" },
      },
    }),
  ],
  actions: {
    do: {
      rest: "POST /v1/do",
      async handler({ params }: Context<{ text: string }>) {
        started[params.text] = 1;
        await new Promise<void>((resolve) => (finish = resolve));
        return params;
      },
    },
    follow: { timeout: 0, handler: untilAborted },
    receive: { timeout: 0, handler: untilAborted },
    events: { rest: { path: "GET /v1/events/{text}", response: "events" }, timeout: 0, handler: untilAborted },
    closed(ctx: Context<{ reason: string }>) {
      closed.push(ctx.params);
    },
  },
} as unknown as ServiceSchema;

let node: TestNode;
let client: TestClient;

beforeEach(async () => {
  started = {};
  closed = [];
  finish = undefined;
  node = await startNode({ services: [gateway, work], config: { stopTimeout: 5_000 } });
  client = new TestClient(protos.path("work.proto"), "work.Work", node.grpc);
});

afterEach(async () => {
  client.close();
  await node.stop();
});

afterAll(() => protos.remove());

test("a node that stops says so first, and lets calls under way end", async () => {
  const health = new TestClient(HEALTH, "grpc.health.v1.Health", node.grpc);
  const watch = health.serverStream("Watch", { service: "work.Work" });
  const states: unknown[] = [];
  watch.on("data", ({ status: state }: Message) => states.push(state));
  const watched = once(watch, "end");
  const unary = client.unary("Do", { text: "unary" });
  await waitFor(() => started["unary"] && states.length > 0);
  expect((await fetch(`${node.http}/health/ready`)).status).toBe(200);

  const { http } = node;
  const finishUnary = finish!;
  const rest = fetch(`${http}/v1/do`, { method: "POST", body: '{"text": "rest"}' });
  await waitFor(() => started["rest"]);
  const finishRest = finish!;
  void node.broker.broadcastLocal("$node.draining");
  const ready = await fetch(`${http}/health/ready`);
  expect([ready.status, await ready.json()]).toEqual([503, { status: "not ready" }]);
  expect((await fetch(`${http}/health/live`)).status).toBe(200);
  await watched;
  expect(states).toEqual(["SERVING", "NOT_SERVING"]);

  const stopped = node.stop();
  finishUnary();
  finishRest();
  expect((await unary).message).toEqual({ text: "unary" });
  expect(await (await rest).json()).toEqual({ text: "rest" });
  await stopped;
  await expect(fetch(`${http}/health/live`)).rejects.toThrow();
  health.close();
});

test("streams end: what waits is aborted, what is under way is answered", async () => {
  const receive = client.bidi("Receive");
  const follow = client.serverStream("Follow", { text: "follow" });
  const each = client.bidi("Each");
  const ends = [receive, follow, each].map(
    (stream) => new Promise<ServiceError>((resolve) => void stream.on("error", resolve)),
  );
  const answers: unknown[] = [];
  each.on("data", ({ text }: Message) => answers.push(text));
  follow.resume();
  receive.resume();
  receive.write({ text: "receive" });
  each.write({ text: "each" });
  const events = fetch(`${node.http}/v1/events/events`);
  await waitFor(() => started["events"]);
  await waitFor(() => started["receive"] && started["follow"] && started["each"]);

  const stopped = node.stop();
  await waitFor(() => closed.length === 1);
  finish!();
  for (const error of await Promise.all(ends)) expect(error.code).toBe(status.UNAVAILABLE);
  expect(answers).toEqual(["each"]);
  expect((await events).status).toBe(200);
  expect(await (await events).text()).toBe("");
  expect(closed).toEqual([expect.objectContaining({ reason: "completed" })]);
  await stopped;
});

test("what does not end in time is cut off", async () => {
  await node.stop();
  client.close();
  node = await startNode({ services: [gateway, work], config: { stopTimeout: 300 } });
  client = new TestClient(protos.path("work.proto"), "work.Work", node.grpc);
  const unary = client.unary("Do", { text: "unary" });
  unary.catch(() => undefined);
  const rest = fetch(`${node.http}/v1/do`, { method: "POST", body: '{"text": "rest"}' });
  rest.catch(() => undefined);
  await waitFor(() => started["unary"] && started["rest"]);
  const before = performance.now();
  await node.stop();
  expect(performance.now() - before).toBeLessThan(2_500);
  await expect(unary).rejects.toMatchObject({ code: expect.any(Number) });
  await expect(rest).rejects.toThrow();
});
