import type { Writable } from "node:stream";
import type { ServerSurfaceCall } from "@grpc/grpc-js/build/src/server-call.js";

/** What grpc-js's writable calls are made on. */
interface Sink {
  call: { sendMessage(message: unknown, done: (error?: Error | null) => void): void };
}

/**
 * Makes the answers that wait go out together. grpc-js passes on the next message when the one before has left the process,
 * a turn of the loop and a packet each.
 */
export function writeTogether(call: ServerSurfaceCall & Writable): void {
  const { call: sink } = call as unknown as Sink;
  call._writev = (chunks, done) => {
    const last = chunks.length - 1;
    const ignore = (): void => undefined;
    for (const [index, { chunk }] of chunks.entries()) sink.sendMessage(chunk, index === last ? done : ignore);
  };
}
