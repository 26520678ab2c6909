/** A client of operations over both wires, whose answers it makes comparable. */
import { expect } from "@jest/globals";
import type { ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { CallSettings, Message } from "./grpc-client.ts";
import { protoTypes, TestClient } from "./grpc-client.ts";

type Typed = { "@type": string } & Record<string, unknown>;

/** As REST tells it. */
export interface Operation {
  name: string;
  done: boolean;
  metadata: Typed;
  error?: { code: number; message: string; details: Typed[] };
  response?: Typed;
}

export interface Page {
  operations: Operation[];
  nextPageToken: string;
}

/** What an error says, in whatever form. */
export interface Refusal {
  code: status;
  message: string;
  info: { reason: string; domain: string; metadata: Record<string, string> };
  /** Which field is wrong. */
  field?: string;
}

/** Fields as in the proto. */
export interface Request {
  name?: string;
  filter?: string;
  page_size?: number | string;
  page_token?: string;
  /** In seconds. */
  timeout?: number;
}

export type Method = "GetOperation" | "ListOperations" | "CancelOperation" | "DeleteOperation" | "WaitOperation";

/** One of both. */
export interface Outcome {
  answer?: unknown;
  refusal?: Refusal;
}

interface Any {
  type_url: string;
  value: Buffer;
}

const types = protoTypes(
  "google/longrunning/operations.proto",
  "google/rpc/error_details.proto",
  "longshore/v1/operations.proto",
  "longshore/v1/export.proto",
);
const PREFIX = "type.googleapis.com/";
const ERROR_INFO = `${PREFIX}google.rpc.ErrorInfo`;
const BAD_REQUEST = `${PREFIX}google.rpc.BadRequest`;

export class OperationsClient {
  readonly #http: string;
  readonly #google: TestClient;
  readonly #longshore: TestClient;

  constructor(http: string, grpc: string) {
    this.#http = http;
    this.#google = new TestClient("google/longrunning/operations.proto", "google.longrunning.Operations", grpc);
    this.#longshore = new TestClient("longshore/v1/operations.proto", "longshore.v1.Operations", grpc);
  }

  close(): void {
    this.#google.close();
    this.#longshore.close();
  }

  /** The operation, which both wires tell alike. */
  async get(name: string): Promise<Operation> {
    return (await this.both("GetOperation", { name })) as Operation;
  }

  async list(request: Request): Promise<Page> {
    return (await this.both("ListOperations", request)) as Page;
  }

  /** The answer of both wires. */
  async both(method: Method, request: Request): Promise<unknown> {
    const outcome = await this.outcome(method, request);
    if (outcome.refusal) throw new Error(`${method}: ${outcome.refusal.message}`);
    return outcome.answer;
  }

  /** The error of both wires. */
  async refusal(method: Method, request: Request): Promise<Refusal> {
    const outcome = await this.outcome(method, request);
    if (!outcome.refusal) throw new Error(`${method}: it was not refused`);
    return outcome.refusal;
  }

  async outcome(method: Method, request: Request): Promise<Outcome> {
    const [overRest, overGrpc] = await Promise.all([this.rest(method, request), this.grpc(method, request)]);
    expect(overGrpc).toEqual(overRest);
    return overRest;
  }

  async rest(method: Method, request: Request, init: RequestInit = {}): Promise<Outcome> {
    const response = await fetch(this.#http + pathOf(method, request), { ...restCall(method, request), ...init });
    const body = (await response.json()) as Message;
    if (response.status === 200) return { answer: checked(body) };
    const { code, message, status: name, details } = body["error"] as Message;
    expect(code).toBe(response.status);
    return { refusal: refusalOf(status[name as keyof typeof status], String(message), details as Typed[]) };
  }

  async grpc(method: Method, { timeout, ...request }: Request, settings: CallSettings = {}): Promise<Outcome> {
    const duration = timeout !== undefined && { timeout: durationOf(timeout) };
    try {
      const { message } = await this.#google.unary(method, { ...request, ...duration }, settings);
      return { answer: checked(fromGrpc(message)) };
    } catch (error) {
      return { refusal: readError(error as ServiceError) };
    }
  }

  /** The operation as often as a watch tells it. */
  async *watchGrpc(name: string, signal?: AbortSignal): AsyncGenerator<Operation> {
    const stream = this.#longshore.serverStream("WatchOperation", { name });
    signal?.addEventListener("abort", () => stream.cancel());
    for await (const message of stream) yield checked(fromGrpc(message as Message)) as unknown as Operation;
  }

  /** The same, with the IDs of the events. */
  async *watchRest(name: string, init: RequestInit = {}): AsyncGenerator<{ id: string; operation: Operation }> {
    const response = await fetch(`${this.#http}/v1/${name}:watch`, init);
    // There is nothing that it has not had.
    if (response.status === 204) return;
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
    let text = "";
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const events = text.split("\n\n");
      text = events.pop()!;
      for (const event of events) {
        const [, id = "", data = ""] = /^id: (.*)\ndata: (.*)$/.exec(event) ?? [];
        if (!event.startsWith(":"))
          yield { id, operation: checked(JSON.parse(data) as Message) as unknown as Operation };
      }
    }
  }
}

function pathOf(method: Method, { name, filter, page_size, page_token }: Request): string {
  if (method === "CancelOperation") return `/v1/${name}:cancel`;
  if (method === "WaitOperation") return `/v1/${name}:wait`;
  if (method !== "ListOperations") return `/v1/${name}`;
  const query = Object.entries({ filter, pageSize: page_size, pageToken: page_token });
  const given = query.flatMap(([key, value]) => (value === undefined ? [] : `${key}=${encodeURIComponent(value)}`));
  return `/v1/operations?${given.join("&")}`;
}

function restCall(method: Method, { timeout }: Request): RequestInit {
  if (method === "DeleteOperation") return { method: "DELETE" };
  if (method !== "CancelOperation" && method !== "WaitOperation") return {};
  const body = timeout === undefined ? {} : { timeout: `${timeout}s` };
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

function durationOf(seconds: number): object {
  return { seconds: Math.floor(seconds), nanos: Math.round((seconds % 1) * 1e9) };
}

/** The answer, whose operations have exactly one of error and response where they are done, else none. */
function checked(answer: Message): Message {
  for (const { done, error, response } of [answer["operations"] ?? answer].flat() as Message[]) {
    if (done !== undefined) expect([error, response].filter(Boolean)).toHaveLength(done ? 1 : 0);
  }
  return answer;
}

/** A message as REST has it. */
function fromGrpc({ operations, next_page_token, ...message }: Message): Message {
  if (operations) return { operations: (operations as Message[]).map(fromGrpc), nextPageToken: next_page_token };
  if (message["name"] === undefined) return message;
  const { name, done, metadata, error, response } = message as {
    metadata: Any;
    error?: { code: number; message: string; details: Any[] };
    response?: Any;
  } & Message;
  return {
    name,
    metadata: unpack(metadata),
    done,
    ...(error && { error: { ...error, details: error.details.map(unpack) } }),
    ...(response && { response: unpack(response) }),
  };
}

function unpack({ type_url, value }: Any): Typed {
  const type = types.lookupType(type_url.replace(PREFIX, ""));
  const fields = Object.entries(type.toObject(type.decode(value), { longs: String, defaults: true }));
  const given = fields.filter(([, field]) => field !== null);
  return { "@type": type_url, ...Object.fromEntries(given.map(([name, field]) => [name, timeOr(field)])) };
}

function timeOr(field: unknown): unknown {
  const { seconds, nanos } = field as { seconds?: string; nanos?: number };
  if (seconds === undefined || nanos === undefined) return field;
  return inJson(new Date(Number(seconds) * 1_000 + nanos / 1e6).toISOString());
}

/** A time as protobuf JSON has it. */
export function inJson(time: string): string {
  return time.replace(".000Z", "Z");
}

/** An error of the server's; throws again what is not. */
function readError(error: ServiceError): Refusal {
  const [bytes] = error.metadata.get("grpc-status-details-bin") as (Buffer | undefined)[];
  if (!bytes) throw error;
  const { details } = types.lookupType("google.rpc.Status").decode(bytes) as unknown as { details: Any[] };
  return refusalOf(error.code, error.details, details.map(unpack));
}

function refusalOf(code: status, message: string, details: Typed[]): Refusal {
  const [info, ...more] = details.filter((detail) => detail["@type"] === ERROR_INFO);
  expect(more).toEqual([]);
  const { reason, domain, metadata } = info as unknown as Refusal["info"];
  const request = details.find((detail) => detail["@type"] === BAD_REQUEST) as
    { fieldViolations: { field: string }[] } | undefined;
  const field = request && { field: request.fieldViolations.map((violation) => violation.field).join() };
  return { code, message, info: { reason, domain, metadata }, ...field };
}
