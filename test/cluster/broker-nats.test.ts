/** Two nodes joined by NATS: what of cancelling, time limits, errors and identity survives the way between them. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { Context, ServiceSchema } from "moleculer";
import { invalidArgument, LongshoreError, viewError } from "../../lib/errors.ts";
import { LineLogger } from "../../lib/logger.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { startNode, type TestNode } from "../node.ts";
import { describeWith, serverUrl } from "../servers.ts";

const begun = new EventTarget();
const stopped = new EventTarget();

class Stopped extends Event {
  readonly reason: unknown;
  constructor(reason: unknown) {
    super("stopped");
    this.reason = reason;
  }
}

const lines: string[] = [];

const remote: ServiceSchema = {
  name: "remote",
  actions: {
    hang: {
      timeout: 0,
      handler(ctx: Context) {
        begun.dispatchEvent(new Event("begun"));
        return new Promise((_, reject) => {
          signalOf(ctx).addEventListener("abort", () => {
            stopped.dispatchEvent(new Stopped(signalOf(ctx).reason));
            reject(new Error("stopped"));
          });
        });
      },
    },
    echo: (ctx: Context) => ctx.params,
    refuse() {
      throw invalidArgument("Task.Channel", "is too long");
    },
    fault() {
      throw new TypeError("x is not a function");
    },
    log(ctx: Context) {
      new LineLogger("info", "json", (line) => void lines.push(line)).getLogHandler({ nodeID: "n", mod: "remote" })(
        "info",
        ["hello"],
      );
      return ctx.requestID;
    },
  },
};

const local: ServiceSchema = {
  name: "local",
  actions: { pass: (ctx: Context<{ to: string }>) => ctx.call(ctx.params.to, ctx.params) },
};

describeWith("nats", "two nodes over NATS", () => {
  let caller: TestNode;
  let callee: TestNode;

  beforeAll(async () => {
    const config = { natsUrl: serverUrl("nats"), namespace: `test-${randomUUID()}` };
    [caller, callee] = await Promise.all([
      startNode({ services: [local], config }),
      startNode({ services: [remote], config }),
    ]);
    await caller.broker.waitForServices("remote");
  });
  afterAll(() => Promise.all([caller.stop(), callee.stop()]));

  async function thrown(promise: Promise<unknown>): Promise<LongshoreError> {
    const error: unknown = await promise.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(Error);
    return error as LongshoreError;
  }

  /** What the calling node still holds of calls to other nodes. */
  function held(): number {
    const { transit, _trackedContexts } = caller.broker as unknown as {
      transit: { pendingRequests: Map<string, unknown> };
      _trackedContexts: unknown[];
    };
    return transit.pendingRequests.size + _trackedContexts.length;
  }

  test("bytes and texts arrive as they were sent", async () => {
    const params = { bytes: Buffer.from([0, 255]), big: "18446744073709551615", none: null };
    const answer = await caller.broker.call<typeof params, typeof params>("remote.echo", params);
    expect(Buffer.from(answer.bytes)).toEqual(params.bytes);
    expect(answer).toMatchObject({ big: params.big, none: null });
  });

  test("cancelling reaches the remote handler and leaves nothing pending", async () => {
    const controller = new AbortController();
    const [started, ended] = [once(begun, "begun"), once(stopped, "stopped")];
    const call = caller.broker.call("remote.hang", {}, { signal: controller.signal });
    await started;
    controller.abort();
    expect(await thrown(call)).toMatchObject({ type: "CANCELLED" });
    const [event] = (await ended) as [Stopped];
    expect(event.reason).toMatchObject({ type: "CANCELLED" });
    await caller.broker.call("remote.echo", {});
    expect(held()).toBe(0);
  });

  test("cancelling passes through a handler in between", async () => {
    const controller = new AbortController();
    const [started, ended] = [once(begun, "begun"), once(stopped, "stopped")];
    const call = caller.broker.call("local.pass", { to: "remote.hang" }, { signal: controller.signal });
    await started;
    controller.abort();
    expect(await thrown(call)).toMatchObject({ type: "CANCELLED" });
    await ended;
  });

  test("a call that runs out of time stops the remote handler", async () => {
    const ended = once(stopped, "stopped");
    const error = await thrown(caller.broker.call("remote.hang", {}, { timeout: 100 }));
    expect(error).toMatchObject({ type: "DEADLINE_EXCEEDED", code: 504 });
    const [event] = (await ended) as [Stopped];
    expect(event.reason).toMatchObject({ type: "DEADLINE_EXCEEDED" });
    await caller.broker.call("remote.echo", {});
    expect(held()).toBe(0);
  });

  test("a refusal keeps class, type, message and data", async () => {
    const error = await thrown(caller.broker.call("remote.refuse"));
    expect(error).toBeInstanceOf(LongshoreError);
    expect(error).toMatchObject({
      type: "INVALID_ARGUMENT",
      code: 400,
      message: "Task.Channel: is too long",
      data: { field: "Task.Channel" },
      nodeID: callee.broker.nodeID,
    });
  });

  test("a remote fault is INTERNAL and tells nothing of the inside", async () => {
    const error = await thrown(caller.broker.call("local.pass", { to: "remote.fault" }, { requestID: "r-2" }));
    expect(viewError(error)).toMatchObject({ type: "INTERNAL", message: "internal error in request r-2" });
    expect(`${error.stack}${JSON.stringify(error)}`).not.toContain("is not a function");
  });

  test("a log line of the remote handler carries request, trace and action", async () => {
    lines.length = 0;
    const traceId = randomUUID().replaceAll("-", "");
    const meta = { traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
    await caller.broker.call("local.pass", { to: "remote.log" }, { requestID: "r-3", meta });
    expect(JSON.parse(lines[0]!)).toMatchObject({ requestId: "r-3", traceId, action: "remote.log", message: "hello" });
  });

  test("a handler whose caller's node went away is stopped", async () => {
    const { namespace } = caller.broker;
    const third = await startNode({ services: [], config: { natsUrl: serverUrl("nats"), namespace } });
    await third.broker.waitForServices("remote");
    const [started, ended] = [once(begun, "begun"), once(stopped, "stopped")];
    void third.broker.call("remote.hang", {}, { timeout: 0, tracking: false }).catch(() => undefined);
    await started;
    await third.stop();
    const [event] = (await ended) as [Stopped];
    expect(event.reason).toMatchObject({ type: "CANCELLED", message: expect.stringContaining("went away") });
  });
});
