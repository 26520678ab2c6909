/** What time does to uploads. Every node that runs `upload` does this; all of it is safe to do twice. */
import { viewError } from "../../lib/errors.ts";
import { PARTS, uploadOfPart } from "../../lib/objects/directory-multipart.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import { pauseAbout } from "../../lib/pause-about.ts";
import type { Completion } from "./completion.ts";
import type { UploadStore } from "./upload-store.ts";
import type { Upload } from "./upload.ts";
import { STAGED, idOfStaged } from "./upload.ts";

export interface SweepOptions {
  uploads: UploadStore;
  objects: ObjectStore;
  completion: Completion;
  onError: (message: string, error: unknown) => void;
}

/** How soon an upload that was put at S3 is seen, where nobody asks. */
const EVERY_MS = 30_000;
const BATCH = 100;

export class Sweep {
  readonly #options: SweepOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** One round: completes what was put, then removes what is no longer kept. */
  async round(): Promise<void> {
    await this.#each(STAGED, (key) => this.#settleStaged(key));
    await this.#each(PARTS, (key) => this.#settlePart(key));
    await this.#removeDue();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await pauseAbout(EVERY_MS, signal);
      if (!signal.aborted) await this.round().catch((error) => this.#options.onError("uploads were not swept", error));
    }
  }

  async #each(prefix: string, settle: (key: string) => Promise<void>): Promise<void> {
    for await (const { key } of this.#options.objects.list(prefix)) {
      if (this.#stop.signal.aborted) return;
      await settle(key).catch((error: unknown) => this.#tell(key, error));
    }
  }

  /** What a URL brought that has been used, or whose upload is gone, is of no use to anybody. */
  async #settleStaged(key: string): Promise<void> {
    const { uploads, objects, completion } = this.#options;
    const id = idOfStaged(key) ?? "";
    const upload = await uploads.find(id);
    if (upload?.state === "ISSUED") await completion.finish(id, this.#stop.signal);
    else await objects.delete(key);
  }

  /** A part that came when its upload had been completed or removed. */
  async #settlePart(key: string): Promise<void> {
    const { uploads, objects } = this.#options;
    const upload = await uploads.findByParts(uploadOfPart(key) ?? "");
    if (upload?.state !== "ISSUED") await objects.delete(key);
  }

  async #removeDue(): Promise<void> {
    const { uploads, completion } = this.#options;
    let due: Upload[];
    do {
      due = await uploads.due(BATCH);
      let removed = 0;
      for (const upload of due) {
        if (this.#stop.signal.aborted) return;
        const done = completion.remove(upload).then(() => (removed += 1));
        await done.catch((error: unknown) => this.#tell(upload._id, error));
      }
      // What could not be removed now would be found again at once.
      if (removed === 0) return;
    } while (due.length === BATCH);
  }

  /** That another call was quicker is no fault, and that an object is not as announced is the client's. */
  #tell(what: string, error: unknown): void {
    const { type } = viewError(error);
    if (type === "ABORTED" || type === "NOT_FOUND" || type === "INVALID_ARGUMENT" || this.#stop.signal.aborted) return;
    this.#options.onError(`${what} was not swept`, error);
  }
}
