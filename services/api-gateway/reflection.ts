/** gRPC server reflection (v1 and v1alpha), which follows what the gateway serves. */
import type { Server, ServerDuplexStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { fileDescriptors } from "../../lib/protobuf/file-descriptors.ts";
import { loadProto } from "../../lib/protobuf/proto-source.ts";
import type { GrpcBinding } from "../../mixins/grpc.mixin.ts";
import { endOnDrain } from "./end-on-drain.ts";

type ReflectionCall = ServerDuplexStream<object, object>;
type Definition = Parameters<Server["addService"]>[0];

export class Reflection {
  readonly #server: Server;
  readonly #draining: AbortSignal;
  readonly #registered: Definition[] = [];

  constructor(server: Server, draining: AbortSignal) {
    this.#server = server;
    this.#draining = draining;
    this.update([]);
  }

  /** Tells of these services from now on; a stream that is open keeps telling what it told. */
  update(bindings: GrpcBinding[]): void {
    const files = new Map<string, Buffer>();
    for (const binding of bindings) {
      for (const [name, bytes] of fileDescriptors(loadProto(binding.files))) files.set(name, bytes);
    }
    // Of a package definition the reflection service reads the descriptors alone.
    const definition = { contracts: { fileDescriptorProtos: [...files.values()] } } as unknown;
    const services = bindings.map((binding) => binding.service);
    for (const registered of this.#registered.splice(0)) this.#server.removeService(registered);
    new ReflectionService(definition as ConstructorParameters<typeof ReflectionService>[0], { services }).addToServer({
      addService: (added, handlers) => this.#add(added, handlers),
    });
  }

  #add(definition: Definition, handlers: UntypedServiceImplementation): void {
    const answer = handlers["ServerReflectionInfo"] as (call: ReflectionCall) => void;
    this.#registered.push(definition);
    this.#server.addService(definition, {
      ServerReflectionInfo: (call: ReflectionCall) => {
        answer(call);
        // It writes whether the client reads or not; what it has not read of requests stays bounded.
        call.on("data", () => call.writableNeedDrain && call.pause());
        call.on("drain", () => call.resume());
        endOnDrain(call, this.#draining);
      },
    });
  }
}
