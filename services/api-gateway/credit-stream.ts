import { setImmediate as nextTurn } from "node:timers/promises";
import { endOfTurn } from "../../lib/end-of-turn.ts";
import { LongshoreError, viewError } from "../../lib/errors.ts";
import type { Message, ServedMethod } from "./grpc-contract.ts";
import type { GatewayScope, Handler } from "./rpc.ts";
import { StreamLife } from "./stream-life.ts";

/** Items of one call at most, so that one answer stays small however many credits there are. */
const MAX_ITEMS = 100;
/** Lines of one stream at most; each may hold a waiting call. */
const MAX_LINES = 1000;

/** The credits of one key, and the request that gave the last of them. */
interface Line {
  credits: number;
  request: Message;
  waiting: boolean;
  /** The number of the call that is under way, on its stream. */
  call?: number;
}

/**
 * A bidirectional stream where each request is a credit for one answer under its key. At most one call a key waits for
 * answers, and none while the client does not read: it is given no more than it asked for and takes.
 */
export function creditStream(method: ServedMethod, scope: GatewayScope): Handler<Message> {
  const key = method.binding.key!;
  return (call) => {
    const lines = new Map<unknown, Line>();
    const noMore = new LongshoreError("CANCELLED", "the stream takes no more");
    let calls = 0;
    let made = 0;
    let blocked = false;
    let ending = false;

    const stopReading = (): void => {
      ending = true;
      call.pause();
    };
    const finish = (): void => {
      stopReading();
      life.rpc.abort(noMore);
      if (calls === 0) void life.end();
    };
    const fail = (error: unknown): void => {
      stopReading();
      // The client is not gone: what it has stays with it, but for answers that were on their way here.
      const underWay = [...lines.values()].flatMap((line) => line.call ?? []);
      life.fail(error, viewError(error).type === "UNAVAILABLE" ? { reason: "failed", underWay } : undefined);
    };
    const life: StreamLife = new StreamLife(call, method, scope, finish);
    const { streamId } = life.rpc;
    scope.streams.set(streamId, (message) => {
      if (!ending && !life.write(message)) blocked = true;
    });
    call.once("close", () => scope.streams.delete(streamId));

    const serve = async (name: unknown, line: Line): Promise<void> => {
      if (line.waiting) return;
      line.waiting = true;
      calls++;
      try {
        for (;;) {
          // All credits that came in this turn are one call.
          await endOfTurn("gather");
          if (ending || blocked || line.credits <= 0) break;
          await take(line);
        }
      } catch (error) {
        if (!ending) fail(error);
      } finally {
        line.waiting = false;
        calls--;
        if (line.credits <= 0) lines.delete(name);
      }
      if (ending && calls === 0) void life.end();
    };

    const take = async (line: Line): Promise<void> => {
      const params = { ...line.request, max: Math.min(line.credits, MAX_ITEMS) };
      line.call = ++made;
      const { items } = (await life.rpc.invoke(method.action, params, { call: made })) as { items: Message[] };
      line.call = undefined;
      line.credits -= items.length;
      for (const item of items) if (!life.write(item)) blocked = true;
      // An action that answers at once, without items, must not keep the loop from everybody else.
      if (items.length === 0) await nextTurn();
    };

    call.on("drain", () => {
      blocked = false;
      for (const [name, line] of lines) void serve(name, line);
    });
    call.on("end", finish);
    call.on("data", (request: Message) => {
      const name = request[key];
      const line = lines.get(name) ?? { credits: 0, request, waiting: false };
      line.credits++;
      line.request = request;
      lines.set(name, line);
      if (lines.size > MAX_LINES) fail(tooManyLines(key));
      else void serve(name, line);
    });
  };
}

function tooManyLines(key: string): LongshoreError {
  return new LongshoreError("RESOURCE_EXHAUSTED", `${key}: more than ${MAX_LINES} wait on one stream`);
}
