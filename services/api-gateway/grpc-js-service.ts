import type { ServiceDefinition, StatusObject, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Method, ServerCall } from "../../lib/grpc/server-call.ts";

type Callback = (error: Partial<StatusObject> | null, answer?: unknown) => void;
type Unary = (call: ServerCall, callback: Callback) => void;
type Streaming = (call: ServerCall) => void;

/** The methods of a service that was made for the server of grpc-js. Of its calls it may use what ServerCall has. */
export function grpcJsMethods(definition: ServiceDefinition, handlers: UntypedServiceImplementation): Method[] {
  return Object.entries(definition).map(([name, method]) => {
    // The definition has the names of the proto, the handlers often those of JavaScript.
    const handler = (handlers[name] ?? handlers[method.originalName!]) as unknown;
    return {
      path: method.path,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      deserialize: method.requestDeserialize,
      serialize: method.responseSerialize,
      handle: method.requestStream || method.responseStream ? (handler as Streaming) : answering(handler as Unary),
    };
  });
}

function answering(handler: Unary): Streaming {
  return (call) =>
    handler(call, (error, answer) => {
      if (error) call.fail({ code: error.code ?? 2, details: error.details ?? "" });
      else call.answer(answer);
    });
}
