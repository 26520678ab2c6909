/** Calls between two nodes over NATS whose parameters and answers are larger than a message of NATS. */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { Context, ServiceSchema } from "moleculer";
import { viewError } from "../../lib/errors.ts";
import { packetParts } from "../../middlewares/packet-parts.ts";
import { startNode, type TestNode } from "../node.ts";
import { describeWith, serverUrl } from "../servers.ts";

const MB = 1_048_576;
/** What a part holds, and what else is in a packet. */
const PART = 512 * 1024;

const echo: ServiceSchema = {
  name: "echo",
  actions: {
    same: ({ params }: Context<{ bytes: Buffer }>) => params.bytes,
    make: ({ params }: Context<{ length: number }>) => Buffer.alloc(params.length, 7),
  },
};

describeWith("nats", "between two nodes", () => {
  let caller: TestNode;
  let answerer: TestNode;

  beforeAll(async () => {
    const config = { natsUrl: serverUrl("nats"), namespace: `test-${randomBytes(6).toString("hex")}` };
    answerer = await startNode({ services: [echo], config });
    caller = await startNode({ services: [], config });
    await caller.broker.waitForServices("echo");
  });
  afterAll(() => Promise.all([caller?.stop(), answerer?.stop()]));

  const same = (bytes: Buffer) => caller.broker.call<Buffer, { bytes: Buffer }>("echo.same", { bytes });

  test("sizes about a part, and of many, arrive whole", async () => {
    const around = [-300, -200, -100, -1, 0, 1, 100];
    const lengths = [0, 1, ...around.map((more) => PART + more), ...around.map((more) => 2 * PART + more), 16 * MB];
    for (const length of lengths) {
      const bytes = randomBytes(length);
      expect((await same(bytes)).equals(bytes)).toBe(true);
    }
  });

  test("those of many calls at once do not mix", async () => {
    const all = Array.from({ length: 12 }, (_, index) => randomBytes((1 + (index % 4)) * MB + index));
    const answers = await Promise.all(all.map(same));
    answers.forEach((answer, index) => expect(answer.equals(all[index]!)).toBe(true));
  });

  test("what is larger than 64 MB is refused, and says so", async () => {
    const refusal = await same(Buffer.alloc(64 * MB)).catch((error: unknown) => viewError(error));
    expect(refusal).toMatchObject({
      type: "RESOURCE_EXHAUSTED",
      message: "the message is larger than what goes between nodes: 65 MB of 64",
    });
    const answer = caller.broker.call("echo.make", { length: 64 * MB }).catch((error: unknown) => viewError(error));
    expect(await answer).toEqual(refusal);
    expect(await same(Buffer.from("still there"))).toEqual(Buffer.from("still there"));
  });
});

describe("the parts of a packet", () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  const packet = randomBytes(3 * PART);
  const errors: string[] = [];
  const received: Buffer[] = [];
  const hooks = packetParts({ logger: { error: (text: string) => errors.push(text) } } as never) as unknown as {
    transporterSend(next: unknown): (topic: string, data: Buffer, meta: object) => Promise<void>;
    transporterReceive(next: unknown): (command: string, data: Buffer) => void;
  };
  const receive = hooks.transporterReceive((_command: string, data: Buffer) => received.push(data));

  async function partsOf(data: Buffer): Promise<Buffer[]> {
    const parts: Buffer[] = [];
    await hooks.transporterSend(async (_topic: string, part: Buffer) => void parts.push(part))("topic", data, {});
    return parts;
  }

  afterEach(() => {
    errors.length = 0;
    received.length = 0;
  });

  test("that do not all come are let go after ten seconds, and that is logged", async () => {
    const [first, second, third] = await partsOf(packet);
    receive("REQ", first!);
    jest.advanceTimersByTime(9_000);
    receive("REQ", second!);
    jest.advanceTimersByTime(9_999);
    expect(errors).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(errors).toEqual(["a packet of another node is lost: no further part came within 10 s"]);
    receive("REQ", third!);
    expect(received).toEqual([]);
    for (const part of await partsOf(packet)) receive("REQ", part);
    expect(received).toHaveLength(1);
    expect(received[0]!.equals(packet)).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });

  test("are held up to 256 MB in all, and others pass meanwhile", async () => {
    const large = Buffer.alloc(64 * MB);
    const begun = await Promise.all([1, 2, 3, 4].map(() => partsOf(large)));
    for (const [first] of begun) receive("REQ", first!);
    for (const part of await partsOf(packet)) receive("REQ", part);
    expect(errors).toEqual(["a packet of another node is lost: too many come at once"]);
    receive("REQ", Buffer.from("whole"));
    for (const part of begun[0]!.slice(1)) receive("REQ", part);
    for (const part of await partsOf(packet)) receive("REQ", part);
    expect(received.map(({ length }) => length)).toEqual([5, large.length, packet.length]);
    jest.advanceTimersByTime(10_000);
    expect(errors).toHaveLength(4);
  });
});
