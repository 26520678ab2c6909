import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { connect as connectTls } from "node:tls";
import { promisify } from "node:util";
import { deflateSync, gunzip, gzipSync } from "node:zlib";
import type {
  ChannelCredentials,
  ClientOptions,
  ClientWritableStream,
  ServiceError,
  StatusObject,
} from "@grpc/grpc-js";
import { Client, Metadata, credentials, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import protobuf from "protobufjs";
import { MessageReader } from "../../../../lib/grpc/message-reader.ts";
import type { Method, ServerCall } from "../../../../lib/grpc/server-call.ts";
import type { ServerOptions, TlsOptions } from "../../../../lib/grpc/server.ts";
import { Server } from "../../../../lib/grpc/server.ts";
import { ErrorCode, Flag, FrameType, MAX_STREAM_ID, Setting } from "../../../../lib/http2/protocol.ts";
import type { Fields } from "../../../http2-frames.ts";
import {
  GREETING,
  RawClient,
  data,
  frame,
  headers,
  requestFields,
  reset,
  settings,
  windowUpdate,
} from "../../../http2-frames.ts";
import { waitFor } from "../../../wait-for.ts";

const MIB = 1024 * 1024;
const LIMITS: ServerOptions = {
  maxConnections: 20,
  maxConcurrentStreams: 1_000,
  maxMetadataBytes: 8_192,
  maxReceiveBytes: MIB,
  maxSendBytes: 2 * MIB,
  maxWaitingBytes: 64 * MIB,
};

const { root } = protobuf.parse('syntax = "proto3"; message Text { string text = 1; }');
const Text = root.lookupType("Text");

function encode(text: string): Buffer {
  return Buffer.from(Text.encode({ text }).finish());
}

function decode(bytes: Buffer): string {
  return (Text.decode(bytes) as unknown as { text: string }).text;
}

type Call = ServerCall<string, string>;

let server: Server;
let address: string;
let port: number;
let faults: unknown[];
/** What became of the calls, in the order in which it did. */
let events: unknown[];
let calls: Call[];
/** Serves the calls of the test. */
let handle: (call: Call) => void;
let opened: { close(): void }[] = [];

async function start({ tls, ...options }: Partial<ServerOptions> & { tls?: TlsOptions } = {}): Promise<void> {
  const started = new Server({ ...LIMITS, ...options }, (error) => faults.push(error));
  server = started;
  for (const [name, requestStream, responseStream] of METHODS)
    started.register(method(name, requestStream, responseStream));
  port = await started.listen({ host: "127.0.0.1", port: 0, ...(tls && { tls }) });
  address = `127.0.0.1:${port}`;
}

const METHODS = [
  ["unary", false, false],
  ["clientStream", true, false],
  ["serverStream", false, true],
  ["bidi", true, true],
] as const;
type Kind = (typeof METHODS)[number][0];

function method(name: string, requestStream: boolean, responseStream: boolean): Method<string, string> {
  const serve = (call: Call): void => {
    calls.push(call);
    call.on("cancelled", () => events.push("cancelled"));
    call.on("close", (whole: boolean) => events.push(whole));
    handle(call);
  };
  return {
    path: `/test/${name}`,
    requestStream,
    responseStream,
    deserialize: decode,
    serialize: encode,
    handle: serve,
  };
}

beforeEach(async () => {
  faults = [];
  events = [];
  calls = [];
  handle = (call) => call.answer(call.request);
  await start();
});

afterEach(async () => {
  for (const each of opened) each.close();
  opened = [];
  server.cut();
  await server.stop();
  expect(faults).toEqual([]);
});

/** A client of grpc-js. */
function client(options: ClientOptions = {}, security: ChannelCredentials = credentials.createInsecure()): Client {
  const made = new Client(address, security, {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.ssl_target_name_override": "localhost",
    ...options,
  });
  opened.push(made);
  return made;
}

interface Answer {
  message: string;
  headers: Metadata;
  trailers: Metadata;
}

interface Settings {
  metadata?: Metadata;
  deadline?: number;
  signal?: AbortSignal;
}

function unary(
  from: Client,
  request: string,
  { metadata = new Metadata(), deadline, signal }: Settings = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let message: string | undefined;
    let head = new Metadata();
    const options = deadline === undefined ? {} : { deadline };
    const call = from.makeUnaryRequest("/test/unary", encode, decode, request, metadata, options, (error, answer) => {
      if (error) reject(error);
      else message = answer;
    });
    signal?.addEventListener("abort", () => call.cancel());
    call.on("metadata", (received: Metadata) => (head = received));
    call.on("status", ({ metadata: trailers }: StatusObject) => {
      if (message !== undefined) resolve({ message, headers: head, trailers });
    });
  });
}

/** A client's stream of what `send` writes. */
function clientStream(from: Client, send: (call: ClientWritableStream<string>) => void): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const call = from.makeClientStreamRequest("/test/clientStream", encode, decode, (error, answer) => {
      if (error) reject(error);
      else resolve(answer);
    });
    send(call);
  });
}

/** How a call fails. */
async function failure(call: Promise<unknown>): Promise<ServiceError> {
  return call.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: ServiceError) => error,
  );
}

