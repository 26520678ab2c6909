/**
 * While the connection to NATS is lost, calls and their answers wait for it, for a while: its client would lose them without a
 * word. Events and heartbeats do not, for they are of no use later.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Middleware, ServiceBroker } from "moleculer";
import type { NatsConnection } from "nats";
import { unavailable } from "../lib/errors.ts";

/** Half of what a call has by default: who is not reached by then is told in time. */
const HOLD_MS = 5_000;

/** The other nodes have lost it too, and need about as long to be back: what is sent to one that is not is lost. */
const OTHERS_MS = 1_000;

const HELD = new Set(["REQ", "RES"]);
const MAX_HELD_BYTES = 64 * 1024 * 1024;

const LOST = "the other nodes cannot be reached: the connection to NATS is lost";

type Send = (topic: string, data: Buffer, meta: { packet: { type: string } }) => Promise<void>;

export function reconnection(broker: ServiceBroker): Middleware {
  let lost: PromiseWithResolvers<void> | undefined;
  let heldBytes = 0;
  let client: NatsConnection | undefined;

  async function watch(connection: NatsConnection): Promise<void> {
    client = connection;
    let timer: NodeJS.Timeout | undefined;
    for await (const { type } of connection.status()) {
      if (type === "disconnect") {
        clearTimeout(timer);
        lost ??= Promise.withResolvers();
      }
      if (type === "reconnect") timer = setTimeout(found, OTHERS_MS).unref();
    }
  }

  function found(): void {
    lost?.resolve();
    lost = undefined;
  }

  async function afterwards(connected: Promise<void>, bytes: number): Promise<void> {
    if (heldBytes + bytes > MAX_HELD_BYTES) throw unavailable(`${LOST}, and much waits for it`);
    heldBytes += bytes;
    const cancelling = new AbortController();
    const tooLong = sleep(HOLD_MS, undefined, cancelling).then(() => {
      throw unavailable(LOST);
    });
    try {
      await Promise.race([connected, tooLong]);
    } finally {
      heldBytes -= bytes;
      cancelling.abort();
      tooLong.catch(() => undefined);
    }
  }

  const hooks = {
    name: "Reconnection",
    created() {
      broker.localBus.once("$transporter.connected", () => {
        void watch((broker.transit!.tx as unknown as { client: NatsConnection }).client);
      });
    },
    /** It would wait for the connection to say its last, and go on trying. */
    async stopping() {
      if (lost) await client?.close();
    },
    transporterSend(next: Send): Send {
      return (topic, data, meta) => {
        if (!lost) return next(topic, data, meta);
        if (!HELD.has(meta.packet.type)) return Promise.resolve();
        return afterwards(lost.promise, data.length).then(() => next(topic, data, meta));
      };
    },
  };
  // Moleculer's types have for each hook what its function answers.
  return hooks as unknown as Middleware;
}
