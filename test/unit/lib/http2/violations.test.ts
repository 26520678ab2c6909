import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { duplexPair } from "node:stream";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { headerBlock } from "../../../../lib/http2/header-block.ts";
import {
  DEFAULT_WINDOW,
  ErrorCode,
  Flag,
  FrameType,
  MAX_WINDOW,
  PREFACE,
  Setting,
} from "../../../../lib/http2/protocol.ts";
import { RECEIVE_WINDOW } from "../../../../lib/http2/stream.ts";
import type { Fields, Frame } from "../../../http2-frames.ts";
import {
  FrameReader,
  GREETING,
  RawClient,
  data,
  frame,
  headers,
  ping,
  requestFields,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "../../../http2-frames.ts";
import { Http2Server, answer } from "../../../http2-server.ts";
import { waitFor } from "../../../wait-for.ts";

const { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION } =
  FrameType;
const { END_STREAM, END_HEADERS, PADDED, ACK } = Flag;
const UNKNOWN = 0xfa;

const MAX_STREAMS = 50;

let server: Http2Server;
let clients: RawClient[] = [];

beforeAll(async () => {
  server = await Http2Server.start(
    (stream, request) => {
      if (request?.path === "/paused") stream.pause();
      return request?.path === "/stalled" || request?.path === "/paused" ? {} : answer(stream, request);
    },
    { maxConcurrentStreams: MAX_STREAMS },
  );
});

afterEach(() => {
  for (const client of clients) client.close();
  clients = [];
  expect(server.faults).toEqual([]);
});

afterAll(() => server.close());

async function connect(): Promise<RawClient> {
  const client = await RawClient.connect(server.port);
  clients.push(client);
  return client;
}

async function greet(): Promise<RawClient> {
  const client = await connect();
  client.send(GREETING);
  return client;
}

/** A request on a stream that a client may open, and that its answer comes. */
async function expectServed(client: RawClient, stream: number): Promise<void> {
  client.send(headers(stream, requestFields(), END_STREAM));
  expect((await client.fields(stream)).fields[":status"]).toBe("200");
}

/** A request whose answer never comes. */
const stalled = (stream: number, flags = 0): Buffer => headers(stream, requestFields([], "/stalled"), flags);

/** Headers that go on. */
const begun = (stream: number): Buffer => frame(HEADERS, 0, stream, headerBlock(requestFields()));

describe("a connection is ended", () => {
  const overflow = MAX_WINDOW - DEFAULT_WINDOW;

  test.each<[string, number, Buffer[]]>([
    ["DATA on stream 0", ErrorCode.PROTOCOL_ERROR, [data(0, "x")]],
    ["DATA on a stream that has not begun", ErrorCode.PROTOCOL_ERROR, [data(1, "x")]],
    ["HEADERS on stream 0", ErrorCode.PROTOCOL_ERROR, [headers(0)]],
    ["HEADERS on an even stream", ErrorCode.PROTOCOL_ERROR, [headers(2)]],
    ["RST_STREAM on stream 0", ErrorCode.PROTOCOL_ERROR, [reset(0, ErrorCode.CANCEL)]],
    ["RST_STREAM on a stream that has not begun", ErrorCode.PROTOCOL_ERROR, [reset(1, ErrorCode.CANCEL)]],
    ["WINDOW_UPDATE on a stream that has not begun", ErrorCode.PROTOCOL_ERROR, [windowUpdate(1, 1)]],
    ["WINDOW_UPDATE of nothing", ErrorCode.PROTOCOL_ERROR, [windowUpdate(0, 0)]],
    ["PRIORITY on stream 0", ErrorCode.PROTOCOL_ERROR, [frame(PRIORITY, 0, 0, Buffer.alloc(5))]],
    ["PUSH_PROMISE", ErrorCode.PROTOCOL_ERROR, [stalled(1), frame(PUSH_PROMISE, END_HEADERS, 1, uint32(2))]],
    ["SETTINGS on a stream", ErrorCode.PROTOCOL_ERROR, [frame(SETTINGS, 0, 1)]],
    ["PING on a stream", ErrorCode.PROTOCOL_ERROR, [frame(PING, 0, 1, Buffer.alloc(8))]],
    ["GOAWAY on a stream", ErrorCode.PROTOCOL_ERROR, [frame(GOAWAY, 0, 1, Buffer.alloc(8))]],
    ["HEADERS interrupted by PING", ErrorCode.PROTOCOL_ERROR, [begun(1), ping("x")]],
    ["HEADERS interrupted by DATA", ErrorCode.PROTOCOL_ERROR, [begun(1), data(1)]],
    ["HEADERS interrupted by others", ErrorCode.PROTOCOL_ERROR, [begun(1), headers(3)]],
    ["HEADERS interrupted by SETTINGS", ErrorCode.PROTOCOL_ERROR, [begun(1), settings({})]],
    ["HEADERS interrupted by an unknown frame", ErrorCode.PROTOCOL_ERROR, [begun(1), frame(UNKNOWN, 0, 1)]],
    ["HEADERS continued on another stream", ErrorCode.PROTOCOL_ERROR, [begun(1), frame(CONTINUATION, END_HEADERS, 3)]],
    ["CONTINUATION of nothing", ErrorCode.PROTOCOL_ERROR, [frame(CONTINUATION, END_HEADERS, 1)]],
    ["CONTINUATION after the end of the headers", ErrorCode.PROTOCOL_ERROR, [stalled(1), frame(CONTINUATION, 0, 1)]],
    ["padding as long as the frame", ErrorCode.PROTOCOL_ERROR, [stalled(1), frame(DATA, PADDED, 1, Buffer.of(2, 0))]],
    ["padding longer than HEADERS", ErrorCode.PROTOCOL_ERROR, [frame(HEADERS, END_HEADERS | PADDED, 1, Buffer.of(9))]],
    ["ENABLE_PUSH of 2", ErrorCode.PROTOCOL_ERROR, [settings({ [Setting.ENABLE_PUSH]: 2 })]],
    ["MAX_FRAME_SIZE of 16,383", ErrorCode.PROTOCOL_ERROR, [settings({ [Setting.MAX_FRAME_SIZE]: 16_383 })]],
    ["MAX_FRAME_SIZE of 2 ** 24", ErrorCode.PROTOCOL_ERROR, [settings({ [Setting.MAX_FRAME_SIZE]: 2 ** 24 })]],
    [
      "INITIAL_WINDOW_SIZE of 2 ** 31",
      ErrorCode.FLOW_CONTROL_ERROR,
      [settings({ [Setting.INITIAL_WINDOW_SIZE]: 2 ** 31 })],
    ],
    [
      "INITIAL_WINDOW_SIZE that is too much for an open stream",
      ErrorCode.FLOW_CONTROL_ERROR,
      [stalled(1), windowUpdate(1, overflow), settings({ [Setting.INITIAL_WINDOW_SIZE]: DEFAULT_WINDOW + 1 })],
    ],
    ["WINDOW_UPDATE to 2 ** 31", ErrorCode.FLOW_CONTROL_ERROR, [windowUpdate(0, overflow), windowUpdate(0, 1)]],
    ["a frame of 16,385 bytes", ErrorCode.FRAME_SIZE_ERROR, [stalled(1), data(1, Buffer.alloc(16_385))]],
    ["the head of a frame of 16 MB", ErrorCode.FRAME_SIZE_ERROR, [Buffer.from("ffffff000000000001", "hex")]],
    ["SETTINGS of 5 bytes", ErrorCode.FRAME_SIZE_ERROR, [frame(SETTINGS, 0, 0, Buffer.alloc(5))]],
    [
      "SETTINGS that are acknowledged with some",
      ErrorCode.FRAME_SIZE_ERROR,
      [frame(SETTINGS, ACK, 0, Buffer.alloc(6))],
    ],
    ["PING of 7 bytes", ErrorCode.FRAME_SIZE_ERROR, [frame(PING, 0, 0, Buffer.alloc(7))]],
    ["PING of 9 bytes", ErrorCode.FRAME_SIZE_ERROR, [frame(PING, 0, 0, Buffer.alloc(9))]],
    ["RST_STREAM of 3 bytes", ErrorCode.FRAME_SIZE_ERROR, [stalled(1), frame(RST_STREAM, 0, 1, Buffer.alloc(3))]],
    ["WINDOW_UPDATE of 3 bytes", ErrorCode.FRAME_SIZE_ERROR, [frame(WINDOW_UPDATE, 0, 0, Buffer.alloc(3))]],
    ["WINDOW_UPDATE of 5 bytes", ErrorCode.FRAME_SIZE_ERROR, [frame(WINDOW_UPDATE, 0, 0, Buffer.alloc(5))]],
    ["GOAWAY of 7 bytes", ErrorCode.FRAME_SIZE_ERROR, [frame(GOAWAY, 0, 0, Buffer.alloc(7))]],
    ["PRIORITY of 4 bytes", ErrorCode.FRAME_SIZE_ERROR, [frame(PRIORITY, 0, 1, Buffer.alloc(4))]],
    ["HEADERS without the priority that they announce", ErrorCode.FRAME_SIZE_ERROR, [frame(HEADERS, 0x24, 1)]],
    ["DATA without the padding that they announce", ErrorCode.FRAME_SIZE_ERROR, [stalled(1), frame(DATA, PADDED, 1)]],
    ["HEADERS with an index 0", ErrorCode.COMPRESSION_ERROR, [frame(HEADERS, END_HEADERS, 1, Buffer.of(0x80))]],
    [
      "HEADERS of a request taken back, with a field that no table has",
      ErrorCode.COMPRESSION_ERROR,
      [stalled(1), reset(1, ErrorCode.CANCEL), frame(HEADERS, END_HEADERS | END_STREAM, 1, Buffer.of(0xff, 0x00))],
    ],
    [
      "CONTINUATION without end",
      ErrorCode.ENHANCE_YOUR_CALM,
      [begun(1), ...Array.from({ length: 10 }, () => frame(CONTINUATION, 0, 1, Buffer.alloc(16_384)))],
    ],
    [
      "empty CONTINUATION without end",
      ErrorCode.ENHANCE_YOUR_CALM,
      [begun(1), ...Array.from({ length: 10_000 }, () => frame(CONTINUATION, 0, 1))],
    ],
  ])("over %s", async (_, code, frames) => {
    const client = await greet();
    const before = server.exchanges.length;
    client.send(...frames);
    expect(await client.goAway()).toMatchObject({ code });
    await client.closed();
    const codes = server.exchanges.slice(before).map((exchange) => exchange.code);
    expect(codes.every((each) => each === ErrorCode.CANCEL)).toBe(true);
    await expectServed(await greet(), 1);
  });

  test.each([
    ["HTTP/1.1", Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
    ["another last byte of the preface", Buffer.concat([PREFACE.subarray(0, -1), Buffer.from("\r")])],
    ["a first byte that is not the preface's", Buffer.from("X")],
    ["no SETTINGS first, but PING", Buffer.concat([PREFACE, ping("x")])],
    ["no SETTINGS first, but a request", Buffer.concat([PREFACE, headers(1)])],
    ["no SETTINGS first, but something unknown", Buffer.concat([PREFACE, frame(UNKNOWN, 0, 0)])],
  ])("over %s", async (_, greeting) => {
    const client = await connect();
    client.send(greeting);
    expect(await client.goAway()).toMatchObject({ lastStream: 0, code: ErrorCode.PROTOCOL_ERROR });
    await client.closed();
  });

  test("and says which was the last stream, and why", async () => {
    const client = await greet();
    client.send(stalled(7), data(0));
    expect(await client.goAway()).toEqual({
      lastStream: 7,
      code: ErrorCode.PROTOCOL_ERROR,
      text: "a frame that belongs to a stream names none",
    });
  });

  /** More than may come in a row, and what may come in the time that it takes. */
  const MANY = 20_000;

  test.each<[string, (stream: number) => Buffer[]]>([
    ["the client takes back", (stream) => [stalled(stream), reset(stream, ErrorCode.CANCEL)]],
    ["the client makes us break off", (stream) => [stalled(stream), windowUpdate(stream, 0)]],
    ["goes on after its end", (stream) => [stalled(stream, END_STREAM), data(stream)]],
  ])("over too many requests in a row that %s", async (_, framesOf) => {
    const client = await greet();
    client.send(...Array.from({ length: MANY }, (__, index) => framesOf(2 * index + 1)).flat());
    const { code, lastStream } = await client.goAway();
    expect(code).toBe(ErrorCode.ENHANCE_YOUR_CALM);
    expect(lastStream).toBeGreaterThan(2 * 10_000);
  });
});

describe("a request is broken off, and the connection goes on,", () => {
  const { PROTOCOL_ERROR, STREAM_CLOSED, FLOW_CONTROL_ERROR } = ErrorCode;
  const length = (text: string): Fields => requestFields([["content-length", text]]);
  const malformed = (...more: Fields): Buffer[] => [headers(1, requestFields(more), END_STREAM)];

  test.each<[string, number, Buffer[]]>([
    ["over DATA after its end", STREAM_CLOSED, [stalled(1, END_STREAM), data(1, "x")]],
    ["over trailers after its end", STREAM_CLOSED, [stalled(1, END_STREAM), headers(1, [["a", "b"]], END_STREAM)]],
    ["over trailers that do not end it", PROTOCOL_ERROR, [stalled(1), headers(1, [["a", "b"]])]],
    ["over trailers with a pseudo-header", PROTOCOL_ERROR, [stalled(1), headers(1, [[":path", "/"]], END_STREAM)]],
    ["over trailers of the connection", PROTOCOL_ERROR, [stalled(1), headers(1, [["upgrade", "x"]], END_STREAM)]],
    [
      "over trailers that are too large",
      PROTOCOL_ERROR,
      [stalled(1), headers(1, [["a", "x".repeat(16_360)]], END_STREAM)],
    ],
    ["over WINDOW_UPDATE of nothing", PROTOCOL_ERROR, [stalled(1), windowUpdate(1, 0)]],
    [
      "over WINDOW_UPDATE to 2 ** 31",
      FLOW_CONTROL_ERROR,
      [stalled(1), windowUpdate(1, MAX_WINDOW - DEFAULT_WINDOW + 1)],
    ],
    [
      "over more than its window",
      FLOW_CONTROL_ERROR,
      [
        headers(1, requestFields([], "/paused")),
        ...Array.from({ length: RECEIVE_WINDOW / 16_384 }, () => data(1, Buffer.alloc(16_384))),
        data(1, "x"),
      ],
    ],
    ["over less than its content-length", PROTOCOL_ERROR, [headers(1, length("5")), data(1, "four", END_STREAM)]],
    ["over more than its content-length", PROTOCOL_ERROR, [headers(1, length("5")), data(1, "longer", END_STREAM)]],
    ["over a content-length and no body", PROTOCOL_ERROR, [headers(1, length("5"), END_STREAM)]],
    ["over less at its trailers", PROTOCOL_ERROR, [headers(1, length("5")), headers(1, [["a", "b"]], END_STREAM)]],
    ["over a content-length in words", PROTOCOL_ERROR, [headers(1, length("five")), data(1, "fives", END_STREAM)]],
    ["over a content-length in hexadecimal", PROTOCOL_ERROR, [headers(1, length("0x5")), data(1, "fives", END_STREAM)]],
    ["over an empty content-length", PROTOCOL_ERROR, [headers(1, length(""), END_STREAM)]],
    [
      "over two content-lengths",
      PROTOCOL_ERROR,
      [headers(1, [...length("5"), ["content-length", "6"]]), data(1, "fives", END_STREAM)],
    ],
    ["over an upper-case name", PROTOCOL_ERROR, malformed(["X-Upper", "x"])],
    ["over an empty name", PROTOCOL_ERROR, malformed(["", "x"])],
    ["over a name with a space", PROTOCOL_ERROR, malformed(["a b", "x"])],
    ["over a name with a line break", PROTOCOL_ERROR, malformed(["a\r\nb", "x"])],
    ["over a name that is not ASCII", PROTOCOL_ERROR, malformed(["é", "x"])],
    ["over a name with a colon", PROTOCOL_ERROR, malformed(["a:b", "x"])],
    ["over a value with CR", PROTOCOL_ERROR, malformed(["a", "b\rc"])],
    ["over a value with LF", PROTOCOL_ERROR, malformed(["a", "b\nc"])],
    ["over a value with NUL", PROTOCOL_ERROR, malformed(["a", "b\0c"])],
    ["over a value that begins with a space", PROTOCOL_ERROR, malformed(["a", " b"])],
    ["over a value that ends with a tab", PROTOCOL_ERROR, malformed(["a", "b\t"])],
    ["over a path with a line break", PROTOCOL_ERROR, [headers(1, requestFields([], "/a\r\nb"))]],
    ["over a pseudo-header after a regular one", PROTOCOL_ERROR, malformed(["a", "b"], [":authority", "x"])],
    ["over a pseudo-header that comes twice", PROTOCOL_ERROR, malformed([":path", "/"])],
    ["over an unknown pseudo-header", PROTOCOL_ERROR, malformed([":protocol", "x"])],
    ["over a pseudo-header of answers", PROTOCOL_ERROR, malformed([":status", "200"])],
    [
      "over no :path",
      PROTOCOL_ERROR,
      [
        headers(
          1,
          requestFields().filter(([name]) => name !== ":path"),
        ),
      ],
    ],
    [
      "over no :method",
      PROTOCOL_ERROR,
      [
        headers(
          1,
          requestFields().filter(([name]) => name !== ":method"),
        ),
      ],
    ],
    [
      "over no :scheme",
      PROTOCOL_ERROR,
      [
        headers(
          1,
          requestFields().filter(([name]) => name !== ":scheme"),
        ),
      ],
    ],
    ["over an empty :path", PROTOCOL_ERROR, [headers(1, requestFields([], ""))]],
    ["over no fields at all", PROTOCOL_ERROR, [headers(1, [])]],
    ["over connection", PROTOCOL_ERROR, malformed(["connection", "close"])],
    ["over keep-alive", PROTOCOL_ERROR, malformed(["keep-alive", "timeout=5"])],
    ["over proxy-connection", PROTOCOL_ERROR, malformed(["proxy-connection", "close"])],
    ["over transfer-encoding", PROTOCOL_ERROR, malformed(["transfer-encoding", "chunked"])],
    ["over upgrade", PROTOCOL_ERROR, malformed(["upgrade", "h2c"])],
    ["over te other than trailers", PROTOCOL_ERROR, malformed(["te", "gzip"])],
  ])("%s", async (_, code, frames) => {
    const client = await greet();
    client.send(...frames);
    expect(await client.resetCode(1)).toBe(code);
    await client.pong();
    await expectServed(client, 3);
  });

  test("where more come than are taken at once, until one of them has ended", async () => {
    const client = await greet();
    for (let id = 1; id < 2 * MAX_STREAMS; id += 2) client.send(stalled(id));
    client.send(stalled(101, END_STREAM), stalled(103));
    expect(await client.resetCode(101)).toBe(ErrorCode.REFUSED_STREAM);
    expect(await client.resetCode(103)).toBe(ErrorCode.REFUSED_STREAM);
    client.send(reset(1, ErrorCode.CANCEL));
    await expectServed(client, 105);
  });

  test("and what is under way on it meanwhile is served", async () => {
    const client = await greet();
    client.send(headers(1), headers(3, requestFields([["X-Upper", "x"]])), data(1, "x", END_STREAM));
    expect(await client.resetCode(3)).toBe(PROTOCOL_ERROR);
    expect((await client.fields(1)).fields[":status"]).toBe("200");
  });

  test("and its fields are in the table afterwards", async () => {
    const client = await greet();
    const entry = Buffer.concat([Buffer.of(0x40), headerBlock([["x-kept", "yes"]]).subarray(1)]);
    const block = headerBlock(requestFields());
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, Buffer.concat([entry, headerBlock([["Upper", "x"]])])));
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, Buffer.concat([block, Buffer.of(0xbe)])));
    expect(await client.resetCode(1)).toBe(PROTOCOL_ERROR);
    expect((await client.fields(3)).fields[":status"]).toBe("200");
    expect(server.exchanges.at(-1)!.request!.headers).toEqual({ "x-kept": "yes" });
  });
});

