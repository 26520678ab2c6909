/** A NATS that lets in only who has its password or token, over TLS too. */
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { afterAll, expect, test } from "@jest/globals";
import { findProgram } from "../../scripts/servers/command.ts";
import { freePort } from "../../scripts/servers/free-port.ts";
import { Run } from "../../scripts/servers/run.ts";
import { startNode } from "../node.ts";
import { describeWith } from "../servers.ts";

const fixture = (name: string) => join(import.meta.dirname, "..", "fixtures", "tls", name);
const trusted = getCACertificates("default");

/** Runs `body` with the port of a NATS of its own. */
async function withNats(args: string[], body: (port: number) => Promise<void>): Promise<void> {
  const run = new Run();
  try {
    const command = (await findProgram("nats-server"))!;
    const port = await freePort();
    const all = ["--addr", "127.0.0.1", "--port", String(port), ...args];
    await run.start("nats-server", { command, args: all, ready: /Server is ready/ });
    await body(port);
  } finally {
    await run.stop();
  }
}

/** Whether two nodes find each other there. */
async function expectJoined(natsUrl: string): Promise<void> {
  const config = { natsUrl, namespace: `test-${randomBytes(6).toString("hex")}` };
  const there = await startNode({ services: [{ name: "there", actions: { echo: () => "echo" } }], config });
  const here = await startNode({ services: [], config });
  try {
    await here.broker.waitForServices("there");
    expect(await here.broker.call("there.echo")).toBe("echo");
  } finally {
    await Promise.all([here.stop(), there.stop()]);
  }
}

// A NATS that others run, at TEST_NATS_URL, may lie elsewhere.
describeWith("nats", "two nodes join", () => {
  afterAll(() => setDefaultCACertificates(trusted));

  test("by a user and a password of any characters", () => {
    const password = "p@ss:/%w?rd#é";
    return withNats(["--user", "us@r", "--pass", password], (port) =>
      expectJoined(`nats://us%40r:${encodeURIComponent(password)}@127.0.0.1:${port}`),
    );
  });

  test("by a token", () => withNats(["--auth", "t0k/n"], (port) => expectJoined(`nats://t0k%2Fn@127.0.0.1:${port}`)));

  test.each(["localhost", "127.0.0.1"])("over TLS, where the certificate is trusted, at %s", (host) => {
    setDefaultCACertificates([...trusted, readFileSync(fixture("ca.crt"), "utf8")]);
    return withNats(["--tls", "--tlscert", fixture("server.crt"), "--tlskey", fixture("server.key")], (port) =>
      expectJoined(`tls://${host}:${port}`),
    );
  });
});
