/** One broker with all middlewares: what a handler and its caller see of cancelling, time limits and errors. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { getEventListeners } from "node:events";
import type { Context, ServiceSchema } from "moleculer";
import { LongshoreError, notFound, unavailable, viewError } from "../../lib/errors.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { startNode, type TestNode } from "../node.ts";

const aborted: unknown[] = [];
const waiting: (() => void)[] = [];
const ran: string[] = [];
let tries = 0;

/** Ends only when it is told to stop, and remembers why. */
function hang(ctx: Context): Promise<never> {
  waiting.shift()?.();
  return new Promise((_, reject) => {
    signalOf(ctx).addEventListener("abort", () => {
      aborted.push(signalOf(ctx).reason);
      reject(new Error("stopped in the middle"));
    });
  });
}

const subject: ServiceSchema = {
  name: "subject",
  actions: {
    hang,
    hangForLong: { timeout: 0, handler: hang },
    hangBriefly: { timeout: 30, handler: hang },
    parent: (ctx: Context) => ctx.call("subject.hang", {}),
    async afterwards(ctx: Context) {
      await ctx.call("subject.hang", {}).catch(() => undefined);
      return ctx.call("subject.echo", {});
    },
    echo: (ctx: Context) => ctx.params,
    refuse() {
      throw notFound("no such thing", { id: "7" });
    },
    fault() {
      throw new TypeError("x is not a function");
    },
    oneAtATime: {
      bulkhead: { enabled: true, concurrency: 1 },
      handler(ctx: Context<{ name: string }>) {
        ran.push(ctx.params.name);
        return ctx.params.name === "first" ? hang(ctx) : undefined;
      },
    },
    checked: { params: { Task: { type: "object", props: { Channel: "string" } } }, handler: () => "fine" },
    flaky: {
      idempotent: true,
      handler() {
        if (++tries < 3) throw unavailable("not yet");
        return tries;
      },
    },
    flakyOnce() {
      tries++;
      throw unavailable("not yet");
    },
  },
};

let node: TestNode;
beforeAll(async () => {
  node = await startNode({ services: [subject], config: { requestTimeout: 200 } });
});
afterAll(() => node.stop());

/** Resolves when a handler that hangs has begun. */
function begun(): Promise<void> {
  return new Promise((resolve) => void waiting.push(resolve));
}

async function thrown(promise: Promise<unknown>): Promise<LongshoreError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(Error);
  return error as LongshoreError;
}

test("a call whose signal aborts ends at once with CANCELLED and stops its handler", async () => {
  const controller = new AbortController();
  const started = begun();
  const call = node.broker.call("subject.hang", {}, { signal: controller.signal });
  await started;
  aborted.length = 0;
  controller.abort();
  expect(await thrown(call)).toMatchObject({ type: "CANCELLED", code: 499 });
  expect(aborted).toMatchObject([{ type: "CANCELLED" }]);
});

test("the handler's own calls stop with it", async () => {
  const controller = new AbortController();
  const started = begun();
  const call = node.broker.call("subject.parent", {}, { signal: controller.signal });
  await started;
  aborted.length = 0;
  controller.abort();
  expect(await thrown(call)).toMatchObject({ type: "CANCELLED" });
  expect(aborted).toHaveLength(1);
});

test("a handler that was stopped can begin no calls", async () => {
  const controller = new AbortController();
  const started = begun();
  const call = node.broker.call("subject.afterwards", {}, { signal: controller.signal });
  await started;
  controller.abort();
  expect(await thrown(call)).toMatchObject({ type: "CANCELLED" });
});

test("a call whose signal has aborted already does not begin", async () => {
  const error = await thrown(node.broker.call("subject.echo", {}, { signal: AbortSignal.abort() }));
  expect(error.type).toBe("CANCELLED");
});

test("a call that runs out of time ends with DEADLINE_EXCEEDED and stops its handler", async () => {
  aborted.length = 0;
  expect(await thrown(node.broker.call("subject.hang", {}, { timeout: 30 }))).toMatchObject({
    type: "DEADLINE_EXCEEDED",
  });
  expect(aborted).toMatchObject([{ type: "DEADLINE_EXCEEDED" }]);
});