/** A message as it comes on a stream. */
function framed(message: string | Buffer, flag = 0): Buffer {
  const bytes = typeof message === "string" ? encode(message) : message;
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

function callHeaders(stream: number, name: Kind, more: Fields = []): Buffer {
  const fields: Fields = [
    ["content-type", "application/grpc"],
    ["te", "trailers"],
  ];
  return headers(stream, requestFields([...fields, ...more], `/test/${name}`));
}

async function greet(): Promise<RawClient> {
  const raw = await RawClient.greet(port);
  opened.push(raw);
  return raw;
}

/** How the call on a stream ends: the fields of its last header block. */
async function statusOf(raw: RawClient, stream: number): Promise<{ code: number; message: string }> {
  for (;;) {
    const { fields, end } = await raw.fields(stream);
    if (end) return { code: Number(fields["grpc-status"]), message: decodeURIComponent(fields["grpc-message"] ?? "") };
  }
}

/** Sends these bytes as a call of its own connection, and how that ends. */
async function outcome(name: Kind, body: Buffer, more: Fields = []): Promise<{ code: number; message: string }> {
  const raw = await greet();
  raw.send(callHeaders(1, name, more), data(1, body, Flag.END_STREAM));
  return statusOf(raw, 1);
}

/** Collects what comes in, and answers with all of it. */
function collect(call: Call): void {
  const texts: string[] = [];
  call.on("data", (text: string) => texts.push(text));
  call.on("end", () => call.answer(texts.join()));
}

function echo(call: Call): void {
  call.on("data", (text: string) => call.write(text));
  call.on("end", () => call.end());
}

describe("with grpc-js's client", () => {
  test("a unary call is answered, as often as it comes", async () => {
    const from = client();
    for (const text of ["one", "", "Ünïcode 🚢", "x".repeat(500_000)]) {
      expect((await unary(from, text)).message).toBe(text);
    }
    await waitFor(() => events.length === 4);
    expect(events).toEqual([true, true, true, true]);
  });

  test("many calls at once are each given their own answer", async () => {
    const from = client();
    const answers = await Promise.all(Array.from({ length: 300 }, (_, index) => unary(from, `call ${index}`)));
    expect(answers.map(({ message }) => message)).toEqual(answers.map((_, index) => `call ${index}`));
  });

  test("a client's stream is collected", async () => {
    handle = collect;
    const answer = await clientStream(client(), (call) => {
      for (const text of ["a", "", "c"]) call.write(text);
      call.end();
    });
    expect(answer).toBe("a,,c");
    expect(events).toEqual([true]);
  });

  test("a server's stream comes in its order", async () => {
    handle = (call) => {
      for (let index = 0; index < 1_000; index += 1) call.write(`${call.request} ${index}`);
      call.end({ "x-count": "1000" });
    };
    const call = client().makeServerStreamRequest("/test/serverStream", encode, decode, "number");
    const texts: string[] = [];
    call.on("data", (text: string) => texts.push(text));
    const [end] = (await once(call, "status")) as [StatusObject];
    expect(texts).toEqual(Array.from({ length: 1_000 }, (_, index) => `number ${index}`));
    expect(end.metadata.get("x-count")).toEqual(["1000"]);
  });

  test("a stream both ways answers while it goes on", async () => {
    handle = echo;
    const call = client().makeBidiStreamRequest("/test/bidi", encode, decode);
    for (let index = 0; index < 20; index += 1) {
      call.write(`ping ${index}`);
      expect(await once(call, "data")).toEqual([`ping ${index}`]);
    }
    call.end();
    call.resume();
    const [end] = (await once(call, "status")) as [StatusObject];
    expect(end.code).toBe(status.OK);
    expect(events).toEqual([true]);
  });

  test("a client that does not read holds up the server, and no more waits than a little", async () => {
    const part = "x".repeat(10_000);
    const total = 3_000;
    let written = 0;
    let drains = 0;
    handle = (call) => {
      const more = (): void => {
        while (written < total) {
          written += 1;
          if (!call.write(part)) return;
        }
        call.end();
      };
      call.on("drain", () => {
        drains += 1;
        more();
      });
      more();
    };
    const call = client().makeServerStreamRequest("/test/serverStream", encode, decode, "");
    call.pause();
    await waitFor(() => calls[0]?.needsDrain);
    handle = (another) => another.answer("meanwhile");
    expect((await unary(client(), "")).message).toBe("meanwhile");
    // Some megabytes the client's side takes, though it is paused.
    expect(written * part.length).toBeLessThan(8 * MIB);
    let received = 0;
    call.on("data", () => (received += 1));
    call.resume();
    await once(call, "end");
    expect([received, drains > 3]).toEqual([total, true]);
  });

  test("a server that does not read holds up the client, and is given all in its order when it does", async () => {
    const texts: string[] = [];
    handle = (call) => {
      call.pause();
      call.on("data", (text: string) => {
        texts.push(text.slice(0, 3));
        // Once more in the middle, to go on in a later turn.
        if (texts.length % 50 !== 0) return;
        call.pause();
        setImmediate(() => call.resume());
      });
      call.on("end", () => call.answer("done"));
    };
    const answer = clientStream(client(), (call) => {
      let index = 0;
      const more = (): void => {
        while (index < 200) if (!call.write(`${index++}`.padStart(3, "0").padEnd(20_000))) return;
        call.end();
      };
      call.on("drain", more);
      more();
    });
    const [call] = await waitFor(() => (calls.length > 0 ? calls : undefined));
    expect(call!.isPaused()).toBe(true);
    expect(texts).toEqual([]);
    call!.resume();
    expect(await answer).toBe("done");
    expect(texts).toEqual(Array.from({ length: 200 }, (_, index) => `${index}`.padStart(3, "0")));
  });

  test.each([
    ["deflate", 1],
    ["gzip", 2],
  ])("messages compressed with %s are read, between others that are not", async (_, algorithm) => {
    handle = collect;
    const from = client({ "grpc.default_compression_algorithm": algorithm });
    const texts = Array.from({ length: 30 }, (__, index) => `${index}`.repeat(1 + (index % 3) * 3_000));
    const answer = await clientStream(from, (call) => {
      // 2 is WriteFlags.NoCompress.
      for (const [index, text] of texts.entries())
        call.write(text, index % 4 === 0 ? (2 as unknown as string) : undefined);
      call.end();
    });
    expect(answer).toBe(texts.join());
    handle = (call) => call.answer(call.request);
    expect((await unary(from, "x".repeat(100_000))).message).toHaveLength(100_000);
  });
});

describe("metadata", () => {
  test("comes as text, values of one name together, without what belongs to the transport", async () => {
    const metadata = new Metadata();
    metadata.set("x-text", "a value, with a comma");
    metadata.add("x-many", "1");
    metadata.add("x-many", "2");
    metadata.set("x-bytes-bin", Buffer.from([0, 255]));
    await unary(client(), "", { metadata, deadline: Date.now() + 10_000 });
    const { "user-agent": agent, ...rest } = calls[0]!.head.metadata;
    expect(agent).toMatch(/^grpc-node-js/);
    expect(rest).toEqual({ "x-text": "a value, with a comma", "x-many": "1,2" });
    expect(Object.isFrozen(calls[0]!.head.metadata)).toBe(true);
  });

  test("that is not ASCII comes an octet a character", async () => {
    const raw = await greet();
    raw.send(callHeaders(1, "unary", [["x-latin", "é\x80"]]), data(1, framed("x"), Flag.END_STREAM));
    expect(await statusOf(raw, 1)).toEqual({ code: status.OK, message: "" });
    expect(calls[0]!.head.metadata["x-latin"]).toBe("é\x80");
  });

  test("goes to the client before and after the answer, text and bytes", async () => {
    handle = (call) => {
      call.sendMetadata({ "x-text": "a, b", "X-Upper": "c", "x-bytes-bin": Buffer.from([0, 255, 10]), "x-empty": "" });
      call.sendMetadata({ "x-late": "too late" });
      call.answer("", { "x-after": "d", "x-after-bin": Buffer.from("ünïcode") });
    };
    const { headers: head, trailers } = await unary(client(), "");
    expect(head.getMap()).toMatchObject({
      "x-text": "a, b",
      "x-upper": "c",
      "x-bytes-bin": Buffer.from([0, 255, 10]),
      "x-empty": "",
    });
    expect(head.get("x-late")).toEqual([]);
    expect(trailers.getMap()).toMatchObject({ "x-after": "d", "x-after-bin": Buffer.from("ünïcode") });
  });

  test("comes with an error, whether or not the answer has begun", async () => {
    const from = client();
    const error = { code: status.ABORTED, details: "no", metadata: { "x-why": "because", "x-why-bin": Buffer.of(1) } };
    handle = (call) => call.fail(error);
    const first = await failure(unary(from, ""));
    handle = (call) => {
      call.sendMetadata({ "x-head": "1" });
      call.fail(error);
    };
    const second = await failure(unary(from, ""));
    for (const { code, details, metadata } of [first, second]) {
      expect({ code, details }).toEqual({ code: status.ABORTED, details: "no" });
      expect(metadata.getMap()).toMatchObject({ "x-why": "because", "x-why-bin": Buffer.of(1) });
    }
    await waitFor(() => events.length === 2);
    expect(events).toEqual([true, true]);
  });

  test("of an answer cannot begin another field, whatever its values hold", async () => {
    handle = (call) => {
      call.sendMetadata({ "x-evil": " a\r\nx-injected: yes\0\u{1f6a2}é\x7f " });
      call.answer("", { "x-evil": "\n\r" });
    };
    const { headers: head, trailers } = await unary(client(), "");
    expect(head.getMap()).toMatchObject({ "x-evil": "ax-injected: yes" });
    expect(head.get("x-injected")).toEqual([]);
    expect(trailers.get("x-evil")).toEqual([""]);
  });

  test("over the limit is refused, and the connection goes on", async () => {
    const raw = await greet();
    const large: Fields = [["x-large", "x".repeat(8_192)]];
    raw.send(callHeaders(1, "unary", large), data(1, framed("x"), Flag.END_STREAM));
    raw.send(callHeaders(3, "unary", large), data(3, "", Flag.END_STREAM));
    raw.send(callHeaders(5, "unary", [["x-large", "x".repeat(7_500)]]), data(5, framed("x"), Flag.END_STREAM));
    const refused = { code: status.RESOURCE_EXHAUSTED, message: "metadata: more than 8192 bytes" };
    expect(await statusOf(raw, 1)).toEqual(refused);
    expect(await statusOf(raw, 3)).toEqual(refused);
    expect(await statusOf(raw, 5)).toMatchObject({ code: status.OK });
    expect(calls).toHaveLength(1);
  });

  test("is the same object for calls that have the same", async () => {
    const raw = await greet();
    for (const [id, value] of [
      [1, "a"],
      [3, "a"],
      [5, "b"],
      [7, "a"],
    ] as const) {
      raw.send(callHeaders(id, "unary", [["x", value]]), data(id, framed("x"), Flag.END_STREAM));
    }
    await statusOf(raw, 7);
    const heads = calls.map(({ head }) => head);
    expect(heads.map(({ metadata }) => metadata["x"])).toEqual(["a", "a", "b", "a"]);
    expect(heads[1]).toBe(heads[0]);
    expect(heads[2]).not.toBe(heads[0]);
    expect(heads[3]!.metadataText).toBe(heads[0]!.metadataText);
  });
});

describe("an error", () => {
  test.each([
    ["in Unicode", "100% größer 🚢, \"quoted\" & 'so', ~tilde"],
    ["with percent signs", "%41%E2%9C%93 stays as it is, and % and %% too"],
    ["of several lines", "lines\r\nand\ttabs\0"],
    ["with spaces around it", "  the text "],
    ["that is nothing but a space", " "],
    ["that is empty", ""],
    ["that is long", "x".repeat(5_000)],
  ])("has its message unchanged, one %s", async (_, details) => {
    handle = (call) => call.fail({ code: status.FAILED_PRECONDITION, details });
    expect(await failure(unary(client(), ""))).toMatchObject({ code: status.FAILED_PRECONDITION, details });
  });

  test("comes after what has been written", async () => {
    handle = (call) => {
      call.write("a");
      call.write("b");
      call.fail({ code: status.DATA_LOSS, details: "no more" });
      call.write("c");
      call.end();
      call.fail({ code: status.OK, details: "" });
    };
    const call = client().makeServerStreamRequest("/test/serverStream", encode, decode, "");
    const texts: string[] = [];
    call.on("data", (text: string) => texts.push(text));
    const [error] = (await once(call, "error")) as [ServiceError];
    expect(error).toMatchObject({ code: status.DATA_LOSS, details: "no more" });
    expect(texts).toEqual(["a", "b"]);
  });

  test("takes the place of an answer that is too large", async () => {
    handle = (call) => call.answer("x".repeat(2 * MIB));
    const from = client({ "grpc.max_receive_message_length": -1 });
    expect(await failure(unary(from, ""))).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: "a message of 2097157 bytes, at most 2097152 are taken",
    });
    handle = (call) => call.answer("x".repeat(2 * MIB - 5));
    expect((await unary(from, "")).message).toHaveLength(2 * MIB - 5);
  });
});

