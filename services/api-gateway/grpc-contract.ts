/** From a service's declaration to what the gRPC server needs of each RPC: its path, its codec and its action. */
import type { MethodDefinition } from "@grpc/grpc-js";
import type protobuf from "protobufjs";
import { fileDescriptors } from "../../lib/protobuf/file-descriptors.ts";
import { loadProto } from "../../lib/protobuf/proto-source.ts";
import type { ErrorTemplate, GrpcBinding, MethodBinding } from "../../mixins/grpc.mixin.ts";
import { unmarker } from "./optional-marks.ts";

/** A message as actions see it: names as in the proto, 64-bit integers as text, enums by name, bytes as Buffer. */
export type Message = Record<string, unknown>;

/** One RPC, served by one action. */
export interface ServedMethod {
  definition: MethodDefinition<Message, Message>;
  /** Full name of the action. */
  action: string;
  /** Full name of the action that learns of a stream's end. */
  close?: string;
  binding: MethodBinding;
  errors?: ErrorTemplate;
}

const TO_OBJECT: protobuf.IConversionOptions = { longs: String, enums: String, defaults: true, oneofs: true };

/** A binding ready to be served and told of by reflection. */
export interface Contract {
  service: string;
  methods: ServedMethod[];
  /** Serialized FileDescriptorProtos by file. */
  files: Map<string, Buffer>;
}

/** Reads a binding; `owner` is the Moleculer service that declared it. */
export function readContract(binding: GrpcBinding, owner: string): Contract {
  const root = loadProto(binding.files);
  const methods = root.lookupService(binding.service).methodsArray.flatMap((method) => {
    const bound = binding.methods[method.name];
    if (!bound) return [];
    return {
      definition: define(method, binding.service),
      action: `${owner}.${bound.action}`,
      close: bound.close && `${owner}.${bound.close}`,
      binding: bound,
      errors: bound.errors ?? binding.errors,
    };
  });
  return { service: binding.service, methods, files: fileDescriptors(root) };
}

function define(method: protobuf.Method, service: string): MethodDefinition<Message, Message> {
  const request = codec(method.resolvedRequestType!);
  const response = codec(method.resolvedResponseType!);
  return {
    path: `/${service}/${method.name}`,
    requestStream: method.requestStream ?? false,
    responseStream: method.responseStream ?? false,
    requestSerialize: request.serialize,
    requestDeserialize: request.deserialize,
    responseSerialize: response.serialize,
    responseDeserialize: response.deserialize,
  };
}

function codec(type: protobuf.Type) {
  const unmark = unmarker(type);
  return {
    serialize: (message: Message) => type.encode(type.fromObject(message)).finish() as Buffer,
    deserialize: (bytes: Buffer): Message => {
      const message: Message = type.toObject(type.decode(bytes), TO_OBJECT);
      unmark?.(message);
      return message;
    },
  };
}
