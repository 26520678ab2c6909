import type { LookupAddress, LookupOptions } from "node:dns";
import { lookup } from "node:dns";
import { BlockList, isIP, Socket } from "node:net";
// Its index brings fetch, caches and mocks along: with these two a thread begins 60 ms earlier.
import buildConnector from "undici/lib/core/connect.js";
import Agent from "undici/lib/dispatcher/agent.js";
import { LongshoreError, invalidArgument } from "../errors.ts";

/** Where requests to addresses that a stranger names may go. */
export interface OutboundPolicy {
  /** Whether loopback and private networks may be reached. */
  allowPrivate: boolean;
  /** Hosts and networks (`10.1.0.0/16`) that may be reached whatever else is said; `*.example.com` names all below. */
  allow?: readonly string[];
  /** Hosts and networks that may not be reached. */
  deny?: readonly string[];
}

/** Networks that no export has business in: unspecified, link-local, multicast, reserved, tunnels to any of them. */
const NEVER = blockList([
  "0.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/128",
  "fe80::/10",
  "ff00::/8",
  "2001::/32",
  "2002::/16",
  "64:ff9b:1::/48",
  // Where clouds keep the credentials of a machine, beyond link-local: AWS, Google, Alibaba, Azure, Oracle.
  "fd00:ec2::254",
  "fd20:ce::254",
  "100.100.100.200",
  "168.63.129.16",
  "192.0.0.192",
]);

const PRIVATE = blockList([
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "::1/128",
  "fc00::/7",
  "fec0::/10",
]);

/** Refuses a URL that is not http or https, or that carries a password; the host is checked when it is connected to. */
export function checkUrl(text: string, field: string): URL {
  if (!URL.canParse(text)) throw invalidArgument(field, "is not a URL");
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw invalidArgument(field, "must begin with http:// or https://");
  if (url.username !== "" || url.password !== "")
    throw invalidArgument(field, "must not hold a user or password; send a header");
  return url;
}

/**
 * Connections that can only be made where `policy` allows. The address that is checked is the one that is connected to,
 * so a name that resolves to something else a moment later gains nothing.
 */
export function outboundAgent(policy: OutboundPolicy, connections: number): InstanceType<typeof Agent> {
  const guard = new OutboundGuard(policy);
  const connect = buildConnector({
    timeout: 10_000,
    lookup: (host, options, callback) => guard.lookup(host, options, callback),
  });
  return new Agent({
    connections,
    pipelining: 1,
    connect: (options, callback) => {
      // No lookup happens for an address.
      const host = options.hostname.replace(/^\[|\]$/g, "");
      const refusal = isIP(host) ? guard.refusal(host, host) : undefined;
      if (refusal) callback(refusal, null);
      else connect(options, callback);
    },
  });
}

/** A socket for drivers, which connect it themselves: only to where the policy allows, as with `outboundAgent`. */
export class OutboundSocket extends Socket {
  readonly #guard: OutboundGuard;

  constructor(policy: OutboundPolicy) {
    super();
    this.#guard = new OutboundGuard(policy);
  }

  override connect(...args: unknown[]): this {
    const [port, host] = args as [number, string];
    const refusal = isIP(host) ? this.#guard.refusal(host, host) : undefined;
    if (refusal) return this.destroy(refusal);
    // Whom a certificate must be for, where a driver tells TLS the socket alone; Node sets it for names, and has `localhost` else.
    (this as { _host?: string })._host = host;
    return super.connect({
      port,
      host,
      lookup: (name, options, callback) => this.#guard.lookup(name, options, callback),
    });
  }
}

type LookupCallback = (error: Error | null, address: string | LookupAddress[], family?: number) => void;

/** Judges addresses by a policy: what is allowed by name or network, what is denied so, then what kind it is. */
export class OutboundGuard {
  readonly #policy: OutboundPolicy;
  readonly #allow: HostList;
  readonly #deny: HostList;

  constructor(policy: OutboundPolicy) {
    this.#policy = policy;
    this.#allow = new HostList(policy.allow ?? []);
    this.#deny = new HostList(policy.deny ?? []);
  }

  /** Why `host` may not be reached at `address`; undefined if it may. */
  refusal(host: string, address: string): LongshoreError | undefined {
    const embedded = embeddedAddress(address);
    const addresses = embedded ? [address, embedded] : [address];
    if (addresses.some((each) => this.#allow.has(host, each))) return undefined;
    const judged = addresses.map((each) => this.#judge(host, each)).find((reason) => reason !== undefined);
    if (!judged) return undefined;
    const where = host === address ? address : `${host} (${address})`;
    return new LongshoreError("PERMISSION_DENIED", `requests to ${where} are not allowed: ${judged}`, {
      reason: "OUTBOUND_DENIED",
    });
  }

  /** As `dns.lookup`, with the addresses that may not be reached left out; fails when none is left. */
  lookup(host: string, options: LookupOptions, callback: LookupCallback): void {
    lookup(host, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, []);
      const allowed = found.filter(({ address }) => !this.refusal(host, address));
      const first = allowed[0];
      if (!first) return callback(this.refusal(host, found[0]?.address ?? "") ?? unresolved(host), []);
      if (options.all) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  }

  #judge(host: string, address: string): string | undefined {
    if (this.#deny.has(host, address)) return "it is on the deny list";
    if (inList(NEVER, address)) return "it is a link-local, metadata, multicast or reserved address";
    if (!this.#policy.allowPrivate && inList(PRIVATE, address)) return "it is a loopback or private address";
    return undefined;
  }
}

function unresolved(host: string): LongshoreError {
  return new LongshoreError("UNAVAILABLE", `${host} has no address`);
}

class HostList {
  readonly #hosts: readonly string[];
  readonly #networks: BlockList;

  constructor(entries: readonly string[]) {
    const isNetwork = (entry: string) => isIP(entry.split("/")[0]!) !== 0;
    this.#networks = blockList(entries.filter(isNetwork));
    this.#hosts = entries.filter((entry) => !isNetwork(entry)).map((entry) => entry.toLowerCase());
  }

  has(host: string, address: string): boolean {
    if (inList(this.#networks, address)) return true;
    const name = host.toLowerCase().replace(/\.$/, "");
    return this.#hosts.some((entry) => (entry.startsWith("*.") ? name.endsWith(entry.slice(1)) : name === entry));
  }
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix] = network.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    list.addSubnet(address, prefix === undefined ? (family === "ipv6" ? 128 : 32) : Number(prefix), family);
  }
  return list;
}

function inList(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

/** The IPv4 address within an IPv6 one, mapped (::ffff:0:0/96), compatible (::/96) or translated (64:ff9b::/96). */
function embeddedAddress(address: string): string | undefined {
  if (isIP(address) !== 6) return undefined;
  const canonical = new URL(`http://[${address.split("%")[0]}]`).hostname.slice(1, -1);
  const match = /^(?:::ffff:|64:ff9b::|::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (!match) return undefined;
  const [high, low] = [parseInt(match[1]!, 16), parseInt(match[2]!, 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}
