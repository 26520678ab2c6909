/** Answers that are a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { setImmediate as nextTurn } from "node:timers/promises";

/** What an action answers to one pull; a `cursor` of text also lets a client that lost the stream go on from there. */
interface Page {
  items: unknown[];
  cursor?: unknown;
  done?: boolean;
}

/** Asks the action for the next page. */
export type PullPage = (stream: { id: string; cursor: unknown }) => Promise<unknown>;

/** Proxies drop a connection that says nothing; a comment is something. */
const HEARTBEAT = 15_000;

/** Sends page after page, no faster than the client reads, until the last one or until the node begins to stop. */
export async function sendEvents(
  res: ServerResponse,
  pull: PullPage,
  lastEventId: string | undefined,
  signal: AbortSignal,
  draining: AbortSignal,
): Promise<void> {
  const stream = { id: randomUUID(), cursor: lastEventId as unknown };
  const heartbeat = setInterval(() => {
    writeHead(res);
    res.write(":\n\n");
  }, HEARTBEAT);
  try {
    for (;;) {
      const page = (await pull({ ...stream })) as Page;
      if (page.done && page.items.length === 0 && !res.headersSent) {
        // The client has all: an EventSource that gets this does not come again.
        res.writeHead(204).end();
        return;
      }
      // Not before: what goes wrong at once has a status of its own.
      writeHead(res);
      const id = typeof page.cursor === "string" ? `id: ${page.cursor.replace(/[\r\n\0]/g, "")}\n` : "";
      for (const [index, item] of page.items.entries()) {
        const isLast = index === page.items.length - 1;
        const event = `${isLast ? id : ""}data: ${JSON.stringify(item)}\n\n`;
        if (!res.write(event)) await once(res, "drain", { signal });
      }
      if (page.done) break;
      stream.cursor = page.cursor;
      await nextTurn();
    }
    res.end();
  } catch (error) {
    if (!draining.aborted) throw error;
    // After a good end the client's EventSource opens the stream again, on a node that stays.
    writeHead(res);
    res.end();
  } finally {
    clearInterval(heartbeat);
  }
}

function writeHead(res: ServerResponse): void {
  if (res.headersSent) return;
  res.writeHead(200, {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
  });
  res.flushHeaders();
}
