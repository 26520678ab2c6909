import type { IncomingHttpHeaders } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

export interface SunkRequest {
  method: string;
  headers: IncomingHttpHeaders;
  text: string;
}

export interface HttpSink {
  url: string;
  requests: SunkRequest[];
}

/** Runs `body` with an HTTP server that keeps what it is sent and answers with the status that `status` says, from 1 on. */
export async function withHttpSink<T>(
  status: (request: number) => number,
  body: (sink: HttpSink) => Promise<T>,
): Promise<T> {
  const requests: SunkRequest[] = [];
  const server = createServer((message, response) => {
    void text(message).then((sent) => {
      requests.push({ method: message.method ?? "", headers: message.headers, text: sent });
      response.writeHead(status(requests.length)).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    return await body({ url: `http://127.0.0.1:${port}/done`, requests });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
