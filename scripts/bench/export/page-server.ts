/**
 * A paged HTTP source in a process of its own: every page is there before it is asked for, and is answered after a while. Pages
 * do not say which one they are, so that some bodies serve for all.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { PageServerTask, Served } from "./pages.ts";
import { COLUMNS, rowsFrom } from "./rows.ts";

const BODIES = 20;

const { pages, rowsPerPage, delayMs } = JSON.parse(process.argv[2]!) as PageServerTask;
const header = Object.fromEntries(COLUMNS.map(({ key, title }) => [key, title]));
const bodies = Array.from({ length: BODIES }, (_, page) => Buffer.from(JSON.stringify(answerOf(page))));
let served: Served = { pages: 0, exports: [] };

function answerOf(page: number): object {
  const objects = rowsFrom(page * rowsPerPage, rowsPerPage).map((row) =>
    Object.fromEntries(COLUMNS.map(({ key }, column) => [key, row[column]])),
  );
  const pagetag = { limit: rowsPerPage, total: pages * rowsPerPage, total_page: pages };
  return { errcode: 0, msg: "", data: { data: [header, ...objects], pagetag } };
}

const server = createServer((request, response) => {
  const asked = String(request.headers["xt-export-taskid"]);
  if (!served.exports.includes(asked)) served.exports.push(asked);
  const body = bodies[served.pages++ % BODIES]!;
  const answer = () => {
    response.writeHead(200, { "content-type": "application/json", "content-length": body.byteLength });
    response.end(body);
  };
  if (delayMs > 0) void delay(delayMs).then(answer);
  else answer();
});
server.listen(0, "127.0.0.1", () => {
  process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}/pages`);
});
process.on("message", () => {
  process.send?.(served);
  served = { pages: 0, exports: [] };
});
process.on("disconnect", () => process.exit());
