/** What cannot be read as HTTP, or ends too early, in place of Node's answer, which does not say why. */
import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";

const ENDED_EARLY = "HPE_INVALID_EOF_STATE";
/** As Node answers. */
const STATUSES: Record<string, number> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/** Answers and closes the connection; without an answer where one is on its way already. */
export function refuseMalformed(error: NodeJS.ErrnoException, socket: Socket, answered: boolean): void {
  if (!socket.writable || answered) {
    socket.destroy(error);
    return;
  }
  const { code = "" } = error;
  const status = STATUSES[code] ?? 400;
  const message =
    code === ENDED_EARLY
      ? "the request ended before it was whole: its body is shorter than it says"
      : `the request cannot be read as HTTP (${code})`;
  const body = JSON.stringify({ error: { code: status, message, status: "INVALID_ARGUMENT", details: [] } });
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "Connection: close",
    "Content-Type: application/json; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
