/** gRPC server reflection (v1 and v1alpha), which follows what the gateway serves. */
import type { Server as GrpcJsServer } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import type { ServerCall } from "../../lib/grpc/server-call.ts";
import type { Server } from "../../lib/grpc/server.ts";
import { endOnDrain } from "./end-on-drain.ts";
import type { Contract } from "./grpc-contract.ts";
import { grpcJsMethods } from "./grpc-js-service.ts";

export class Reflection {
  readonly #server: Server;
  readonly #draining: AbortSignal;

  constructor(server: Server, draining: AbortSignal) {
    this.#server = server;
    this.#draining = draining;
    this.update([]);
  }

  /** Tells of these services from now on; a stream that is open keeps telling what it told. */
  update(contracts: Contract[]): void {
    const files = new Map(contracts.flatMap((contract) => [...contract.files]));
    // Of a package definition the reflection service reads the descriptors alone.
    const definition = { contracts: { fileDescriptorProtos: [...files.values()] } } as unknown;
    const services = contracts.map(({ service }) => service);
    const add: GrpcJsServer["addService"] = (added, handlers) => {
      for (const method of grpcJsMethods(added, handlers)) {
        this.#server.register({ ...method, handle: (call) => this.#serve(call, method.handle) });
      }
    };
    const options = { services };
    const reflection = new ReflectionService(definition as ConstructorParameters<typeof ReflectionService>[0], options);
    reflection.addToServer({ addService: add } as GrpcJsServer);
  }

  #serve(call: ServerCall, answer: (call: ServerCall) => void): void {
    answer(call);
    // It writes whether the client reads or not; what it has not read of requests stays bounded.
    call.on("data", () => call.needsDrain && call.pause());
    call.on("drain", () => call.resume());
    endOnDrain(call, this.#draining);
  }
}
