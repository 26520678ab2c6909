/** Gives a service `this.datastore`: one datastore a broker, open from its first service's start to its last one's stop. */
import type { Service, ServiceBroker, ServiceSchema } from "moleculer";
import { configOf } from "../lib/config.ts";
import type { Datastore } from "../lib/datastore/datastore.ts";
import { openDatastore } from "../lib/datastore/open.ts";

export interface WithDatastore {
  datastore: Datastore;
}

interface Shared {
  users: number;
  opening: Promise<Datastore>;
}

const shared = new WeakMap<ServiceBroker, Shared>();

const mixin: Partial<ServiceSchema<object, object, object, Service & WithDatastore>> = {
  async started() {
    const known = shared.get(this.broker) ?? { users: 0, opening: openDatastore(configOf(this.broker)) };
    known.users += 1;
    shared.set(this.broker, known);
    this.datastore = await known.opening;
  },

  async stopped() {
    const known = shared.get(this.broker);
    if (!known) return;
    known.users -= 1;
    if (known.users > 0) return;
    shared.delete(this.broker);
    const datastore = await known.opening.catch(() => undefined);
    await datastore?.close();
  },
};

export const store = mixin as unknown as Partial<ServiceSchema>;
