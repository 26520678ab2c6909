import { once } from "node:events";
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  OutgoingHttpHeaders,
  SecureClientSessionOptions,
} from "node:http2";
import { connect, constants } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { duplexPair } from "node:stream";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { headerBlock } from "../../../../lib/http2/header-block.ts";
import {
  DEFAULT_WINDOW,
  ErrorCode,
  Flag,
  FrameType,
  MAX_STREAM_ID,
  MAX_WINDOW,
  Setting,
} from "../../../../lib/http2/protocol.ts";
import { RECEIVE_WINDOW } from "../../../../lib/http2/stream.ts";
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
  windowUpdate,
} from "../../../http2-frames.ts";
import type { Serve } from "../../../http2-server.ts";
import { Http2Server, OK, TRAILERS, answer, echo } from "../../../http2-server.ts";
import { waitFor } from "../../../wait-for.ts";

const MIB = 1024 * 1024;
const EMPTY = Buffer.alloc(0);

let server: Http2Server;
/** What is closed after each test. */
let opened: { close(): unknown }[] = [];

async function start(...settings: Parameters<typeof Http2Server.start>): Promise<void> {
  await server.close();
  server = await Http2Server.start(...settings);
}

beforeEach(async () => {
  server = await Http2Server.start(echo);
});

afterEach(async () => {
  for (const each of opened) each.close();
  opened = [];
  await server.close();
  expect(server.faults).toEqual([]);
});

async function greet(): Promise<RawClient> {
  const client = await RawClient.greet(server.port);
  opened.push(client);
  return client;
}

/** Node's client, of which any error fails the test that waits for an answer. */
function openSession(options: SecureClientSessionOptions = {}): ClientHttp2Session {
  const session = connect(server.url, options);
  session.on("error", () => undefined);
  opened.push({ close: () => session.destroy() });
  return session;
}

interface Answered {
  status: number;
  headers: Record<string, unknown>;
  trailers: Record<string, unknown>;
  body: Buffer;
}

async function answered(request: ClientHttp2Stream): Promise<Answered> {
  const parts: Buffer[] = [];
  let head: Record<string, unknown> = {};
  let trailers: Record<string, unknown> = {};
  request.on("response", (fields) => (head = fields));
  request.on("trailers", (fields) => (trailers = fields));
  request.on("data", (chunk: Buffer) => parts.push(chunk));
  await once(request, "end");
  return { status: Number(head[":status"]), headers: head, trailers, body: Buffer.concat(parts) };
}

/** Sends a request and its body. */
async function ask(
  session: ClientHttp2Session,
  body: Buffer = EMPTY,
  fields: OutgoingHttpHeaders = {},
): Promise<Answered> {
  const request = session.request({ ":method": "POST", ...fields });
  request.end(body);
  return answered(request);
}

/** A connection of the server's without a network between: what is written comes in the same pieces, and in one turn. */
function pair(): { near: Duplex; far: Duplex } {
  const [near, far] = duplexPair();
  server.accept(Object.assign(far, { setNoDelay: () => far }) as unknown as Socket);
  opened.push({ close: () => near.destroy() });
  return { near, far };
}

/** Time goes on only where the test says so; turns of the loop go on. */
function fakeTimeouts(): void {
  jest.useFakeTimers({ doNotFake: ["setImmediate", "nextTick", "queueMicrotask", "performance"] });
}

/** Some bytes, others for each seed. */
function bytes(length: number, seed = 7): Buffer {
  const result = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at += 1) result[at] = (at * seed + (at >>> 8)) & 0xff;
  return result;
}

