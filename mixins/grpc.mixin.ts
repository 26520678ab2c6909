/**
 * Binds a service to a gRPC service of a `.proto` file. It serves nothing itself: it says in `settings.grpc`, which
 * travels with the registry, all that a gateway on any node needs to serve it.
 */
import type { Service, ServiceSchema } from "moleculer";
import type protobuf from "protobufjs";
import { failedPrecondition } from "../lib/errors.ts";
import type { ProtoSource } from "../lib/protobuf/proto-source.ts";
import { loadProto, readProto } from "../lib/protobuf/proto-source.ts";

/** How the messages of a stream become calls, see docs/decisions/gateway.md. */
export type StreamMode = "pull" | "collect" | "each" | "batch" | "credit";

/** One RPC and the action that answers it. */
export interface MethodBinding {
  /** Name of the action within the service. */
  action: string;
  /** Server streams: pull; client streams: collect; bidirectional ones: each (the default), batch or credit. */
  stream?: StreamMode;
  /** With `each` and `batch`: how many requests of a stream may be unanswered; 32 and 256 by default. */
  inFlight?: number;
  /**
   * A field of the request. With `credit` it tells one waiting line from another; with `batch`, requests that have it in
   * common are not in two calls at once.
   */
  key?: string;
  /**
   * Unary RPCs: the action takes `{items}`, requests that have come in together with the same metadata, and answers
   * `{outcomes}`, one for each in their order.
   */
  together?: true;
  /** Action within the service that learns `{id, reason}` when a stream has ended. */
  close?: string;
  /** In place of the service's. */
  errors?: ErrorTemplate;
}

/**
 * The answer that stands for a refusal: `$http`, `$message`, `$type` and `$requestId` are filled in. A `$http` that stands
 * alone stays a number, `$httpText` is one as text (a uint64 in JSON). Over gRPC, `$request.ID` alone is that field of the
 * request.
 */
export type ErrorTemplate = Record<string, string>;

/** What became of one of several requests: its answer, or an error in the form that `viewError` reads. */
export interface Outcome {
  answer?: object;
  error?: unknown;
}

/**
 * Broadcast as `gateway.streamMessage` it writes a message on a stream of the mode `credit`, on whatever node that is, beside
 * the answers that the stream asked for. A stream that is over misses it.
 */
export interface StreamMessage {
  /** `ctx.meta.stream.id` of the calls of that stream. */
  stream: string;
  message: Record<string, unknown>;
}

/** What a service declares. */
export interface GrpcDeclaration {
  /** File under `proto/`, or an absolute path. */
  proto: string;
  /** Full name of the service in that file. */
  service: string;
  /** Where given, business refusals become this answer with status OK. */
  errors?: ErrorTemplate;
  /** By RPC; an RPC that is not named here goes to the action of its name, first letter in lower case. */
  methods?: Record<string, string | MethodBinding>;
}

/** What the registry tells a gateway: every RPC spelled out. */
export interface GrpcBinding {
  service: string;
  methods: Record<string, MethodBinding>;
  errors?: ErrorTemplate;
  files: ProtoSource;
}

/** A mixin for a service that answers the RPCs of a gRPC service with its actions. */
export function grpc(declaration: GrpcDeclaration): Partial<ServiceSchema> {
  const merged = function (this: Service, schema: ServiceSchema): void {
    const settings = (schema.settings ?? {}) as { grpc?: GrpcBinding[] };
    const bindings = [...(settings.grpc ?? []), bind(declaration, schema)];
    schema.settings = { ...settings, grpc: bindings } as ServiceSchema["settings"];
  };
  return { merged } as Partial<ServiceSchema>;
}

function bind(declaration: GrpcDeclaration, schema: ServiceSchema): GrpcBinding {
  const { proto, service, errors, methods: declared = {} } = declaration;
  const files = readProto(proto);
  const contract = lookupService(loadProto(files), service, proto);
  for (const name of Object.keys(declared)) {
    if (!contract.methods[name]) throw failedPrecondition(`${proto}: ${service} has no RPC ${name}`);
  }
  const methods: Record<string, MethodBinding> = {};
  for (const method of contract.methodsArray) {
    const binding = complete(method, declared[method.name]);
    check(binding, method, schema, `${proto}: ${service}.${method.name}`);
    methods[method.name] = binding;
  }
  // Of an object that is twice in the settings, the registry tells other nodes only once.
  return { service, methods, errors: structuredClone(errors), files };
}

function lookupService(root: protobuf.Root, name: string, proto: string): protobuf.Service {
  try {
    return root.lookupService(name);
  } catch {
    throw failedPrecondition(`${proto}: has no service ${name}`);
  }
}

function complete(method: protobuf.Method, declared: string | MethodBinding | undefined): MethodBinding {
  const binding = typeof declared === "object" ? declared : { action: declared ?? lowerFirst(method.name) };
  return { stream: defaultStream(method), ...binding };
}

function lowerFirst(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}

function defaultStream(method: protobuf.Method): StreamMode | undefined {
  if (method.requestStream) return method.responseStream ? "each" : "collect";
  return method.responseStream ? "pull" : undefined;
}

function check(binding: MethodBinding, method: protobuf.Method, schema: ServiceSchema, where: string): void {
  const { action, stream, key, close, together } = binding;
  for (const name of close === undefined ? [action] : [action, close]) {
    if (!schema.actions?.[name]) throw failedPrecondition(`${where}: ${schema.name} has no action ${name}`);
  }
  const bidirectional = stream === "credit" || stream === "batch";
  const fits = bidirectional ? method.requestStream && method.responseStream : stream === defaultStream(method);
  if (!fits) throw failedPrecondition(`${where}: stream mode ${stream} does not fit this RPC`);
  if (together && stream !== undefined) throw failedPrecondition(`${where}: only unary RPCs can be done together`);
  if (stream === "credit" && key === undefined) throw failedPrecondition(`${where}: stream mode credit needs key`);
  if (key !== undefined && !method.resolvedRequestType?.fields[key]) {
    throw failedPrecondition(`${where}: key ${key} is not a field of its request`);
  }
}