describe("a connection and its requests go on", () => {
  test.each<[string, Buffer[]]>([
    ["unknown frames", [frame(UNKNOWN, 0xff, 0, Buffer.alloc(100)), frame(UNKNOWN, 0, 99)]],
    ["unknown flags", [frame(PING, 0xfe, 0, Buffer.alloc(8)), frame(WINDOW_UPDATE, 0xff, 0, uint32(1))]],
    [
      "unknown settings",
      [settings({ 0x99: 1, [Setting.MAX_HEADER_LIST_SIZE]: 0, [Setting.MAX_CONCURRENT_STREAMS]: 0 })],
    ],
    ["the reserved bits", [frame(WINDOW_UPDATE, 0, 2 ** 31, uint32(2 ** 31 + 1))]],
    ["PRIORITY", [frame(PRIORITY, 0, 7, Buffer.alloc(5))]],
    ["GOAWAY", [frame(GOAWAY, 0, 0, Buffer.alloc(20))]],
    ["answers to what we did not ask", [ping("nobody", ACK), frame(SETTINGS, ACK, 0)]],
    [
      "what comes on a stream that has ended",
      [
        stalled(1),
        reset(1, ErrorCode.CANCEL),
        data(1, "late"),
        windowUpdate(1, 1),
        windowUpdate(1, 0),
        reset(1, ErrorCode.CANCEL),
        headers(1, [["late", "trailers"]], END_STREAM),
      ],
    ],
  ])("whatever comes of %s", async (_, frames) => {
    const client = await greet();
    client.send(...frames);
    await client.pong();
    await expectServed(client, 3);
    expect(client.frames.filter(({ type }) => type === GOAWAY || type === RST_STREAM)).toEqual([]);
  });

  test("with padding, priorities, and headers in many pieces", async () => {
    const client = await greet();
    const fields = requestFields([
      ["te", "trailers"],
      ["cookie", "a=1"],
      ["cookie", "b=2"],
      ["x", "1"],
      ["x", "2"],
    ]);
    const block = headerBlock(fields);
    const padded = Buffer.concat([Buffer.of(3), Buffer.alloc(5), block.subarray(0, 10), Buffer.alloc(3)]);
    client.send(frame(HEADERS, PADDED | Flag.PRIORITY, 1, padded));
    for (let at = 10; at < block.length; at += 1) client.send(frame(CONTINUATION, 0, 1, block.subarray(at, at + 1)));
    client.send(frame(CONTINUATION, END_HEADERS, 1));
    client.send(frame(DATA, PADDED, 1, Buffer.from("\u0002body\0\0")));
    client.send(frame(DATA, PADDED | END_STREAM, 1, Buffer.of(0)));
    expect((await client.fields(1)).fields[":status"]).toBe("200");
    const { request, body } = server.exchanges.at(-1)!;
    expect(request).toEqual({
      method: "POST",
      path: "/",
      headers: { te: "trailers", cookie: "a=1; b=2", x: "1,2" },
    });
    expect(body.toString()).toBe("body");
  });

  test("with names that objects have of themselves", async () => {
    const client = await greet();
    const names = ["__proto__", "constructor", "toString", "hasOwnProperty"];
    client.send(headers(1, requestFields(names.flatMap((name): Fields => [[name.toLowerCase(), "x"]])), END_STREAM));
    expect((await client.fields(1)).fields[":status"]).toBe("200");
    const { headers: read } = server.exchanges.at(-1)!.request!;
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
    expect(read["constructor"]).toBe("x");
  });

  test("with a table for header fields that we do not use, and say so once where it shrinks", async () => {
    const client = await greet();
    await client.pong();
    const firstByte = async (stream: number): Promise<number> => {
      client.send(headers(stream, requestFields(), END_STREAM));
      const { payload } = await client.next(HEADERS, stream);
      await client.next(HEADERS, stream);
      return payload[0]!;
    };
    expect(await firstByte(1)).toBe(0x00);
    client.send(settings({ [Setting.HEADER_TABLE_SIZE]: 65_536 }));
    expect(await firstByte(3)).toBe(0x00);
    client.send(settings({ [Setting.HEADER_TABLE_SIZE]: 100 }), settings({ [Setting.HEADER_TABLE_SIZE]: 4_096 }));
    expect(await firstByte(5)).toBe(0x20);
    expect(await firstByte(7)).toBe(0x00);
  });

  test("each setting is acknowledged before what it lets us send", async () => {
    const client = await greet();
    await client.next(SETTINGS);
    await client.next(SETTINGS);
    client.send(settings({ [Setting.INITIAL_WINDOW_SIZE]: 0 }), stalled(1));
    await client.pong();
    server.exchanges.at(-1)!.stream.write(Buffer.alloc(10));
    client.send(settings({ [Setting.INITIAL_WINDOW_SIZE]: 100 }));
    await client.next(DATA, 1);
    expect(client.frames.slice(-2).map(({ type, flags }) => [type, flags])).toEqual([
      [SETTINGS, ACK],
      [DATA, 0],
    ]);
  });
});

