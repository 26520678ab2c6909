import { atEndOfTurn } from "../../lib/end-of-turn.ts";
import type { ServerCall } from "../../lib/grpc/server-call.ts";
import type { Outcome } from "../../mixins/grpc.mixin.ts";
import type { Received } from "./batch-stream.ts";
import { MAX_BATCH_BYTES } from "./batch-stream.ts";
import type { Message, ServedMethod } from "./grpc-contract.ts";
import { refusalOf, statusOf } from "./grpc-errors.ts";
import type { GatewayScope, Handler } from "./rpc.ts";
import { Rpc } from "./rpc.ts";

const MAX_CALLS = 1_000;

interface Waiting {
  rpc: Rpc;
  call: ServerCall<Received, Message>;
}

/**
 * A unary RPC whose requests that come in together are one call of its action, which costs little more than a call for one.
 * Only requests with the same metadata are: an action sees one client's. The call is that of all of them, so it does not
 * end with the one whose client goes away or whose deadline passes.
 */
export function together(method: ServedMethod, { broker }: GatewayScope): Handler<Received> {
  let waiting: Waiting[] = [];

  const send = async (calls: Waiting[]): Promise<void> => {
    const [{ rpc: first }] = calls as [Waiting];
    try {
      const items = calls.map(({ call }) => call.request.message);
      const { outcomes } = (await first.invokeForMany(method.action, { items })) as { outcomes: Outcome[] };
      if (outcomes.length !== calls.length) throw new Error(`${method.action} left requests without an answer`);
      for (const [index, call] of calls.entries()) settle(call, outcomes[index]!);
    } catch (error) {
      for (const call of calls) settle(call, { error });
    }
  };
  const settle = ({ rpc, call }: Waiting, { answer, error }: Outcome): void => {
    if (answer) return call.answer(answer as Message);
    const refusal = refusalOf(error, method.errors, rpc.requestId, call.request.message);
    if (refusal) call.answer(refusal);
    else call.fail(statusOf(error, rpc.requestId));
  };
  const sendAll = (): void => {
    const calls = waiting;
    waiting = [];
    for (const alike of Map.groupBy(calls, ({ rpc }) => rpc.metadataText).values()) {
      for (const some of portions(alike)) void send(some);
    }
  };
  return (call) => {
    if (waiting.push({ rpc: new Rpc(call, broker), call }) === 1) atEndOfTurn("gather", sendAll);
  };
}

/** Not more than one call may bring, unless one request alone is larger. */
function* portions(calls: Waiting[]): Generator<Waiting[]> {
  let from = 0;
  let bytes = 0;
  for (const [index, { call }] of calls.entries()) {
    bytes += call.request.bytes;
    if (index === from || (bytes <= MAX_BATCH_BYTES && index - from < MAX_CALLS)) continue;
    yield calls.slice(from, index);
    from = index;
    bytes = call.request.bytes;
  }
  yield calls.slice(from);
}
