import type { Message, ServedMethod } from "./grpc-contract.ts";
import { refusalOf } from "./grpc-errors.ts";
import type { GatewayScope, Handler } from "./rpc.ts";
import { StreamLife } from "./stream-life.ts";

const DEFAULT_IN_FLIGHT = 32;

/** The place of one request's answer in the order of requests. */
interface Slot {
  answer?: Message;
  failure?: { error: unknown };
}

/** A bidirectional stream of one answer a request, in the order of the requests, some calls at once. */
export function eachStream(method: ServedMethod, scope: GatewayScope): Handler<Message> {
  const { inFlight: limit = DEFAULT_IN_FLIGHT } = method.binding;
  return (call) => {
    const slots: Slot[] = [];
    let blocked = false;
    let ending = false;

    const stopReading = (): void => {
      ending = true;
      call.pause();
    };
    const finish = (): void => {
      stopReading();
      flush();
    };
    const life: StreamLife = new StreamLife(call, method, scope, finish);
    const { rpc } = life;

    const flush = (): void => {
      while (!blocked && slots[0] && (slots[0].answer ?? slots[0].failure)) {
        const { answer, failure } = slots.shift()!;
        if (failure) {
          stopReading();
          return life.fail(failure.error);
        }
        blocked = !life.write(answer!);
      }
      if (ending) {
        if (slots.length === 0) void life.end();
      } else if (slots.length < limit && call.isPaused()) {
        call.resume();
      }
    };

    call.on("drain", () => {
      blocked = false;
      flush();
    });
    call.on("end", finish);
    call.on("data", (request: Message) => {
      const slot: Slot = {};
      // Answers that wait for the client count too: what is read is bounded by what is written.
      if (slots.push(slot) >= limit) call.pause();
      void rpc
        .invoke(method.action, request, {})
        .then(
          (answer) => void (slot.answer = (answer ?? {}) as Message),
          (error: unknown) => {
            slot.answer = refusalOf(error, method.errors, rpc.requestId, request);
            if (!slot.answer) slot.failure = { error };
          },
        )
        .then(flush);
    });
  };
}