describe("with Node's client", () => {
  test("a request and its answer come through whole: head, body, trailers of both", async () => {
    await start((stream, request) => ({
      onEnd() {
        stream.respond(
          headerBlock([
            [":status", "201"],
            ["x-path", request!.path],
            ["x-empty", ""],
          ]),
        );
        stream.write(Buffer.from("the answer"));
        stream.end(headerBlock([["x-after", "é"]]));
      },
    }));
    const session = openSession();
    const request = session.request(
      { ":method": "PUT", ":path": "/a?b=c", "x-many": ["1", "2"], "x-latin": "é", cookie: "a=1", te: "trailers" },
      { waitForTrailers: true },
    );
    request.on("wantTrailers", () => request.sendTrailers({ "x-client": "done" }));
    request.end("the body");
    expect(await answered(request)).toMatchObject({
      status: 201,
      headers: { "x-path": "/a?b=c", "x-empty": "" },
      trailers: { "x-after": "é" },
      body: Buffer.from("the answer"),
    });
    expect(server.exchanges).toMatchObject([
      {
        request: { method: "PUT", path: "/a?b=c", headers: { "x-many": "1,2", "x-latin": "é", te: "trailers" } },
        ended: true,
        code: ErrorCode.NO_ERROR,
      },
    ]);
    expect(server.exchanges[0]!.body.toString()).toBe("the body");
  });

  test.each([1, 1_000, 65_535, 1_000_000])(
    "large bodies go both ways at once through a window of %i bytes",
    async (initialWindowSize) => {
      const session = openSession({ settings: { initialWindowSize } });
      // The smaller the window, the more turns a body takes.
      const body = bytes(initialWindowSize === 1 ? 1_000 : 5_000_000);
      const { status, body: back, trailers } = await ask(session, body);
      expect(status).toBe(200);
      expect(back.equals(body)).toBe(true);
      expect(trailers).toMatchObject({ "x-done": "yes" });
    },
  );

  test("an answer goes on while the client changes its window, to less than is on its way and back", async () => {
    const body = bytes(3_000_000);
    const session = openSession({ settings: { initialWindowSize: 100_000 } });
    const request = session.request({ ":method": "POST" });
    request.end(body);
    let received = 0;
    request.on("data", (chunk: Buffer) => (received += chunk.length));
    const whole = answered(request);
    for (const initialWindowSize of [10_000, 300_000, 0, 200_000, 1, 100_000]) {
      await promisify((callback: () => void) => session.settings({ initialWindowSize }, callback))();
      const enough = received + 2 * initialWindowSize;
      while (received < enough) await once(request, "data");
    }
    expect(received).toBeLessThan(body.length);
    const { body: back } = await whole;
    expect(back.equals(body)).toBe(true);
  });

  test("many requests at once are each answered with their own body", async () => {
    const session = openSession();
    const bodies = Array.from({ length: 500 }, (_, index) => bytes(10 + 20 * index, index));
    const answers = await Promise.all(bodies.map((body) => ask(session, body)));
    expect(answers.every(({ body }, index) => body.equals(bodies[index]!))).toBe(true);
  });

  test("a stream whose client does not read does not hold up the others", async () => {
    const session = openSession();
    const stuck = session.request({ ":method": "POST" });
    stuck.pause();
    stuck.end(bytes(MIB));
    await waitFor(() => server.exchanges[0]?.body.length === 256 * 1024 || undefined);
    expect((await ask(session, bytes(3 * MIB))).body).toHaveLength(3 * MIB);
    expect(server.exchanges[0]!.body.length).toBeLessThanOrEqual(512 * 1024);
    const late = answered(stuck);
    stuck.resume();
    expect((await late).body.equals(bytes(MIB))).toBe(true);
  });

  test("a list of header fields near the limit is read, and one beyond it told, as often as it comes", async () => {
    await start(answer);
    const session = openSession();
    for (let round = 0; round < 3; round += 1) {
      expect(await ask(session, EMPTY, { "x-large": "x".repeat(15_000) })).toMatchObject({ status: 200 });
      expect(await ask(session, EMPTY, { "x-large": "y".repeat(16_384) })).toMatchObject({ status: 431 });
      expect(await ask(session, EMPTY, { "x-large": "z".repeat(50_000) })).toMatchObject({ status: 431 });
    }
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`x-${index}`, String(index)]));
    expect(await ask(session, EMPTY, many)).toMatchObject({ status: 200 });
    expect(server.exchanges.at(-1)!.request!.headers).toMatchObject(many);
  });

  test("heads and trailers of answers that are larger than a frame come whole", async () => {
    const large = "x".repeat(40_000);
    await start((stream) => ({
      onEnd() {
        stream.respond(
          headerBlock([
            [":status", "200"],
            ["x-large", large],
          ]),
        );
        stream.end(headerBlock([["x-after", `${large}y`]]));
      },
    }));
    const session = openSession({ settings: { maxHeaderListSize: 100_000 } });
    const both = await Promise.all([ask(session), ask(session)]);
    for (const { headers: head, trailers } of both) {
      expect(head["x-large"]).toBe(large);
      expect(trailers["x-after"]).toBe(`${large}y`);
    }
  });

  test("a client that has no table for header fields, or changes its size, reads the answers", async () => {
    await start(answer);
    const session = openSession({ settings: { headerTableSize: 0 } });
    expect(await ask(session)).toMatchObject({ status: 200, trailers: { "x-done": "yes" } });
    for (const headerTableSize of [4_096, 100, 0, 65_536, 4_096]) {
      await promisify((callback: () => void) => session.settings({ headerTableSize }, callback))();
      expect(await ask(session)).toMatchObject({ status: 200, trailers: { "x-done": "yes" } });
    }
  });

  test("an answer that ends before the request does comes whole, and what the client still sends is no fault", async () => {
    const body = bytes(200_000);
    await start((stream) => {
      stream.respond(OK);
      stream.write(body);
      stream.end(TRAILERS);
      return {};
    });
    const session = openSession();
    const request = session.request({ ":method": "POST" });
    request.write(bytes(1_000));
    const first = await answered(request);
    expect(first.body.equals(body)).toBe(true);
    expect(first.trailers).toMatchObject({ "x-done": "yes" });
    expect(server.exchanges[0]!.code).toBe(ErrorCode.NO_ERROR);
    expect(await ask(session, bytes(100_000))).toMatchObject({ status: 200 });
  });

  test("a request that the client takes back is closed", async () => {
    await start((stream) => {
      stream.respond(OK);
      return {};
    });
    const session = openSession();
    const request = session.request({ ":method": "POST" });
    await once(request, "response");
    request.close(constants.NGHTTP2_CANCEL);
    await waitFor(() => server.exchanges[0]!.code);
    expect(server.exchanges[0]!.code).toBe(ErrorCode.CANCEL);
  });

  test("a reset of ours reaches the client", async () => {
    await start((stream) => ({ onEnd: () => stream.reset(ErrorCode.ENHANCE_YOUR_CALM) }));
    await expect(ask(openSession())).rejects.toThrow("NGHTTP2_ENHANCE_YOUR_CALM");
    expect(server.exchanges[0]!.code).toBe(ErrorCode.ENHANCE_YOUR_CALM);
  });

  test("a ping is answered with what was in it", async () => {
    const session = openSession();
    await once(session, "connect");
    const payload = Buffer.from("as it is");
    const back = await new Promise<Buffer>((resolve) =>
      session.ping(payload, (_error, _duration, echoed) => resolve(echoed)),
    );
    expect(back).toEqual(payload);
  });

  test("more requests than are taken at once are refused or wait, and all are answered in the end", async () => {
    await start(answer, { maxConcurrentStreams: 10 });
    const session = openSession();
    await once(session, "remoteSettings");
    expect(session.remoteSettings.maxConcurrentStreams).toBe(10);
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(session)));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
  });

  test("when the connection ends, all requests that were on their way are served, and then it closes", async () => {
    await start((stream, request) => {
      if (server.exchanges.length === 20) server.connections[0]!.end();
      return echo(stream, request);
    });
    const session = openSession();
    const goAways: number[] = [];
    session.on("goaway", (code, lastStream) => goAways.push(code, lastStream!));
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask(session, bytes(10_000))));
    expect(answers.every(({ status, body }) => status === 200 && body.length === 10_000)).toBe(true);
    await waitFor(() => session.destroyed && server.closed === 1);
    expect(goAways.slice(0, 2)).toEqual([ErrorCode.NO_ERROR, MAX_STREAM_ID]);
    expect(server.exchanges).toHaveLength(50);
  });

  test("when the connection ends at rest, it closes", async () => {
    const session = openSession();
    await ask(session);
    server.connections[0]!.end();
    server.connections[0]!.end();
    await waitFor(() => session.destroyed && server.closed === 1);
  });

  test("a client that goes away in the middle closes what is under way", async () => {
    const session = openSession();
    const requests = Array.from({ length: 5 }, () => session.request({ ":method": "POST" }));
    for (const request of requests) request.on("error", () => undefined);
    await waitFor(() => server.exchanges.length === 5);
    session.destroy();
    await waitFor(() => server.closed === 1);
    expect(server.exchanges.map(({ code }) => code)).toEqual(Array.from({ length: 5 }, () => ErrorCode.CANCEL));
  });
});

