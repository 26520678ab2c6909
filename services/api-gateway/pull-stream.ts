import { setImmediate as nextTurn } from "node:timers/promises";
import { LongshoreError } from "../../lib/errors.ts";
import type { Message, ServedMethod } from "./grpc-contract.ts";
import type { GatewayScope, Handler } from "./rpc.ts";
import { StreamLife } from "./stream-life.ts";

/** What an action answers to one pull. */
interface Page {
  items: Message[];
  cursor?: unknown;
  done?: boolean;
}

/** A server stream: the action is asked for page after page, no faster than the client reads. */
export function pullStream(method: ServedMethod, scope: GatewayScope): Handler<Message> {
  return (call) => {
    const stop = new LongshoreError("CANCELLED", "the node is stopping");
    const life: StreamLife = new StreamLife(call, method, scope, () => life.rpc.abort(stop));
    pull(call.request, method.action, life).then(
      () => life.end(),
      (error: unknown) => (life.rpc.signal.reason === stop ? life.end() : life.fail(error)),
    );
  };
}

async function pull(request: Message, action: string, life: StreamLife): Promise<void> {
  for (let cursor: unknown; ;) {
    const page = (await life.rpc.invoke(action, { ...request }, { cursor })) as Page;
    for (const item of page.items) if (!life.write(item)) await life.drained();
    if (page.done) return;
    cursor = page.cursor;
    // An action that answers at once, without items, must not keep the loop from everybody else.
    await nextTurn();
  }
}