describe("a deadline", () => {
  test.each([
    ["2H", 7_200_000],
    ["3M", 180_000],
    ["40S", 40_000],
    ["50000m", 50_000],
    ["60000000u", 60_000],
    ["99999999n", 99.999999],
    ["99999999H", 99_999_999 * 3_600_000],
  ])("of %s is read", async (text, milliseconds) => {
    handle = () => undefined;
    const raw = await greet();
    const before = Date.now();
    raw.send(callHeaders(1, "unary", [["grpc-timeout", text]]), data(1, framed("x"), Flag.END_STREAM));
    const [call] = await waitFor(() => (calls.length > 0 ? calls : undefined));
    expect(call!.deadline - milliseconds).toBeGreaterThanOrEqual(before - 1);
    expect(call!.deadline - milliseconds).toBeLessThanOrEqual(Date.now() + 1);
    // It passes before all of these that are longer than a test.
    raw.send(callHeaders(3, "bidi", [["grpc-timeout", "1m"]]));
    expect(await statusOf(raw, 3)).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    expect(call!.cancelled && milliseconds > 10_000).toBe(false);
  });

  test("that nobody has set is none", async () => {
    await unary(client(), "");
    expect(calls[0]!.deadline).toBe(Infinity);
  });

  test.each(["", "1", "S", "1s", "-1S", "1.5S", "1 S", "123456789S", "0x1S"])(
    "that is malformed, %j, refuses the call",
    async (text) => {
      const { code, message } = await outcome("unary", framed("x"), [["grpc-timeout", text]]);
      expect([code, message.split(":")[0]]).toEqual([status.INTERNAL, "grpc-timeout"]);
      expect((await outcome("bidi", framed("x"), [["grpc-timeout", text]])).code).toBe(status.INTERNAL);
      expect(calls).toEqual([]);
    },
  );

  test("that passes ends the call for both sides", async () => {
    handle = () => undefined;
    const error = await failure(unary(client(), "", { deadline: Date.now() + 50 }));
    expect(error.code).toBe(status.DEADLINE_EXCEEDED);
    await waitFor(() => events.length === 2);
    expect(events).toEqual(["cancelled", false]);
  });

  test.each(["1n", "0m", "10m"])("of %s is told by the server, and what comes later does not count", async (text) => {
    handle = () => undefined;
    const raw = await greet();
    raw.send(callHeaders(1, "bidi", [["grpc-timeout", text]]));
    expect(await statusOf(raw, 1)).toEqual({ code: status.DEADLINE_EXCEEDED, message: "the deadline has passed" });
    expect(events).toEqual(["cancelled", false]);
    expect(calls[0]!.cancelled).toBe(true);
    expect(calls[0]!.write("late")).toBe(true);
    calls[0]!.answer("late");
    calls[0]!.fail({ code: status.ABORTED, details: "late" });
    raw.send(data(1, framed("late"), Flag.END_STREAM));
    await raw.pong();
    const { DATA, HEADERS } = FrameType;
    expect(raw.frames.filter(({ type }) => type === DATA || type === HEADERS)).toHaveLength(1);
  });

  test("ends a call whose answer waits for a client that does not read", async () => {
    handle = (call) => {
      call.write("x".repeat(200_000));
      call.end();
    };
    const raw = await greet();
    raw.send(settings({ [Setting.INITIAL_WINDOW_SIZE]: 10 }));
    raw.send(callHeaders(1, "serverStream", [["grpc-timeout", "20m"]]), data(1, framed("x"), Flag.END_STREAM));
    expect(await statusOf(raw, 1)).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    expect(events).toEqual(["cancelled", false]);
  });

  test("that has passed after the end does nothing", async () => {
    const raw = await greet();
    raw.send(callHeaders(1, "unary", [["grpc-timeout", "10m"]]), data(1, framed("x"), Flag.END_STREAM));
    expect(await statusOf(raw, 1)).toMatchObject({ code: status.OK });
    const passed = Date.now() + 20;
    await waitFor(() => Date.now() > passed);
    expect(events).toEqual([true]);
  });
});