/** What a client says in all, on streams 1 to 7, and last a PING. */
const CONVERSATION: Buffer[] = [
  GREETING,
  settings({ [Setting.INITIAL_WINDOW_SIZE]: 70_000, [Setting.HEADER_TABLE_SIZE]: 100 }),
  headers(1, requestFields([["content-length", "7"]])),
  frame(HEADERS, END_STREAM, 3, headerBlock(requestFields([], "/three")).subarray(0, 5)),
  frame(CONTINUATION, END_HEADERS, 3, headerBlock(requestFields([], "/three")).subarray(5)),
  data(1, "a "),
  frame(UNKNOWN, 0, 0, Buffer.from("whatever")),
  headers(5, requestFields([["x-large", "x".repeat(50)]])),
  data(1, "whole", END_STREAM),
  windowUpdate(0, 1_000),
  headers(5, [["x-trailer", "t"]], END_STREAM),
  stalled(7),
  reset(7, ErrorCode.CANCEL),
  frame(PING, 0, 0, Buffer.from("the last")),
];

describe("whatever the pieces are in which frames come", () => {
  /** What the server makes of these pieces, and what it answers. */
  async function run(pieces: Buffer[]): Promise<{ frames: Frame[]; exchanges: unknown[] }> {
    const before = server.exchanges.length;
    const [near, far]: Duplex[] = duplexPair();
    server.accept(Object.assign(far!, { setNoDelay: () => far }) as unknown as Socket);
    const reader = new FrameReader();
    near!.on("data", (chunk: Buffer) => reader.push(chunk));
    for (const piece of pieces) near!.write(piece);
    await reader.next(({ type, payload }) => type === PING && payload.toString() === "the last");
    near!.destroy();
    const exchanges = server.exchanges.slice(before).map(({ request, body, ended, code }) => {
      return { request, body: body.toString(), ended, code };
    });
    return { frames: reader.frames, exchanges };
  }

  const whole = Buffer.concat(CONVERSATION);

  test("they are the same: one for all, one a frame, or one a byte", async () => {
    const once = await run([whole]);
    expect(once.exchanges).toMatchObject([
      { request: { path: "/" }, body: "a whole", ended: true, code: ErrorCode.NO_ERROR },
      { request: { path: "/three" }, body: "", ended: true, code: ErrorCode.NO_ERROR },
      { request: { headers: { "x-large": "x".repeat(50) } }, body: "", ended: true, code: ErrorCode.NO_ERROR },
      { request: { path: "/stalled" }, body: "", ended: false, code: ErrorCode.CANCEL },
    ]);
    expect(await run(CONVERSATION)).toEqual(once);
    expect(await run(Array.from(whole, (byte) => Buffer.of(byte)))).toEqual(once);
  });

  test("they are the same, split in two at any byte", async () => {
    const once = await run([whole]);
    for (let at = 1; at < whole.length; at += 1) {
      const split = await run([whole.subarray(0, at), whole.subarray(at)]);
      if (JSON.stringify(split) !== JSON.stringify(once)) expect({ at, ...split }).toEqual({ at, ...once });
    }
  });
});

