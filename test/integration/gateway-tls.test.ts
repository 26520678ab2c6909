import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { ChannelCredentials } from "@grpc/grpc-js";
import { Client, credentials } from "@grpc/grpc-js";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";

const file = (name: string) => join(import.meta.dirname, "..", "fixtures", "tls", name);
const read = (name: string) => readFileSync(file(name));

let node: TestNode;

beforeAll(async () => {
  const grpcTlsCert = file("server.crt");
  const grpcTlsKey = file("server.key");
  node = await startNode({
    services: ["api-gateway"],
    config: { grpcTlsCert, grpcTlsKey, grpcTlsCa: file("ca.crt") },
  });
});

afterAll(() => node?.stop());

/** Whether a client with these credentials is let in; health is always served. */
async function isLetIn(creds: ChannelCredentials): Promise<boolean> {
  const client = new Client(node.grpc, creds);
  try {
    await new Promise((resolve, reject) => {
      const identity = (bytes: Buffer) => bytes;
      client.makeUnaryRequest(
        "/grpc.health.v1.Health/Check",
        identity,
        identity,
        Buffer.alloc(0),
        { deadline: Date.now() + 2_000 } as never,
        (error: Error | null, answer?: Buffer) => (error ? reject(error) : resolve(answer)),
      );
    });
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: expect.any(Number) });
    return false;
  } finally {
    client.close();
  }
}

test("with a certificate of the authority a client is let in", async () => {
  expect(await isLetIn(credentials.createSsl(read("ca.crt"), read("client.key"), read("client.crt")))).toBe(true);
});

test("without a certificate, or without TLS, it is not", async () => {
  expect(await isLetIn(credentials.createSsl(read("ca.crt")))).toBe(false);
  expect(await isLetIn(credentials.createInsecure())).toBe(false);
});