describe("a call that ends early", () => {
  test("by the client's cancel is cancelled, then closed, and not whole", async () => {
    handle = () => undefined;
    const abort = new AbortController();
    const call = unary(client(), "", { signal: abort.signal });
    await waitFor(() => calls.length);
    abort.abort();
    await expect(call).rejects.toMatchObject({ code: status.CANCELLED });
    await waitFor(() => events.length === 2);
    expect(events).toEqual(["cancelled", false]);
  });

  test("by a reset is cancelled, also in the middle of a message and while a message unfolds", async () => {
    handle = () => undefined;
    const raw = await greet();
    const message = framed(gzipSync(encode("x".repeat(100_000))), 1);
    raw.send(callHeaders(1, "bidi", [["grpc-encoding", "gzip"]]), data(1, message.subarray(0, 50)));
    raw.send(reset(1, ErrorCode.CANCEL));
    raw.send(callHeaders(3, "bidi", [["grpc-encoding", "gzip"]]), data(3, Buffer.concat([message, message])));
    raw.send(reset(3, ErrorCode.CANCEL));
    await waitFor(() => events.length === 4);
    expect(events).toEqual(["cancelled", false, "cancelled", false]);
  });

  test("with its connection is cancelled", async () => {
    handle = () => undefined;
    const raw = await greet();
    raw.send(callHeaders(1, "bidi"), callHeaders(3, "unary"), data(3, framed("x"), Flag.END_STREAM));
    await waitFor(() => calls.length === 2);
    raw.close();
    await waitFor(() => events.length === 4);
    expect(events).toEqual(["cancelled", false, "cancelled", false]);
  });

  test("by the server while the client still sends is answered, and the client told to stop", async () => {
    handle = (call) => call.fail({ code: status.PERMISSION_DENIED, details: "not you" });
    const raw = await greet();
    raw.send(callHeaders(1, "clientStream"), data(1, framed("x")));
    expect(await statusOf(raw, 1)).toEqual({ code: status.PERMISSION_DENIED, message: "not you" });
    expect(await raw.resetCode(1)).toBe(ErrorCode.NO_ERROR);
    expect(events).toEqual([true]);
    const call = client().makeClientStreamRequest("/test/clientStream", encode, decode, () => undefined);
    call.write("x");
    const [end] = (await once(call, "status")) as [StatusObject];
    expect(end).toMatchObject({ code: status.PERMISSION_DENIED, details: "not you" });
  });
});