describe("nothing that comes ends the process or holds up others", () => {
  /** Sends it all and hangs up; resolves when the server has, too. */
  async function survive(bytes: Buffer): Promise<void> {
    const before = server.closed;
    const client = await connect();
    client.socket.end(bytes);
    await client.closed();
    await waitFor(() => server.closed > before);
    expect(server.faults).toEqual([]);
  }

  const whole = Buffer.concat(CONVERSATION);
  const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  const type = fc.oneof(
    { weight: 10, arbitrary: fc.integer({ min: 0, max: 9 }) },
    { weight: 1, arbitrary: fc.nat(255) },
  );
  const anyFrame = fc
    .tuple(type, fc.nat(255), fc.nat(9), fc.uint8Array({ maxLength: 40 }))
    .map(([kind, flags, stream, payload]) => frame(kind, flags, stream, Buffer.from(payload)));
  const anyBlock = fc
    .tuple(fc.nat(9), fc.uint8Array({ maxLength: 60 }))
    .map(([stream, block]) => frame(HEADERS, END_HEADERS, 2 * stream + 1, Buffer.from(block)));
  const mutation = fc.record({ at: fc.nat(whole.length - 1), drop: fc.nat(5), add: fc.uint8Array({ maxLength: 5 }) });
  const mutated = fc
    .array(mutation, { minLength: 1, maxLength: 4 })
    .map((mutations) =>
      mutations.reduce(
        (bytes, { at, drop, add }) => Buffer.concat([bytes.subarray(0, at), add, bytes.subarray(at + drop)]),
        whole,
      ),
    );
  const shuffled = fc.shuffledSubarray(CONVERSATION.slice(1)).map((frames) => Buffer.concat([GREETING, ...frames]));

  test.each<[string, fc.Arbitrary<Buffer>]>([
    ["random bytes", noise],
    ["random bytes after the greeting", noise.map((bytes) => Buffer.concat([GREETING, bytes]))],
    ["random frames", fc.array(anyFrame, { maxLength: 30 }).map((frames) => Buffer.concat([GREETING, ...frames]))],
    [
      "random header blocks",
      fc.array(anyBlock, { maxLength: 3 }).map((frames) => Buffer.concat([GREETING, ...frames])),
    ],
    ["a conversation with errors", mutated],
    ["a conversation in disorder", shuffled],
  ])("%s", async (_, arbitrary) => {
    const bystander = await greet();
    await bystander.pong();
    let stream = 1;
    await fc.assert(
      fc.asyncProperty(arbitrary, async (bytes) => {
        await survive(bytes);
        await expectServed(bystander, (stream += 2));
      }),
      { numRuns: 60 },
    );
  });
});