describe("the end of a connection", () => {
  const stalled: Serve = () => ({});

  test("serves what comes until the client says that it knows, and nothing after that", async () => {
    await start(stalled);
    const client = await greet();
    client.send(headers(1));
    await waitFor(() => server.exchanges.length === 1);
    server.connections[0]!.end();
    expect(await client.goAway()).toMatchObject({ lastStream: MAX_STREAM_ID, code: ErrorCode.NO_ERROR });
    const { payload } = await client.next(FrameType.PING);
    client.send(headers(3));
    await client.pong();
    client.send(frame(FrameType.PING, Flag.ACK, 0, payload));
    expect(await client.goAway()).toMatchObject({ lastStream: 3, code: ErrorCode.NO_ERROR });
    client.send(headers(5), data(5, "x"), windowUpdate(5, 1), reset(5, ErrorCode.CANCEL));
    await client.pong();
    expect(server.exchanges).toHaveLength(2);
    for (const { stream } of server.exchanges) {
      stream.respond(OK);
      stream.end(TRAILERS);
    }
    expect((await client.fields(1)).fields[":status"]).toBe("200");
    expect((await client.fields(3)).fields[":status"]).toBe("200");
    await client.closed();
  });

  test("takes no other answer to a ping for that sign", async () => {
    await start(stalled);
    const client = await greet();
    server.connections[0]!.end();
    await client.goAway();
    client.send(ping("another", Flag.ACK), headers(1));
    await client.pong();
    expect(server.exchanges).toHaveLength(1);
  });

  test("does not cut off an answer that a slow client still reads", async () => {
    await start(stalled);
    const client = await greet();
    client.send(settings({ [Setting.INITIAL_WINDOW_SIZE]: MAX_WINDOW }), windowUpdate(0, MAX_WINDOW - DEFAULT_WINDOW));
    client.send(headers(1, requestFields(), Flag.END_STREAM));
    await client.pong();
    server.connections[0]!.end();
    const { payload } = await client.next(FrameType.PING);
    client.send(frame(FrameType.PING, Flag.ACK, 0, payload));
    expect(await client.goAway()).toMatchObject({ lastStream: MAX_STREAM_ID });
    expect(await client.goAway()).toMatchObject({ lastStream: 1 });
    client.socket.pause();
    const body = bytes(16 * MIB);
    fakeTimeouts();
    try {
      const { stream } = server.exchanges[0]!;
      stream.respond(OK);
      stream.write(body);
      stream.end(TRAILERS);
      // All of it is with the socket now, and the system does not take that much.
      await new Promise(setImmediate);
      jest.advanceTimersByTime(10_000);
    } finally {
      jest.useRealTimers();
    }
    expect(server.sockets[0]!.writableLength).toBeGreaterThan(0);
    client.socket.resume();
    await client.fields(1);
    expect(await client.fields(1)).toMatchObject({ fields: { "x-done": "yes" }, end: true });
    const sent = client.frames.filter(({ type }) => type === FrameType.DATA).map(({ payload: part }) => part);
    expect(Buffer.concat(sent).equals(body)).toBe(true);
    await client.closed();
  });

  test("does not wait longer than a second for a client that has broken the rules and does not read that", async () => {
    const { near, far } = pair();
    near.write(Buffer.concat([GREETING, ...Array.from({ length: 10_000 }, () => ping("unread"))]));
    await waitFor(() => far.writableNeedDrain);
    fakeTimeouts();
    try {
      near.write(data(0));
      while (!far.writableEnded) await new Promise(setImmediate);
      expect(far.writableFinished).toBe(false);
      jest.advanceTimersByTime(999);
      expect(far.destroyed).toBe(false);
      jest.advanceTimersByTime(1);
      expect(far.destroyed).toBe(true);
    } finally {
      jest.useRealTimers();
    }
  });

  test("keeps nothing of what comes after a fault of the client's", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const used = (): number => {
      collect();
      return process.memoryUsage().arrayBuffers;
    };
    const { near, far } = pair();
    near.resume();
    near.write(Buffer.concat([GREETING, data(0)]));
    await waitFor(() => far.writableEnded);
    let before = used();
    // What earlier tests have left goes in its own time.
    await waitFor(() => before === (before = used()));
    const part = Buffer.alloc(65_536);
    for (let sent = 0; sent < 8 * MIB; sent += part.length) near.write(part);
    await waitFor(() => near.writableLength === 0 || near.destroyed);
    expect(used() - before).toBeLessThan(2 * MIB);
  });
});