describe("the messages of a request", () => {
  test("may come in any pieces", async () => {
    handle = collect;
    const body = Buffer.concat([framed("one"), framed(""), framed("t".repeat(300)), framed("last")]);
    const answer = `one,,${"t".repeat(300)},last`;
    const raw = await greet();
    let id = -1;
    for (const size of [1, 2, 3, 4, 5, 6, 7, 11, 100, 305, body.length]) {
      raw.send(callHeaders((id += 2), "clientStream"));
      for (let at = 0; at < body.length; at += size) raw.send(data(id, body.subarray(at, at + size)), data(id));
      raw.send(data(id, Buffer.alloc(0), Flag.END_STREAM));
      const { payload } = await raw.next(FrameType.DATA, id);
      expect(decode(payload.subarray(5))).toBe(answer);
    }
  });

  test("may be as large as the limit, and end the stream with trailers", async () => {
    handle = collect;
    const text = "x".repeat(MIB - 4);
    expect(encode(text)).toHaveLength(MIB);
    const raw = await greet();
    raw.send(callHeaders(1, "clientStream"));
    const body = framed(text);
    // As much as the stream's window at once, and on when it opens.
    for (let at = 0, window = 262_144; at < body.length;) {
      const part = body.subarray(at, at + Math.min(16_384, window));
      raw.send(data(1, part));
      at += part.length;
      window -= part.length;
      if (window === 0) window += (await raw.next(FrameType.WINDOW_UPDATE, 1)).payload.readUInt32BE(0);
    }
    raw.send(headers(1, [["x-client", "done"]], Flag.END_STREAM), windowUpdate(0, 2 * MIB), windowUpdate(1, 2 * MIB));
    expect(await statusOf(raw, 1)).toMatchObject({ code: status.OK });
  });

  const { INTERNAL, UNIMPLEMENTED, RESOURCE_EXHAUSTED } = status;
  const hex = (text: string): Buffer => Buffer.from(text, "hex");
  const two = Buffer.concat([framed("a"), framed("b")]);
  const andPrefix = Buffer.concat([framed("a"), hex("00")]);
  const zeros = Buffer.alloc(10 * MIB);

  test.each<[string, Kind, Buffer, string | undefined, number, RegExp]>([
    ["none on a unary call", "unary", hex(""), undefined, UNIMPLEMENTED, /no request/],
    ["none where one asks for a stream", "serverStream", hex(""), undefined, UNIMPLEMENTED, /no request/],
    ["two on a unary call", "unary", two, undefined, UNIMPLEMENTED, /more than one/],
    ["one cut off", "unary", framed("abc").subarray(0, -1), undefined, INTERNAL, /cut off/],
    ["a prefix cut off", "unary", andPrefix, undefined, INTERNAL, /cut off/],
    ["the last of a stream cut off", "bidi", framed("abc").subarray(0, 4), undefined, INTERNAL, /cut off/],
    ["one that is no protobuf", "unary", framed(hex("0affffff")), undefined, INTERNAL, /malformed/],
    ["one of a stream that is none", "bidi", framed(hex("0aff")), undefined, INTERNAL, /malformed/],
    ["one that begins with 2", "unary", framed("a", 2), undefined, INTERNAL, /byte 2/],
    ["one of 4 GB", "unary", hex("00ffffffff"), undefined, RESOURCE_EXHAUSTED, /4294967295 bytes/],
    ["one of a byte more than may be", "bidi", hex("0000100001"), undefined, RESOURCE_EXHAUSTED, /1048577/],
    ["a compressed one of 4 GB", "bidi", hex("01ffffffff"), "gzip", RESOURCE_EXHAUSTED, /4294967295/],
    ["a compressed one, not said how", "unary", framed("a", 1), undefined, INTERNAL, /compressed/],
    ["a compressed one that is said not to be", "unary", framed("a", 1), "identity", INTERNAL, /compressed/],
    ["one compressed as nobody knows", "unary", framed("a", 1), "snappy", UNIMPLEMENTED, /snappy/],
    ["one compressed as objects have it", "unary", framed("a", 1), "constructor", UNIMPLEMENTED, /constructor/],
    ["one compressed as all of them have it", "bidi", framed("a", 1), "__proto__", UNIMPLEMENTED, /__proto__/],
    ["one that is not gzip", "unary", framed("abcdefgh", 1), "gzip", INTERNAL, /not gzip/],
    ["one that is gzip, not deflate", "unary", framed(gzipSync("a"), 1), "deflate", INTERNAL, /not deflate/],
    ["gzip that is cut off", "unary", framed(gzipSync("a").subarray(0, -3), 1), "gzip", INTERNAL, /not gzip/],
    ["nothing, compressed", "unary", framed(hex(""), 1), "gzip", INTERNAL, /not gzip/],
    ["a bomb of gzip", "unary", framed(gzipSync(zeros), 1), "gzip", RESOURCE_EXHAUSTED, /unfolds/],
    ["a bomb of deflate", "bidi", framed(deflateSync(zeros), 1), "deflate", RESOURCE_EXHAUSTED, /unfolds/],
    ["compressed nonsense", "unary", framed(gzipSync(hex("0aff")), 1), "gzip", INTERNAL, /malformed/],
  ])("are refused: %s", async (_, name, body, encoding, code, message) => {
    handle = (call) => call.on("end", () => call.end());
    const more: Fields = encoding === undefined ? [] : [["grpc-encoding", encoding]];
    expect(await outcome(name, body, more)).toEqual({ code, message: expect.stringMatching(message) });
    // A call of a single request has not begun; a stream's has, and is told.
    expect(events).toEqual(name === "bidi" ? ["cancelled", false] : []);
    handle = (call) => call.answer("still here");
    expect((await unary(client(), "")).message).toBe("still here");
  });

  test("are given up to the one that is refused", async () => {
    const texts: string[] = [];
    handle = (call) => call.on("data", (text: string) => texts.push(text));
    const body = Buffer.concat([framed("a"), framed("b"), framed("c", 7), framed("d")]);
    expect(await outcome("bidi", body)).toMatchObject({ code: status.INTERNAL });
    expect(texts).toEqual(["a", "b"]);
  });

  test("take no memory by what they say of their length", () => {
    const readers = Array.from({ length: 1_000 }, () => new MessageReader(2 ** 32, { left: MIB }));
    const before = process.memoryUsage().arrayBuffers;
    for (const reader of readers) {
      reader.add(Buffer.from("00fffffff00000", "hex"));
      expect(reader.next()).toBeUndefined();
      reader.keep();
      expect([reader.isEmpty, reader.refusal]).toEqual([false, undefined]);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MIB);
  });

  test("that are not whole are held up to a bound of all calls, which those that end give back", async () => {
    await start({ maxWaitingBytes: 600_000 });
    handle = (call) => call.answer("taken");
    const raw = await greet();
    const message = framed("x".repeat(400_000));
    const send = (stream: number, from: number, to: number) => {
      for (let at = from; at < to; at += 16_000)
        raw.send(data(stream, message.subarray(at, Math.min(at + 16_000, to))));
    };
    raw.send(callHeaders(1, "unary"));
    send(1, 0, 300_000);
    raw.send(callHeaders(3, "unary"));
    send(3, 0, 300_000);
    expect(await statusOf(raw, 3)).toEqual({
      code: status.RESOURCE_EXHAUSTED,
      message: "too many unfinished requests, try again later",
    });
    raw.send(reset(1, ErrorCode.CANCEL), callHeaders(5, "unary"));
    send(5, 0, message.length);
    raw.send(data(5, Buffer.alloc(0), Flag.END_STREAM));
    expect(await statusOf(raw, 5)).toMatchObject({ code: status.OK });
  });

  test("do not come while the call is paused, even one that was unfolding by then", async () => {
    const texts: string[] = [];
    handle = (call) => {
      call.on("data", (text: string) => {
        texts.push(text);
        call.pause();
      });
      call.on("end", () => texts.push("the end"));
      // When what came with the head has been looked at.
      queueMicrotask(() => call.pause());
    };
    const compressed = (text: string): Buffer => framed(gzipSync(encode(text)), 1);
    const raw = await greet();
    raw.send(
      callHeaders(1, "bidi", [["grpc-encoding", "gzip"]]),
      data(1, Buffer.concat([compressed("a"), compressed("b"), framed("c"), compressed("d")]), Flag.END_STREAM),
    );
    await raw.pong();
    // As long as it takes to unfold it, and longer.
    for (let round = 0; round < 5; round += 1) await promisify(gunzip)(gzipSync("x"));
    expect(texts).toEqual([]);
    for (const next of ["a", "b", "c", "d", "the end"]) {
      calls[0]!.resume();
      await waitFor(() => texts.at(-1) === next);
    }
    expect(texts).toEqual(["a", "b", "c", "d", "the end"]);
  });

  test("are not asked for while earlier ones unfold", async () => {
    let delivered = 0;
    handle = (call) => {
      call.on("data", () => (delivered += 1));
      call.on("end", () => call.end());
    };
    const message = framed(gzipSync(encode(randomBytes(500).toString("hex"))), 1);
    const raw = await greet();
    raw.send(callHeaders(1, "bidi", [["grpc-encoding", "gzip"]]));
    const count = 5_000;
    let window = 256 * 1024;
    let sent = 0;
    let furthest = 0;
    for (;;) {
      for (; sent < count && window >= message.length; sent += 1) {
        raw.send(data(1, message));
        window -= message.length;
      }
      furthest = Math.max(furthest, sent - delivered);
      if (sent === count) break;
      window += (await raw.next(FrameType.WINDOW_UPDATE, 1)).payload.readUInt32BE(0);
    }
    raw.send(data(1, Buffer.alloc(0), Flag.END_STREAM));
    expect(await statusOf(raw, 1)).toMatchObject({ code: status.OK });
    expect(delivered).toBe(count);
    expect(furthest * message.length).toBeLessThanOrEqual(300 * 1024);
  });
});

