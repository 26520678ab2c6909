import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, test } from "@jest/globals";
import type { OutboundPolicy } from "../../../../lib/sources/outbound.ts";
import { askHttp } from "../../../../lib/sources/http-answer.ts";
import { OutboundGuard, checkUrl, outboundAgent } from "../../../../lib/sources/outbound.ts";

const refused = (policy: OutboundPolicy, address: string, host = address) =>
  new OutboundGuard(policy).refusal(host, address) !== undefined;

describe("the check of outbound addresses", () => {
  test.each([
    "169.254.169.254",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "100.100.100.200",
    "::",
    "fe80::1",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
  ])("refuses %s even where private networks are allowed", (address) => {
    expect(refused({ allowPrivate: true }, address)).toBe(true);
  });

  test.each(["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"])(
    "refuses %s unless private networks are allowed",
    (address) => {
      expect(refused({ allowPrivate: false }, address)).toBe(true);
      expect(refused({ allowPrivate: true }, address)).toBe(false);
    },
  );

  test.each(["93.184.216.34", "172.32.0.1", "2606:2800:220:1::1"])("lets %s pass", (address) => {
    expect(refused({ allowPrivate: false }, address)).toBe(false);
  });

  test("the deny list takes hosts and networks, the allow list comes before it", () => {
    const policy = {
      allowPrivate: false,
      deny: ["0.0.0.0/0", "evil.example"],
      allow: ["10.1.0.0/16", "*.good.example"],
    };
    expect(refused(policy, "93.184.216.34")).toBe(true);
    expect(refused(policy, "2606::1", "evil.example")).toBe(true);
    expect(refused(policy, "10.1.2.3")).toBe(false);
    expect(refused(policy, "93.184.216.34", "api.good.example")).toBe(false);
    expect(refused(policy, "93.184.216.34", "notgood.example")).toBe(true);
  });

  test("a name is refused by the address that it resolves to, before a connection is made", async () => {
    let connections = 0;
    const server = createServer((_, response) => response.end("secret")).on("connection", () => connections++);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const agent = outboundAgent({ allowPrivate: false }, 1);
    const open = outboundAgent({ allowPrivate: true }, 1);
    const options = { maxBytes: () => 100, signal: AbortSignal.timeout(30_000) };
    try {
      for (const host of ["localhost", "127.0.0.1", "2130706433"]) {
        const request = { origin: new URL(`http://${host}:${port}`).origin, path: "/", method: "GET" as const };
        await expect(askHttp(agent, request, options)).rejects.toMatchObject({ type: "PERMISSION_DENIED" });
        expect(connections).toBe(0);
      }
      const request = { origin: `http://localhost:${port}`, path: "/", method: "GET" as const };
      expect((await askHttp(open, request, options)).body.toString()).toBe("secret");
    } finally {
      await Promise.all([agent.destroy(), open.destroy()]);
      server.close();
    }
  });

  test.each(["ftp://host/", "file:///etc/passwd", "http://user:pass@host/", "no url"])("refuses the URL %s", (url) => {
    expect(() => checkUrl(url, "source_http.url")).toThrow(/^source_http.url: /);
  });
});