describe("a connection that is silent", () => {
  function tick(times: number): void {
    for (let count = 0; count < times; count += 1) server.connections[0]!.tick();
  }

  test("is closed after two ticks where it has not said who it is", async () => {
    const client = await RawClient.connect(server.port);
    opened.push(client);
    await waitFor(() => server.connections.length === 1);
    tick(1);
    expect(server.sockets[0]!.destroyed).toBe(false);
    tick(1);
    expect(server.sockets[0]!.destroyed).toBe(true);
    await client.closed();
  });

  test("is closed after two ticks, too, where it says that a byte at a time", async () => {
    const client = await RawClient.connect(server.port);
    opened.push(client);
    await waitFor(() => server.connections.length === 1);
    for (const byte of [0, 1]) {
      client.send(GREETING.subarray(byte, byte + 1));
      await waitFor(() => server.sockets[0]!.bytesRead === byte + 1);
      tick(1);
    }
    expect(server.sockets[0]!.destroyed).toBe(true);
  });

  test("is asked after three ticks, and closed after five where it does not answer", async () => {
    await start(() => ({}));
    const client = await greet();
    client.send(headers(1));
    await client.pong();
    tick(1 + 3);
    await client.next(FrameType.PING);
    tick(1);
    expect(server.sockets[0]!.destroyed).toBe(false);
    tick(1);
    expect(server.sockets[0]!.destroyed).toBe(true);
    await client.closed();
    expect(server.exchanges[0]!.code).toBe(ErrorCode.CANCEL);
  });

  test("goes on where it answers", async () => {
    const session = openSession();
    await ask(session);
    for (let round = 0; round < 3; round += 1) {
      const before = server.sockets[0]!.bytesRead;
      tick(4);
      await waitFor(() => server.sockets[0]!.bytesRead > before);
    }
    expect(await ask(session)).toMatchObject({ status: 200 });
  });
});

