/** A large upload goes through a node in little memory. */
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { expect, test } from "@jest/globals";
import { spawnNode } from "../node.ts";
import { UploadClient, put } from "../upload-client.ts";

const MIB = 1024 ** 2;
const SIZE = 300 * MIB;
const GROWTH = 120 * MIB;

async function peakOf(pid: number): Promise<number> {
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))!;
  return Number(kib) * 1024;
}

function* body(): Generator<Buffer> {
  const chunk = Buffer.alloc(MIB, "x");
  for (let size = 0; size < SIZE; size += MIB) yield chunk;
}

(process.platform === "linux" ? test : test.skip)("300 MiB are put with a small part of them in memory", async () => {
  const node = await spawnNode({ SERVICES: "api-gateway,upload" });
  try {
    const client = new UploadClient(node.http);
    await client.upload("warm");
    const before = await peakOf(node.process.pid!);
    const { url } = await client.preSign({ size: String(SIZE) });
    expect((await put(url, Readable.from(body()))).status).toBe(200);
    expect((await peakOf(node.process.pid!)) - before).toBeLessThan(GROWTH);
  } finally {
    await node.stop();
  }
});
