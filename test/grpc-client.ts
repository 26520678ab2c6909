/** gRPC clients for the tests, made from `.proto` files alone, as a stranger's would be. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type {
  ClientDuplexStream,
  ClientOptions,
  ClientReadableStream,
  ClientWritableStream,
  ServiceDefinition,
} from "@grpc/grpc-js";
import { Client, Metadata, credentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

export type Message = Record<string, unknown>;

export interface Answer {
  message: Message;
  headers: Record<string, unknown>;
  trailers: Record<string, unknown>;
}

export interface CallSettings {
  metadata?: Record<string, string>;
  /** Milliseconds from now. */
  timeout?: number;
  signal?: AbortSignal;
}

/** Where imports start from: our own contracts, and Google's. */
export const PROTO_DIRECTORIES = [
  join(import.meta.dirname, "..", "proto"),
  dirname(createRequire(import.meta.url).resolve("google-proto-files/package.json")),
] as const;

/** The types of contracts in these directories; fields have the names of JSON. */
export function protoTypes(...files: string[]): protobuf.Root {
  const root = new protobuf.Root();
  root.resolvePath = (_, target) =>
    PROTO_DIRECTORIES.map((directory) => join(directory, target)).find((path) => existsSync(path)) ?? null;
  return root.loadSync(files);
}

/** A directory with `.proto` files; `remove` takes it away. */
export function protoDirectory(files: Record<string, string>): { path(name: string): string; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), "longshore-proto-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return { path: (name) => join(directory, name), remove: () => rmSync(directory, { recursive: true }) };
}

/** A client of one service; messages have the proto's names, 64-bit integers as text. */
export class TestClient {
  readonly #client: Client;
  readonly #service: ServiceDefinition;

  constructor(proto: string, service: string, address: string, options: ClientOptions = {}) {
    const contract = loadSync(proto, {
      keepCase: true,
      longs: String,
      enums: String,
      defaults: true,
      oneofs: true,
      includeDirs: [...PROTO_DIRECTORIES],
    });
    this.#service = contract[service] as unknown as ServiceDefinition;
    this.#client = new Client(address, credentials.createInsecure(), options);
  }

  /** Resolves with the answer, rejects with the ServiceError. */
  unary(name: string, request: Message, settings: CallSettings = {}): Promise<Answer> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    return new Promise((resolve, reject) => {
      const answer: Partial<Answer> = {};
      const call = this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadataOf(settings),
        optionsOf(settings),
        (error, message) => {
          if (error) reject(error);
          else answer.message = message as Message;
        },
      );
      call.on("metadata", (metadata: Metadata) => (answer.headers = metadata.getMap()));
      call.on("status", ({ metadata }: { metadata: Metadata }) => {
        answer.trailers = metadata.getMap();
        if (answer.message) resolve(answer as Answer);
      });
      settings.signal?.addEventListener("abort", () => call.cancel());
    });
  }

  serverStream(name: string, request: Message, settings: CallSettings = {}): ClientReadableStream<Message> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    return this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadataOf(settings),
      optionsOf(settings),
    );
  }

  /** Sends all and resolves with the one answer. */
  clientStream(name: string, requests: Iterable<Message>): Promise<Message> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    return new Promise((resolve, reject) => {
      const call = this.#client.makeClientStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        (error, message) => {
          if (error) reject(error);
          else resolve(message as Message);
        },
      );
      for (const request of requests) call.write(request);
      call.end();
    });
  }

  /** A client stream whose answer nobody waits for. */
  openClientStream(name: string): ClientWritableStream<Message> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    return this.#client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, () => undefined);
  }

  bidi(name: string, settings: CallSettings = {}): ClientDuplexStream<Message, Message> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    return this.#client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadataOf(settings),
      optionsOf(settings),
    );
  }

  close(): void {
    this.#client.close();
  }

  #method(name: string): ServiceDefinition[string] {
    const method = this.#service[name];
    if (!method) throw new Error(`the contract has no RPC ${name}`);
    return method;
  }
}

function metadataOf({ metadata = {} }: CallSettings): Metadata {
  const result = new Metadata();
  for (const [name, value] of Object.entries(metadata)) result.set(name, value);
  return result;
}

function optionsOf({ timeout }: CallSettings): { deadline?: number } {
  return timeout === undefined ? {} : { deadline: Date.now() + timeout };
}