describe("what is no call", () => {
  async function answered(fields: Fields): Promise<Record<string, string>> {
    const raw = await greet();
    raw.send(headers(1, fields, Flag.END_STREAM));
    const { fields: head, end } = await raw.fields(1);
    expect(end).toBe(true);
    raw.send(callHeaders(3, "unary"), data(3, framed("x"), Flag.END_STREAM));
    expect(await statusOf(raw, 3)).toMatchObject({ code: status.OK });
    return head;
  }

  test("is UNIMPLEMENTED where the method is not known", async () => {
    const fields = requestFields([["content-type", "application/grpc"]], "/test/missing");
    expect(await answered(fields)).toMatchObject({
      ":status": "200",
      "content-type": "application/grpc",
      "grpc-status": `${status.UNIMPLEMENTED}`,
      "grpc-message": "/test/missing is not served",
    });
  });

  test("is UNIMPLEMENTED once the method is not served any more", async () => {
    const from = client();
    server.unregister("/test/unary");
    expect(await failure(unary(from, ""))).toMatchObject({ code: status.UNIMPLEMENTED });
    server.register(method("unary", false, false));
    expect((await unary(from, "again")).message).toBe("again");
  });

  test("is 405 where it is GET", async () => {
    const fields = requestFields([["content-type", "application/grpc"]], "/test/unary").filter(
      ([n]) => n !== ":method",
    );
    expect(await answered([[":method", "GET"], ...fields])).toEqual({ ":status": "405" });
  });

  test.each([undefined, "text/plain", "application/json", "application/grpcx", "text/application/grpc"])(
    "is 415 where its content type is %s",
    async (type) => {
      const fields = requestFields(type === undefined ? [] : [["content-type", type]], "/test/unary");
      expect(await answered(fields)).toEqual({ ":status": "415" });
    },
  );

  test.each(["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"])(
    "is none of these where its content type is %s",
    async (type) => {
      const raw = await greet();
      raw.send(
        headers(1, requestFields([["content-type", type]], "/test/unary")),
        data(1, framed("x"), Flag.END_STREAM),
      );
      expect(await statusOf(raw, 1)).toMatchObject({ code: status.OK });
    },
  );
});

