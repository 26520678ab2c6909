import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher } from "undici";

export interface HttpAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  /** The body, or as much of it as was wanted. */
  body: Buffer;
  /** Whether that is all of it. */
  whole: boolean;
}

export interface AnswerOptions {
  /** Bytes of the body that are wanted of an answer of this status; one that has more is cut off, and its connection closed. */
  maxBytes: (status: number) => number;
  /** Its reason rejects. */
  signal: AbortSignal;
}

/**
 * Sends a request and takes in the answer, without a stream for each: those take a third of what a page costs. The signal is
 * one for a single request.
 */
export function askHttp(
  dispatcher: Pick<Dispatcher, "dispatch">,
  request: Dispatcher.DispatchOptions,
  options: AnswerOptions,
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const { signal, maxBytes } = options;
    const chunks: Buffer[] = [];
    let answer = { status: 0, headers: {} as IncomingHttpHeaders };
    let room = 0;
    let over = false;
    let connection: Dispatcher.DispatchController | undefined;
    const end = (settle: () => void) => {
      if (over) return;
      over = true;
      signal.removeEventListener("abort", abort);
      settle();
    };
    const abort = () => {
      end(() => reject(signal.reason as Error));
      connection?.abort(new Error("the request was given up"));
    };
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
    dispatcher.dispatch(request, {
      onRequestStart(controller) {
        connection = controller;
        if (over) controller.abort(new Error("the request was given up"));
      },
      onResponseStart(_, status, headers) {
        answer = { status, headers };
        room = maxBytes(status);
      },
      onResponseData(controller, chunk) {
        if (over) return;
        chunks.push(chunk.length > room ? chunk.subarray(0, room) : chunk);
        room -= chunk.length;
        if (room >= 0) return;
        end(() => resolve({ ...answer, body: Buffer.concat(chunks), whole: false }));
        controller.abort(new Error("the rest of the answer is not wanted"));
      },
      onResponseEnd() {
        end(() => resolve({ ...answer, body: Buffer.concat(chunks), whole: true }));
      },
      onResponseError(_, error) {
        end(() => reject(error));
      },
    });
  });
}