describe("flow control", () => {
  const part = Buffer.alloc(16_384, 1);

  test("opens a stream's window while it is read, and not while it is paused", async () => {
    await start(() => ({}));
    const client = await greet();
    client.send(headers(1));
    await client.pong();
    const { stream } = server.exchanges[0]!;
    const half = RECEIVE_WINDOW / 2 / part.length;
    for (let count = 0; count < half; count += 1) client.send(data(1, part));
    expect((await client.next(FrameType.WINDOW_UPDATE, 1)).payload.readUInt32BE(0)).toBe(RECEIVE_WINDOW / 2);
    stream.pause();
    for (let count = 0; count < 2 * half; count += 1) client.send(data(1, part));
    await client.pong();
    const updates = () => client.frames.filter(({ type, stream: id }) => type === FrameType.WINDOW_UPDATE && id === 1);
    expect(updates()).toHaveLength(1);
    expect(server.exchanges[0]!.body).toHaveLength(1.5 * RECEIVE_WINDOW);
    stream.resume();
    expect((await client.next(FrameType.WINDOW_UPDATE, 1)).payload.readUInt32BE(0)).toBe(RECEIVE_WINDOW);
    stream.pause();
    for (let count = 1; count < half; count += 1) client.send(data(1, part));
    client.send(data(1, part, Flag.END_STREAM));
    await waitFor(() => server.exchanges[0]!.ended);
    // There is nothing more to ask for.
    stream.resume();
    await client.pong();
    expect(updates()).toHaveLength(2);
  });

  test("keeps the connection's window open for streams that are read, whatever others do", async () => {
    await start((stream, request) => {
      if (request!.path === "/paused") stream.pause();
      return answer(stream, request);
    });
    const client = await greet();
    for (let id = 1; id < 80; id += 2) {
      client.send(headers(id, requestFields([], "/paused")));
      for (let sent = 0; sent < RECEIVE_WINDOW; sent += part.length) client.send(data(id, part));
    }
    client.send(headers(81), data(81, part, Flag.END_STREAM));
    expect((await client.fields(81)).fields[":status"]).toBe("200");
    expect(server.exchanges).toHaveLength(41);
  });

  test("counts padding", async () => {
    await start((stream) => {
      stream.pause();
      return {};
    });
    const client = await greet();
    client.send(headers(1));
    const padded = frame(FrameType.DATA, Flag.PADDED, 1, Buffer.concat([Buffer.of(255), Buffer.alloc(255)]));
    for (let sent = 0; sent < RECEIVE_WINDOW; sent += 256) client.send(padded);
    await client.pong();
    expect(server.exchanges[0]).toMatchObject({ code: undefined });
    client.send(padded);
    expect(await client.resetCode(1)).toBe(ErrorCode.FLOW_CONTROL_ERROR);
  });

  test("sends as much as the client takes, by stream and in all, in frames that it takes", async () => {
    const body = bytes(200_000);
    await start((stream) => {
      stream.respond(OK);
      stream.write(body);
      stream.end(TRAILERS);
      return {};
    });
    const client = await greet();
    client.send(settings({ [Setting.INITIAL_WINDOW_SIZE]: 50_000 }));
    client.send(headers(1, requestFields(), Flag.END_STREAM), headers(3, requestFields(), Flag.END_STREAM));
    await client.pong();
    const received = (stream?: number): Buffer =>
      Buffer.concat(
        client.frames
          .filter(({ type, stream: id }) => type === FrameType.DATA && (stream === undefined || id === stream))
          .map(({ payload }) => payload),
      );
    expect(received()).toHaveLength(DEFAULT_WINDOW);
    expect(received(1)).toHaveLength(50_000);
    client.send(windowUpdate(0, 1_000_000));
    await client.pong();
    expect([received(1).length, received(3).length]).toEqual([50_000, 50_000]);
    // Less than what is on its way already: the window is negative now.
    client.send(settings({ [Setting.INITIAL_WINDOW_SIZE]: 10_000 }), windowUpdate(1, 40_000));
    await client.pong();
    expect(received(1)).toHaveLength(50_000);
    client.send(windowUpdate(1, 1));
    await client.pong();
    expect(received(1)).toHaveLength(50_001);
    client.send(settings({ [Setting.INITIAL_WINDOW_SIZE]: 300_000 }));
    for (const id of [1, 3, 1, 3]) await client.fields(id);
    expect([received(1).equals(body), received(3).equals(body)]).toEqual([true, true]);
    expect(Math.max(...client.frames.map(({ payload }) => payload.length))).toBeLessThanOrEqual(16_384);
  });

  test("asks whoever writes to hold on, and tells when it may go on", async () => {
    const drained: number[] = [];
    await start((stream) => {
      stream.respond(OK);
      return { onDrain: () => drained.push(stream.id) };
    });
    const client = await greet();
    client.send(headers(1));
    await client.pong();
    const { stream } = server.exchanges[0]!;
    const tenth = Buffer.alloc(6_554);
    const taken = Array.from({ length: 30 }, () => stream.write(tenth));
    // 65,535 go out, and 65,536 are kept.
    expect(taken.indexOf(false)).toBe(19);
    expect(stream.needsDrain).toBe(true);
    client.send(windowUpdate(0, 1_000_000), windowUpdate(1, 60_000));
    await client.pong();
    expect(drained).toEqual([]);
    client.send(windowUpdate(1, 1_000_000));
    await waitFor(() => drained.length);
    expect([drained, stream.needsDrain, stream.write(tenth)]).toEqual([[1], false, true]);
  });

  test("drops what waits where the stream is cut, and ends it at once", async () => {
    await start((stream) => {
      stream.respond(OK);
      stream.write(bytes(200_000));
      return {};
    });
    const client = await greet();
    client.send(headers(1));
    await client.pong();
    server.exchanges[0]!.stream.cut(TRAILERS);
    await client.fields(1);
    expect(await client.fields(1)).toMatchObject({ fields: { "x-done": "yes" }, end: true });
    expect(await client.resetCode(1)).toBe(ErrorCode.NO_ERROR);
    expect(server.exchanges[0]!.code).toBe(ErrorCode.NO_ERROR);
  });
});