describe("a handler that throws", () => {
  const thrown = new Error("of the handler");
  const fail = (): never => {
    throw thrown;
  };

  /** The fault is told, the call fails, and others go on, also on the same connection. */
  async function expectFault(cause: (raw: RawClient) => void): Promise<void> {
    const bystander = client();
    const raw = await greet();
    handle = (call) => call.answer(call.request);
    await unary(bystander, "");
    cause(raw);
    await waitFor(() => faults.length);
    expect(faults).toEqual([thrown]);
    faults = [];
    handle = (call) => call.answer(call.request);
    expect((await unary(bystander, "still here")).message).toBe("still here");
    raw.send(callHeaders(5, "unary"), data(5, framed("x"), Flag.END_STREAM));
    expect(await statusOf(raw, 5)).toMatchObject({ code: status.OK });
  }

  test.each<[string, Kind, (call: Call) => void, Buffer]>([
    ["at once", "unary", fail, framed("x")],
    ["at once, of a stream", "bidi", fail, framed("x")],
    ["on a message", "bidi", (call) => call.on("data", fail), framed("x")],
    ["on a message that was compressed", "bidi", (call) => call.on("data", fail), framed(gzipSync(encode("x")), 1)],
    ["at once, after a compressed message", "unary", fail, framed(gzipSync(encode("x")), 1)],
    ["at the end of a stream", "bidi", (call) => call.on("end", fail), framed("x")],
  ])("%s, is told of and ends its call", async (_, name, throwing, body) => {
    await expectFault((raw) => {
      handle = throwing;
      raw.send(callHeaders(1, name, [["grpc-encoding", "gzip"]]), data(1, body, Flag.END_STREAM));
    });
  });

  test("when it is cancelled, is told of", async () => {
    await expectFault((raw) => {
      handle = (call) => call.on("cancelled", fail);
      raw.send(callHeaders(1, "bidi"), reset(1, ErrorCode.CANCEL));
    });
  });

  test("at its deadline, is told of", async () => {
    await expectFault((raw) => {
      handle = (call) => call.on("cancelled", fail);
      raw.send(callHeaders(1, "bidi", [["grpc-timeout", "1m"]]));
    });
  });

  test("when it may go on writing, is told of", async () => {
    await expectFault((raw) => {
      handle = (call) => {
        call.on("drain", fail);
        call.write("x".repeat(200_000));
      };
      raw.send(callHeaders(1, "bidi"), windowUpdate(0, MIB), windowUpdate(1, MIB));
    });
  });

  test("when it is closed, is told of", async () => {
    await expectFault((raw) => {
      handle = (call) => {
        call.on("close", fail);
        call.end();
      };
      raw.send(callHeaders(1, "bidi"));
    });
  });
});

