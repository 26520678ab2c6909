import type { Request } from "../http2/request.ts";

const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const UNIT_MS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };
const OF_THE_TRANSPORT = /^grpc-|-bin$|^(?:te|content-type|content-length|accept-encoding)$/;

/** What the head of a request says of a call. */
export class CallHead {
  /** Metadata that is text, names in lower case, without what belongs to the transport. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Milliseconds; NaN where it is malformed. */
  readonly timeout: number;
  /** How messages are compressed that are. */
  readonly encoding: string;
  #metadataText: string | undefined;

  constructor({ headers }: Request) {
    const entries = Object.entries(headers).filter(([name]) => !OF_THE_TRANSPORT.test(name));
    this.metadata = Object.freeze(Object.fromEntries(entries));
    this.timeout = timeoutOf(headers["grpc-timeout"]);
    this.encoding = headers["grpc-encoding"] ?? "identity";
  }

  /** Calls with the same text have the same metadata. */
  get metadataText(): string {
    return (this.#metadataText ??= JSON.stringify(this.metadata));
  }
}

function timeoutOf(text: string | undefined): number {
  if (text === undefined) return Infinity;
  const [, amount, unit = ""] = TIMEOUT.exec(text) ?? [];
  return Number(amount) * UNIT_MS[unit]!;
}
