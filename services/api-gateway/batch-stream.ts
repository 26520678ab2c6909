import { endOfTurn } from "../../lib/end-of-turn.ts";
import type { Message, ServedMethod } from "./grpc-contract.ts";
import { refusalOf } from "./grpc-errors.ts";
import type { GatewayScope, Handler } from "./rpc.ts";
import { StreamLife } from "./stream-life.ts";

const DEFAULT_IN_FLIGHT = 256;
/** Of a call, unless one request is larger: NATS takes 1 MB. */
export const MAX_BATCH_BYTES = 512 * 1024;

/** A request as it came in, and its size. */
export interface Received {
  message: Message;
  bytes: number;
}

/** Requests of one call, and what became of them. */
interface Batch {
  requests: Message[];
  answers?: Message[];
  failure?: { error: unknown };
}

/**
 * A bidirectional stream of one answer a request, in the order of the requests, where all requests that have come in form
 * one call. A request whose key is in a call under way waits for that, for calls that go to different nodes overtake each other.
 */
export function batchStream(method: ServedMethod, scope: GatewayScope): Handler<Received> {
  const { inFlight: limit = DEFAULT_IN_FLIGHT, key } = method.binding;
  return (call) => {
    const waiting: Received[] = [];
    const batches: Batch[] = [];
    const keysUnderWay = new Set<unknown>();
    /** Requests that are not answered yet: what is read is bounded by what is written. */
    let open = 0;
    let scheduled = false;
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

    const isUnderWay = ({ message }: Received): boolean => key !== undefined && keysUnderWay.has(message[key]);

    const flush = (): void => {
      while (!blocked && batches[0] && (batches[0].answers ?? batches[0].failure)) {
        const { answers = [], failure } = batches.shift()!;
        if (failure) {
          stopReading();
          return life.fail(failure.error);
        }
        open -= answers.length;
        for (const answer of answers) if (!life.write(answer)) blocked = true;
      }
      if (ending) {
        if (open === 0) void life.end();
      } else if (open < limit && call.isPaused()) {
        call.resume();
      }
    };

    const send = async (): Promise<void> => {
      await endOfTurn("gather");
      scheduled = false;
      const requests = takeReady(waiting, key, keysUnderWay);
      if (requests.length === 0) return;
      const batch: Batch = { requests };
      batches.push(batch);
      schedule();
      try {
        const { items } = (await rpc.invoke(method.action, { items: requests }, {})) as { items: Message[] };
        if (items.length !== requests.length) throw new Error(`${method.action} left requests without an answer`);
        batch.answers = items;
      } catch (error) {
        const refusals = requests.map((request) => refusalOf(error, method.errors, rpc.requestId, request));
        const answers = refusals.filter((refusal) => refusal !== undefined);
        if (answers.length === requests.length) batch.answers = answers;
        else batch.failure = { error };
      }
      if (key !== undefined) for (const request of requests) keysUnderWay.delete(request[key]);
      flush();
      schedule();
    };
    const schedule = (): void => {
      if (scheduled || waiting.length === 0 || isUnderWay(waiting[0]!)) return;
      scheduled = true;
      void send();
    };

    call.on("drain", () => {
      blocked = false;
      flush();
    });
    call.on("end", finish);
    call.on("data", (request: Received) => {
      waiting.push(request);
      open += 1;
      if (open >= limit) call.pause();
      schedule();
    });
  };
}

/** Takes the first requests: up to one whose key is under way, and not more than one call may bring. Marks their keys. */
function takeReady(waiting: Received[], key: string | undefined, keysUnderWay: Set<unknown>): Message[] {
  let bytes = 0;
  const end = waiting.findIndex(({ message, bytes: size }, index) => {
    bytes += size;
    return (key !== undefined && keysUnderWay.has(message[key])) || (index > 0 && bytes > MAX_BATCH_BYTES);
  });
  const ready = waiting.splice(0, end === -1 ? waiting.length : end).map(({ message }) => message);
  if (key !== undefined) for (const message of ready) keysUnderWay.add(message[key]);
  return ready;
}