describe("a client that does not read", () => {
  test("and floods pings is not read any more; others are served meanwhile", async () => {
    const client = await greet();
    await waitFor(() => server.sockets.length === 1);
    const [socket] = server.sockets;
    client.socket.pause();
    const flood = Buffer.concat(Array.from({ length: 5_000 }, () => ping("flood")));
    const more = (): void => {
      while (!client.socket.destroyed && client.socket.write(flood));
    };
    client.socket.on("drain", more);
    more();
    await waitFor(() => socket!.isPaused());
    const taken = socket!.bytesRead;
    expect(await ask(openSession())).toMatchObject({ status: 200 });
    expect(socket!.isPaused()).toBe(true);
    // What the system had read already may still come.
    expect(socket!.bytesRead - taken).toBeLessThanOrEqual(65_536);
    expect(socket!.writableLength).toBeLessThan(4 * MIB);
  });

  test.each<[string, number, (count: number) => Buffer]>([
    ["pings", 150_000, () => ping("flood")],
    ["settings", 270_000, () => settings({})],
    ["requests that are refused", 190_000, (count) => headers(2 * count + 1, [[":method", "GET"]])],
  ])("and has sent many %s is read again when it reads, and gets all of its answers", async (_, count, frameOf) => {
    const { near, far } = pair();
    near.write(GREETING);
    for (let sent = 0; sent < count;) near.write(Buffer.concat(Array.from({ length: 1_000 }, () => frameOf(sent++))));
    await waitFor(() => far.isPaused());
    expect(near.writableLength).toBeGreaterThan(0);
    const answers = new FrameReader();
    near.on("data", (chunk: Buffer) => answers.push(chunk));
    near.write(ping("the last"));
    await answers.next(({ payload }) => payload.toString() === "the last");
    // SETTINGS, their acknowledgement and WINDOW_UPDATE begin each connection.
    expect(answers.frames).toHaveLength(3 + count + 1);
  });

  test("holds up what is written to it, however large the windows are that it has opened", async () => {
    let drains = 0;
    await start((stream) => {
      stream.respond(OK);
      return { onDrain: () => (drains += 1) };
    });
    const { near, far } = pair();
    const all = MAX_WINDOW - DEFAULT_WINDOW;
    near.write(Buffer.concat([GREETING, windowUpdate(0, all), headers(1), windowUpdate(1, all)]));
    await waitFor(() => server.exchanges.length);
    const { stream } = server.exchanges[0]!;
    const part = bytes(50_000);
    let parts = 1;
    for (; stream.write(part) && parts < 1_000; parts += 1) await new Promise(setImmediate);
    expect(parts * part.length).toBeLessThan(MIB);
    expect(far.writableLength).toBeLessThan(MIB);
    expect(drains).toBe(0);
    const answers = new FrameReader();
    near.on("data", (chunk: Buffer) => answers.push(chunk));
    await waitFor(() => drains === 1);
    stream.end(TRAILERS);
    await answers.next(({ flags }) => flags === (Flag.END_STREAM | Flag.END_HEADERS));
    const sent = answers.frames.filter(({ type }) => type === FrameType.DATA).map(({ payload }) => payload);
    expect(Buffer.concat(sent).equals(Buffer.concat(Array.from({ length: parts }, () => part)))).toBe(true);
  });

  test("makes us keep little, even if each of its frames asks for much", async () => {
    const large = headerBlock([
      [":status", "200"],
      ["x-large", "x".repeat(500)],
    ]);
    await start((stream) => {
      stream.end(large);
      return {};
    });
    const { near, far } = pair();
    near.write(GREETING);
    // All of the fields are in the table that everybody has.
    const block = Buffer.of(0x83, 0x84, 0x86);
    const requests = Buffer.concat(
      Array.from({ length: 200_000 }, (_, index) =>
        frame(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 2 * index + 1, block),
      ),
    );
    for (let at = 0; at < requests.length; at += 65_536) near.write(requests.subarray(at, at + 65_536));
    await waitFor(() => far.writableLength);
    expect(far.isPaused()).toBe(true);
    // What one piece asks for, and what may wait before that.
    expect(far.writableLength).toBeLessThan(6 * MIB);
  });
});