describe("the end of the server", () => {
  test("lets calls under way end well, and takes no more connections", async () => {
    handle = () => undefined;
    const from = client();
    const first = unary(from, "first");
    await waitFor(() => calls.length);
    handle = echo;
    const second = from.makeBidiStreamRequest("/test/bidi", encode, decode);
    second.write("a");
    await once(second, "data");
    let stopped = false;
    const stop = server.stop().then(() => (stopped = true));
    await expect(once(connectTcp(port, "127.0.0.1"), "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
    second.write("b");
    expect(await once(second, "data")).toEqual(["b"]);
    expect(stopped).toBe(false);
    calls[0]!.answer("first");
    expect((await first).message).toBe("first");
    second.resume();
    second.end();
    await stop;
    expect(events).toEqual([true, true]);
    expect(await failure(unary(from, "", { deadline: Date.now() + 200 }))).toHaveProperty("code");
  });

  test("comes at once where nobody calls", async () => {
    const from = client();
    await unary(from, "");
    await server.stop();
  });

  test("comes at once where nobody is there", async () => {
    await server.stop();
  });

  test("is not held up by a connection that says nothing, once that is cut", async () => {
    const silent = connectTcp(port, "127.0.0.1");
    opened.push({ close: () => silent.destroy() });
    await once(silent, "data");
    const stop = server.stop();
    server.cut();
    await stop;
  });

  test("cuts off what is under way when it must", async () => {
    handle = () => undefined;
    const call = failure(unary(client(), ""));
    await waitFor(() => calls.length);
    const stop = server.stop();
    server.cut();
    await stop;
    expect(events).toEqual(["cancelled", false]);
    expect([status.UNAVAILABLE, status.CANCELLED, status.INTERNAL]).toContain((await call).code);
  });
});

describe("listening", () => {
  test("fails where the port is in use", async () => {
    const another = new Server(LIMITS, () => undefined);
    await expect(another.listen({ host: "127.0.0.1", port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  test("takes no more connections than it may, and again one when one has gone", async () => {
    await server.stop();
    await start({ maxConnections: 2 });
    const [first] = [await greet(), await greet()];
    await first!.next(FrameType.SETTINGS);
    const third = await RawClient.connect(port);
    await third.closed();
    first!.close();
    await waitFor(async () => {
      const another = await greet();
      return Promise.race([another.next(FrameType.SETTINGS), another.closed()]).catch(() => undefined);
    });
  });

  test("refuses more calls of a connection than it may", async () => {
    await server.stop();
    await start({ maxConcurrentStreams: 2 });
    handle = () => undefined;
    const raw = await greet();
    raw.send(callHeaders(1, "bidi"), callHeaders(3, "bidi"), callHeaders(5, "bidi"));
    expect(await raw.resetCode(5)).toBe(ErrorCode.REFUSED_STREAM);
    expect(calls).toHaveLength(2);
  });
});

describe("with TLS", () => {
  const file = (name: string): Buffer =>
    readFileSync(join(import.meta.dirname, "..", "..", "..", "fixtures", "tls", name));
  const [ca, cert, key] = [file("ca.crt"), file("server.crt"), file("server.key")];

  async function startTls(tls: Partial<TlsOptions> = {}): Promise<void> {
    await server.stop();
    await start({ tls: { cert, key, ...tls } });
  }

  /** What a client of plain TLS comes to. */
  async function handshake(options: ConnectionOptions): Promise<{ alpn: unknown; bytes: number }> {
    const socket = connectTls({ port, host: "127.0.0.1", servername: "localhost", ca, ...options });
    opened.push({ close: () => socket.destroy() });
    let alpn: unknown;
    let bytes = 0;
    socket.on("secureConnect", () => (alpn = socket.alpnProtocol));
    socket.on("error", () => undefined);
    const over = new Promise((resolve) => socket.on("close", resolve));
    const heard = new Promise<void>((resolve) =>
      socket.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        resolve();
      }),
    );
    await Promise.race([over, heard]);
    return { alpn, bytes };
  }

  test("calls go as without", async () => {
    await startTls();
    handle = (call) => call.answer(call.request, { "x-after": "done" });
    const from = client({}, credentials.createSsl(ca));
    const { message, trailers } = await unary(from, "x".repeat(500_000));
    expect([message.length, trailers.get("x-after")]).toEqual([500_000, ["done"]]);
    await server.stop();
    expect(events).toEqual([true]);
  });

  test("a client that does not trust the certificate, or speaks no TLS, does not get in, and others do", async () => {
    await startTls();
    const soon = { deadline: Date.now() + 500 };
    expect((await failure(unary(client({}, credentials.createSsl()), "", soon))).code).toBeGreaterThan(0);
    expect((await failure(unary(client(), "", soon))).code).toBeGreaterThan(0);
    expect(calls).toEqual([]);
    expect((await unary(client({}, credentials.createSsl(ca)), "in")).message).toBe("in");
  });

  test("a client needs a certificate of the authority where one is named", async () => {
    await startTls({ ca });
    const soon = { deadline: Date.now() + 500 };
    expect((await failure(unary(client({}, credentials.createSsl(ca)), "", soon))).code).toBeGreaterThan(0);
    const trusted = credentials.createSsl(ca, file("client.key"), file("client.crt"));
    expect((await unary(client({}, trusted), "in")).message).toBe("in");
    expect(calls).toHaveLength(1);
  });

  test("a client that was about to come in when the server stopped is told so", async () => {
    await startTls();
    const tcp = connectTcp(port, "127.0.0.1");
    await once(tcp, "connect");
    // The server has taken the connection before this one.
    await unary(client({}, credentials.createSsl(ca)), "");
    await server.stop();
    const late = new RawClient(connectTls({ socket: tcp, servername: "localhost", ca, ALPNProtocols: ["h2"] }));
    opened.push(late);
    late.send(GREETING);
    expect(await late.goAway()).toMatchObject({ lastStream: MAX_STREAM_ID, code: ErrorCode.NO_ERROR });
    const { payload } = await late.next(FrameType.PING);
    late.send(frame(FrameType.PING, Flag.ACK, 0, payload));
    await late.closed();
  });

  test("a client that does not say that it speaks HTTP/2 is refused", async () => {
    await startTls();
    expect(await handshake({})).toEqual({ alpn: false, bytes: 0 });
    expect(await handshake({ ALPNProtocols: ["http/1.1"] })).toMatchObject({ bytes: 0 });
    const { alpn, bytes } = await handshake({ ALPNProtocols: ["http/1.1", "h2"] });
    expect([alpn, bytes > 0]).toEqual(["h2", true]);
  });
});
