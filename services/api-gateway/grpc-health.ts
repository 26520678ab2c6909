/** grpc.health.v1.Health: of the node as a whole under the empty name, and of each gRPC service under its own. */
import type { Server as GrpcJsServer, UntypedServiceImplementation } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import type { ServerCall } from "../../lib/grpc/server-call.ts";
import type { Server } from "../../lib/grpc/server.ts";
import { endOnDrain } from "./end-on-drain.ts";
import { grpcJsMethods } from "./grpc-js-service.ts";

export class GrpcHealth {
  readonly #health = new HealthImplementation({ "": "NOT_SERVING" });
  #serving = false;
  #services = new Map<string, boolean>();

  constructor(server: Server, draining: AbortSignal) {
    const add: GrpcJsServer["addService"] = (definition, handlers: UntypedServiceImplementation) => {
      const watch = handlers["watch"] as unknown as (call: ServerCall) => void;
      const ending = (call: ServerCall): void => {
        watch(call);
        endOnDrain(call, draining);
      };
      const methods = grpcJsMethods(definition, { ...handlers, watch: ending as never });
      for (const method of methods) server.register(method);
    };
    draining.addEventListener("abort", () => this.setServing(false), { once: true });
    this.#health.addToServer({ addService: add } as GrpcJsServer);
  }

  /** Tells which services are known, and which of them some node offers now. */
  update(known: string[], offered: ReadonlySet<string>): void {
    this.#services = new Map(known.map((name) => [name, offered.has(name)]));
    this.#publish();
  }

  setServing(serving: boolean): void {
    this.#serving = serving;
    this.#publish();
  }

  #publish(): void {
    this.#health.setStatus("", this.#serving ? "SERVING" : "NOT_SERVING");
    for (const [name, offered] of this.#services) {
      this.#health.setStatus(name, this.#serving && offered ? "SERVING" : "NOT_SERVING");
    }
  }
}
