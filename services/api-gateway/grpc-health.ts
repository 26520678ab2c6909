/** grpc.health.v1.Health: of the node as a whole under the empty name, and of each gRPC service under its own. */
import type { Server, ServerWritableStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { endOnDrain } from "./end-on-drain.ts";

export class GrpcHealth {
  readonly #health = new HealthImplementation({ "": "NOT_SERVING" });
  #serving = false;
  #services = new Map<string, boolean>();

  constructor(server: Server, draining: AbortSignal) {
    const add = (definition: Parameters<Server["addService"]>[0], handlers: UntypedServiceImplementation): void => {
      const watch = handlers["watch"] as (call: ServerWritableStream<object, object>) => void;
      server.addService(definition, {
        ...handlers,
        watch: (call: ServerWritableStream<object, object>) => {
          watch(call);
          endOnDrain(call, draining);
        },
      });
    };
    draining.addEventListener("abort", () => this.setServing(false), { once: true });
    this.#health.addToServer({ addService: add } as Server);
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
