/** gRPC server reflection (v1 and v1alpha), which follows what the gateway serves. */
import type { Server, ServerDuplexStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { endOnDrain } from "./end-on-drain.ts";
import type { Contract } from "./grpc-contract.ts";

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
  update(contracts: Contract[]): void {
    const files = new Map(contracts.flatMap((contract) => [...contract.files]));
    // Of a package definition the reflection service reads the descriptors alone.
    const definition = { contracts: { fileDescriptorProtos: [...files.values()] } } as unknown;
    const services = contracts.map(({ service }) => service);
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
