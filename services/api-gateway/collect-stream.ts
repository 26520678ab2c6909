import type { EventEmitter } from "node:events";
import { on } from "node:events";
import type { Message, ServedMethod } from "./grpc-contract.ts";
import { statusOf } from "./grpc-errors.ts";
import type { GatewayScope, Handler } from "./rpc.ts";
import { Rpc } from "./rpc.ts";
import { afterReset } from "./stream-life.ts";

/** One batch stays below what a node may send another in one piece. */
const MAX_BATCH = { messages: 100, bytes: 512 * 1024 };

/** A request with the size that it had on the wire. */
export interface SizedMessage {
  message: Message;
  bytes: number;
}

/** A client stream: its requests go to the action in batches, one after another; the last call's result answers it. */
export function collectStream(method: ServedMethod, { broker }: GatewayScope): Handler<SizedMessage> {
  return (call) => {
    const rpc = new Rpc(call, broker);
    const bounds = { close: ["end"], signal: rpc.signal, highWaterMark: MAX_BATCH.messages };
    const requests = on(call as unknown as EventEmitter, "data", bounds) as AsyncIterable<[SizedMessage]>;
    const collect = async (): Promise<Message> => {
      const batch = new Batch();
      let state: unknown;
      const send = async (end: boolean): Promise<unknown> =>
        rpc.invoke(method.action, { items: batch.take(), end }, { state });
      for await (const [sized] of requests) {
        if (!batch.fits(sized)) ({ state } = (await send(false)) as { state: unknown });
        batch.add(sized);
      }
      await afterReset();
      rpc.signal.throwIfAborted();
      return (await send(true)) as Message;
    };
    let failed = false;
    call.once("close", (whole: boolean) => {
      if (method.close) void rpc.close(method.close, { reason: whole && !failed ? "completed" : "broken" });
    });
    collect().then(
      (answer) => call.answer(answer, rpc.trailers),
      (error: unknown) => {
        failed = true;
        call.fail(statusOf(error, rpc.requestId));
      },
    );
  };
}

class Batch {
  #items: Message[] = [];
  #bytes = 0;

  fits({ bytes }: SizedMessage): boolean {
    return this.#items.length < MAX_BATCH.messages && (this.#bytes === 0 || this.#bytes + bytes <= MAX_BATCH.bytes);
  }

  add({ message, bytes }: SizedMessage): void {
    this.#items.push(message);
    this.#bytes += bytes;
  }

  take(): Message[] {
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    return items;
  }
}
