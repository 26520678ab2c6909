/** The items of `source` until `signal` aborts, also while `source` itself keeps silent; then throws the signal's reason. */
export async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal | undefined): AsyncGenerator<T> {
  if (!signal) {
    yield* source;
    return;
  }
  signal.throwIfAborted();
  const iterator = source[Symbol.asyncIterator]();
  let ended = false;
  // One listener that rejects the wait of the moment: Promise.race against one long promise would keep every item alive.
  let rejectWait: (reason: unknown) => void = () => {};
  const onAbort = () => rejectWait(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        rejectWait = reject;
        iterator.next().then(resolve, reject);
      });
      ended = next.done === true;
      if (next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Not awaited: the return() of a source that keeps silent would wait as long as its next().
    if (!ended) void Promise.resolve(iterator.return?.()).catch(() => {});
  }
}
