import type { handleUnaryCall } from "@grpc/grpc-js";
import type { Message, ServedMethod } from "./grpc-contract.ts";
import { refusalOf, statusOf } from "./grpc-errors.ts";
import type { GatewayScope } from "./rpc.ts";
import { Rpc } from "./rpc.ts";

/** A unary RPC is one call. */
export function unary(method: ServedMethod, { broker }: GatewayScope): handleUnaryCall<Message, Message> {
  return (call, callback) => {
    const rpc = new Rpc(call, broker);
    rpc.invoke(method.action, call.request).then(
      (answer) => {
        rpc.finished = true;
        callback(null, (answer ?? {}) as Message, rpc.trailers);
      },
      (error: unknown) => {
        rpc.finished = true;
        const answer = refusalOf(error, method.errors, rpc.requestId, call.request);
        if (answer) callback(null, answer, rpc.trailers);
        else callback(statusOf(error, rpc.requestId));
      },
    );
  };
}
