import { setImmediate as turn } from "node:timers/promises";

/** Bytes of pages that may wait for the reader; one page may be larger by itself. */
const MAX_WAITING_BYTES = 32 * 1024 * 1024;

/** A page and when it came: sources that change while they are read are believed by their latest answer. */
export interface FetchedPage {
  page: number;
  body: Buffer;
  /** Counts answers in the order they came. */
  arrival: number;
}

/**
 * Fetches pages `first` to `last()` concurrently and hands them out in order. Runs ahead of the reader by at most twice
 * as many pages as there are connections and by MAX_WAITING_BYTES, so a slow page or reader costs no memory.
 */
export async function* pagesInOrder(
  fetch: (page: number) => Promise<Buffer>,
  { first, last, connections }: { first: number; last: () => number; connections: number },
): AsyncGenerator<FetchedPage> {
  const pages = new Map<number, Promise<FetchedPage>>();
  let head = first;
  let next = first;
  let fetching = 0;
  let arrivals = 0;
  let waitingBytes = 0;
  let largest = 0;
  /** The reader has left, or a page failed, which fails them all: no further page is asked for. */
  let over = false;

  const start = async (page: number): Promise<FetchedPage> => {
    fetching++;
    try {
      const body = await fetch(page);
      waitingBytes += body.byteLength;
      largest = Math.max(largest, body.byteLength);
      return { page, body, arrival: ++arrivals };
    } catch (error) {
      over = true;
      throw error;
    } finally {
      fetching--;
      fill();
    }
  };
  const hasRoom = () =>
    next === head ||
    (fetching < connections &&
      next < head + 2 * connections &&
      waitingBytes + (fetching + 1) * largest <= MAX_WAITING_BYTES);
  const fill = () => {
    while (!over && next <= last() && hasRoom()) {
      const fetched = start(next);
      // Told to the reader when it comes to this page; until then it is no unhandled rejection.
      fetched.catch(() => {});
      pages.set(next++, fetched);
    }
  };

  try {
    for (; head <= last(); head++) {
      fill();
      const fetched = await pages.get(head)!;
      pages.delete(head);
      waitingBytes -= fetched.body.byteLength;
      // Pages that wait already would follow without a turn of the loop, and connections that are free stay so.
      await turn();
      yield fetched;
    }
  } finally {
    over = true;
  }
}
