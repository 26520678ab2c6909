/** Retries calls of actions that say `idempotent: true`, and of no others, when no node could serve them. */
import type { Middleware, Service, ServiceSchema } from "moleculer";

declare module "moleculer" {
  interface ActionSchema {
    /** Doing it twice is the same as once: the call may be repeated where its first answer was lost. */
    idempotent?: boolean;
  }
}

export const idempotent: Middleware = {
  name: "Idempotent",
  serviceCreating(_service: Service, schema: ServiceSchema) {
    for (const action of Object.values(schema.actions ?? {})) {
      if (typeof action === "object" && action.idempotent) action.retryPolicy = { enabled: true };
    }
  },
};
