/** The event loop's side of the embedded store's background thread, which is started when it is first needed. */
import { Worker } from "node:worker_threads";
import { LongshoreError, unavailable } from "../../errors.ts";
import { joinDocuments, splitDocuments } from "./documents.ts";
import type { Answer, Command, Request } from "./wire.ts";
import { decodeError } from "./wire.ts";

/** Commands that may wait; each request holds what it brings. */
const MAX_WAITING = 1_000;

interface Waiting {
  resolve: (documents: Buffer[]) => void;
  reject: (error: Error) => void;
}

export class Background {
  readonly #file: string;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #lastId = 0;
  #closed = false;

  constructor(file: string) {
    this.#file = file;
  }

  /**
   * Rejects with what the request was refused for, with UNAVAILABLE where the thread has died of it, and with
   * RESOURCE_EXHAUSTED where too many wait for the thread.
   */
  request({ documents, ...request }: Request): Promise<Buffer[]> {
    const bytes = joinDocuments(documents);
    return this.#tell({ id: 0, do: "request", request, bytes }, [bytes.buffer]);
  }

  /** Moves the log into the file, as far as no snapshot needs it. */
  async checkpoint(): Promise<void> {
    await this.#tell({ id: 0, do: "checkpoint" });
  }

  async close(): Promise<void> {
    const closing = this.#worker && this.#tell({ id: 0, do: "close" });
    this.#closed = true;
    await closing?.catch(() => undefined);
  }

  #tell(command: Command, transfer: ArrayBuffer[] = []): Promise<Buffer[]> {
    if (this.#closed) return Promise.reject(unavailable("the embedded store is closed"));
    if (this.#waiting.size >= MAX_WAITING && command.do === "request") {
      return Promise.reject(
        new LongshoreError("RESOURCE_EXHAUSTED", "too many long requests wait for the embedded store"),
      );
    }
    const id = (this.#lastId += 1);
    this.#worker ??= this.#start();
    this.#worker.postMessage({ ...command, id }, transfer);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #start(): Worker {
    const worker = new Worker(new URL("./background-thread.ts", import.meta.url), { workerData: { file: this.#file } });
    let fault: Error | undefined;
    worker.on("message", ({ id, failed, bytes }: Answer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (failed) waiting?.reject(decodeError(bytes));
      else waiting?.resolve(splitDocuments(bytes));
    });
    worker.on("error", (error: Error) => (fault = error));
    worker.once("exit", () => {
      this.#worker = undefined;
      const error = unavailable(`the embedded store's background thread has ended: ${fault?.message ?? ""}`, fault);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
    return worker;
  }
}
