/** Requests of the user-data space over HTTP, as many at a time as there are connections. */
import { createHash } from "node:crypto";
import { Agent, request } from "node:http";
import protobuf from "protobufjs";
import { join } from "node:path";

const CONNECTIONS = 4;
const ACCOUNT = "2000";
const TOKEN = "ABCDEF";

const contract = new protobuf.Root().loadSync(
  join(import.meta.dirname, "..", "..", "..", "proto", "saasapi", "saasapi.proto"),
  { keepCase: true },
);
const SaasReq = contract.lookupType("saasapi.SaasReq");

export function encodeRequest(message: object): Buffer {
  return SaasReq.encode(SaasReq.fromObject(message)).finish() as Buffer;
}

export class SaasLoad {
  readonly #url: string;
  readonly #connections: number;
  readonly #agent: Agent;

  constructor(url: string, connections = CONNECTIONS) {
    this.#url = url;
    this.#connections = connections;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
  }

  /** Sends bodies in turn until the time is over; answers how many were answered. */
  async during(ms: number, path: string, bodies: readonly Buffer[]): Promise<number> {
    const end = performance.now() + ms;
    let sent = 0;
    const lane = async () => {
      while (performance.now() < end) await this.send(path, bodies[sent++ % bodies.length]!);
    };
    await Promise.all(Array.from({ length: this.#connections }, lane));
    return sent;
  }

  /** Throws where the answer's code is not SUCC, which is 0 and left out. */
  send(path: string, body: Buffer, more: Record<string, string> = {}): Promise<void> {
    const length = { "content-length": body.length };
    const headers = { "content-type": "application/x-protobuf", ...length, ...signed(), ...more };
    return new Promise((resolve, reject) => {
      const sending = request(this.#url + path, { method: "POST", agent: this.#agent, headers }, (response) => {
        let first: number | undefined;
        response.on("data", (chunk: Buffer) => (first ??= chunk[0]));
        response.on("error", reject);
        // The code is field 1, a varint.
        response.on("end", () => (first === 8 ? reject(new Error(`${path} was refused`)) : resolve()));
      });
      sending.on("error", reject);
      sending.end(body);
    });
  }

  /** The answer as protobuf JSON, as the request is. */
  async command(path: string, request: object): Promise<Record<string, Record<string, string>>> {
    const headers = { "content-type": "application/json", ...signed() };
    const response = await fetch(this.#url + path, { method: "POST", headers, body: JSON.stringify(request) });
    const answer = (await response.json()) as Record<string, Record<string, string>>;
    if (String(answer["code"]) !== "SUCC") throw new Error(`${path}: ${JSON.stringify(answer)}`);
    return answer;
  }

  close(): void {
    this.#agent.destroy();
  }
}

function signed(): Record<string, string> {
  const time = String(Math.floor(Date.now() / 1_000));
  const authorization = createHash("md5").update(`${ACCOUNT}${TOKEN}${time}`).digest("hex");
  return { account: ACCOUNT, time, authorization };
}
