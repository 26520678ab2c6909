import { createHash } from "node:crypto";
import { LongshoreError } from "../errors.ts";
import { untilAborted } from "./until-aborted.ts";

/** What goes into an object on its way there: counted, digested, bounded, and stopped by a signal. */
export class Intake {
  readonly #hash = createHash("sha256");
  readonly #key: string;
  readonly #maxBytes: number;
  #size = 0;

  constructor(key: string, maxBytes: number) {
    this.#key = key;
    this.#maxBytes = maxBytes;
  }

  /** Passes the source on; throws RESOURCE_EXHAUSTED for more than `maxBytes`, and the signal's reason. */
  async *take(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    for await (const chunk of untilAborted(source, signal)) {
      this.#size += chunk.byteLength;
      if (this.#size > this.#maxBytes) {
        throw new LongshoreError("RESOURCE_EXHAUSTED", `object ${this.#key} is larger than ${this.#maxBytes} bytes`);
      }
      this.#hash.update(chunk);
      yield chunk;
    }
  }

  /** Of all that was taken; to be asked once. */
  sum(): { size: number; sha256: string } {
    return { size: this.#size, sha256: this.#hash.digest("hex") };
  }
}