test("an action's own limit goes before the broker's, and the caller's before both", async () => {
  const brief = performance.now();
  expect(await thrown(node.broker.call("subject.hangBriefly", {}))).toMatchObject({ type: "DEADLINE_EXCEEDED" });
  expect(performance.now() - brief).toBeLessThan(200);
  const long = performance.now();
  await thrown(node.broker.call("subject.hangBriefly", {}, { timeout: 150 }));
  expect(performance.now() - long).toBeGreaterThan(140);
});

test("an action without a limit outlasts the broker's", async () => {
  const controller = new AbortController();
  const started = begun();
  const call = node.broker.call("subject.hangForLong", {}, { signal: controller.signal });
  await started;
  const whole = await thrown(node.broker.call("subject.hang", {}));
  expect(whole.type).toBe("DEADLINE_EXCEEDED");
  controller.abort();
  expect(await thrown(call)).toMatchObject({ type: "CANCELLED" });
});

test("the caller's options are left as they are", async () => {
  const options = { meta: { a: 1 } };
  await node.broker.call("subject.echo", {}, options);
  expect(options).toEqual({ meta: { a: 1 } });
});

test("a call that is given up while it waits for its turn does not begin", async () => {
  const [first, second] = [new AbortController(), new AbortController()];
  const one = node.broker.call("subject.oneAtATime", { name: "first" }, { signal: first.signal });
  const two = node.broker.call("subject.oneAtATime", { name: "second" }, { signal: second.signal });
  const three = node.broker.call("subject.oneAtATime", { name: "third" });
  second.abort();
  expect(await thrown(two)).toMatchObject({ type: "CANCELLED" });
  first.abort();
  await thrown(one);
  await three;
  expect(ran).toEqual(["first", "third"]);
});

test("ten thousand calls with one signal leave one listener", async () => {
  const { signal } = new AbortController();
  for (let i = 0; i < 100; i++) {
    await Promise.all(Array.from({ length: 100 }, () => node.broker.call("subject.echo", {}, { signal })));
  }
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
});

test("a refusal reaches the caller as it was thrown", async () => {
  const error = await thrown(node.broker.call("subject.refuse"));
  expect(error).toBeInstanceOf(LongshoreError);
  expect(error).toMatchObject({ type: "NOT_FOUND", message: "no such thing", data: { metadata: { id: "7" } } });
});

test("a fault is INTERNAL, names the request and tells nothing of the inside", async () => {
  const view = viewError(await thrown(node.broker.call("subject.fault", {}, { requestID: "r-1" })));
  expect(view).toMatchObject({ type: "INTERNAL", http: 500, data: { metadata: { request_id: "r-1" } } });
  expect(view.message).toBe("internal error in request r-1");
});

test("a wrong field is named with what is wrong with it", async () => {
  const view = viewError(await thrown(node.broker.call("subject.checked", { Task: {} })));
  expect(view).toMatchObject({
    type: "INVALID_ARGUMENT",
    message: "Task.Channel: is required",
    data: { field: "Task.Channel" },
  });
});

test("an action that nobody offers is UNAVAILABLE", async () => {
  expect(viewError(await thrown(node.broker.call("subject.nothing")))).toMatchObject({
    type: "UNAVAILABLE",
    http: 503,
  });
});

test("only idempotent actions are tried again", async () => {
  tries = 0;
  expect(await node.broker.call("subject.flaky")).toBe(3);
  tries = 0;
  expect(await thrown(node.broker.call("subject.flakyOnce"))).toMatchObject({ type: "UNAVAILABLE" });
  expect(tries).toBe(1);
});

test("refusals never open the circuit", async () => {
  for (let i = 0; i < 50; i++) {
    expect(await thrown(node.broker.call("subject.refuse"))).toMatchObject({ type: "NOT_FOUND" });
  }
});

test("services hear of the drain before calls in flight are waited for", async () => {
  let drained = 0;
  let release = () => {};
  const holder: ServiceSchema = {
    name: "holder",
    events: { "$node.draining": () => (drained++, release()) },
    actions: {
      hold: { timeout: 0, handler: () => new Promise<string>((resolve) => (release = () => resolve("let go"))) },
    },
  };
  const other = await startNode({ services: [holder] });
  const held = other.broker.call("holder.hold");
  await Promise.all([other.stop(), other.stop()]);
  expect(drained).toBe(1);
  expect(await held).toBe("let go");
});
