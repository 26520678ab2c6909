import type { ServerCall } from "../../lib/grpc/server-call.ts";
import type { Message, ServedMethod } from "./grpc-contract.ts";
import { refusalOf, statusOf } from "./grpc-errors.ts";
import type { GatewayScope, Handler } from "./rpc.ts";
import { Rpc } from "./rpc.ts";

/** A unary RPC is one call. */
export function unary(method: ServedMethod, { broker }: GatewayScope): Handler<Message> {
  return (call: ServerCall<Message, Message>) => {
    const rpc = new Rpc(call, broker);
    rpc.invoke(method.action, call.request).then(
      (answer) => call.answer((answer ?? {}) as Message, rpc.trailers),
      (error: unknown) => {
        const answer = refusalOf(error, method.errors, rpc.requestId, call.request);
        if (answer) call.answer(answer, rpc.trailers);
        else call.fail(statusOf(error, rpc.requestId));
      },
    );
  };
}
