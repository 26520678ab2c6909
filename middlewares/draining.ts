/**
 * Tells a node's services that it is about to stop, by the local event `$node.draining`, while all of them still answer: who
 * holds calls open on purpose (streams, long polls) ends them then, who has work in hand finishes it or gives it back.
 * Moleculer begins to stop when their handlers are done, each of which keeps within STOP_TIMEOUT.
 */
import type { Middleware } from "moleculer";

export const draining: Middleware = {
  name: "Draining",
  created(broker) {
    const stop = broker.stop.bind(broker);
    let stopped: Promise<void> | undefined;
    // the console stops its broker twice
    broker.stop = () => (stopped ??= broker.broadcastLocal("$node.draining").then(stop));
  },
};
