import type { ServerCall } from "../../lib/grpc/server-call.ts";

/** Ends a stream when the node begins to stop, so that it does not hold up the stop. */
export function endOnDrain(call: ServerCall, draining: AbortSignal): void {
  const end = (): void => void call.end();
  if (draining.aborted) end();
  else draining.addEventListener("abort", end, { once: true });
  call.once("close", () => draining.removeEventListener("abort", end));
}
