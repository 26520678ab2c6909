/** gRPC server reflection (v1 and v1alpha), which follows what the gateway serves. */
import type { Server as GrpcJsServer } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import type { ServerCall } from "../../lib/grpc/server-call.ts";
import type { Server } from "../../lib/grpc/server.ts";
import { endOnDrain } from "./end-on-drain.ts";
import type { Contract } from "./grpc-contract.ts";
import { grpcJsMethods } from "./grpc-js-service.ts";

type ReflectionMethod = ReturnType<typeof grpcJsMethods>[number];
type Answer = ReflectionMethod["handle"];

export class Reflection {
  readonly #draining: AbortSignal;
  #contracts: Contract[] = [];
  /** By the paths of its RPCs; made when somebody asks, for most nodes are never asked. */
  #answers: Map<string, Answer> | undefined;

  constructor(server: Server, draining: AbortSignal) {
    this.#draining = draining;
    for (const method of methodsFor([])) {
      server.register({ ...method, handle: (call) => this.#serve(call, this.#answerOf(method.path)) });
    }
  }

  /** Tells of these services from now on; a stream that is open keeps telling what it told. */
  update(contracts: Contract[]): void {
    this.#contracts = contracts;
    this.#answers = undefined;
  }

  #answerOf(path: string): Answer {
    this.#answers ??= new Map(methodsFor(this.#contracts).map((method) => [method.path, method.handle]));
    return this.#answers.get(path)!;
  }

  #serve(call: ServerCall, answer: Answer): void {
    answer(call);
    // It writes whether the client reads or not; what it has not read of requests stays bounded.
    call.on("data", () => call.needsDrain && call.pause());
    call.on("drain", () => call.resume());
    endOnDrain(call, this.#draining);
  }
}

function methodsFor(contracts: Contract[]): ReflectionMethod[] {
  const files = new Map(contracts.flatMap((contract) => [...contract.files]));
  // Of a package definition the reflection service reads the descriptors alone.
  const definition = { contracts: { fileDescriptorProtos: [...files.values()] } } as unknown;
  const services = contracts.map(({ service }) => service);
  const reflection = new ReflectionService(definition as ConstructorParameters<typeof ReflectionService>[0], {
    services,
  });
  const methods: ReflectionMethod[] = [];
  const addService: GrpcJsServer["addService"] = (added, handlers) => methods.push(...grpcJsMethods(added, handlers));
  reflection.addToServer({ addService } as GrpcJsServer);
  return methods;
}
