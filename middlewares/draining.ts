/**
 * Tells a node's services that it is about to stop, by the local event `$node.draining`, before Moleculer begins to wait
 * for calls in flight: who holds calls open on purpose (streams, long polls) ends them then.
 */
import type { Middleware } from "moleculer";

export const draining: Middleware = {
  name: "Draining",
  created(broker) {
    const stop = broker.stop.bind(broker);
    broker.stop = () => {
      void broker.broadcastLocal("$node.draining");
      return stop();
    };
  },
};
