/** How an upload gets its object: the one PUT of its URL, or its parts. Of calls that want to complete it at once, one does. */
import { createHash } from "node:crypto";
import { LongshoreError, failedPrecondition, invalidArgument, notFound } from "../../lib/errors.ts";
import type { Multipart } from "../../lib/objects/multipart.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import type { StoredBody } from "../../lib/rest-options.ts";
import type { UploadStore } from "./upload-store.ts";
import type { Parts, Upload, UploadContent } from "./upload.ts";
import { keyOf, sizeOfPart, stagedKeyOf } from "./upload.ts";

/** An upload that is completed is of no use to others for so long, should the node that does it die. */
const MOVE_LEASE_MS = 15_000;
/** Parts are put together, or an object of S3's is read, for as long as this. */
export const COMPLETE_TIMEOUT_MS = 600_000;
const REMOVE_LEASE_MS = 60_000;
/** So many of the missing parts are named. */
const NAMED_PARTS = 20;

export interface CompletionOptions {
  uploads: UploadStore;
  objects: ObjectStore;
  multipart: Multipart;
  /** Of any upload. */
  maxBytes: number;
  completed: (upload: Upload) => void;
}

export class Completion {
  readonly #options: CompletionOptions;

  constructor(options: CompletionOptions) {
    this.#options = options;
  }

  /** Makes a body that the gateway has stored, and that is as announced, the upload's object. */
  async take(id: string, { key, size, sha256, contentType }: StoredBody): Promise<Upload> {
    const { uploads, objects } = this.#options;
    const upload = await uploads.lease(id, "ISSUED", MOVE_LEASE_MS);
    if (!upload) throw new LongshoreError("PERMISSION_DENIED", "the URL has been used");
    return this.#whileLeased(upload, async () => {
      await objects.move(key, keyOf(id));
      return { size, sha256, contentType: upload.contentType || contentType };
    });
  }

  /**
   * Completes an upload whose parts, or whose one PUT, are in the object store. FAILED_PRECONDITION where they are not,
   * INVALID_ARGUMENT where they are not what was announced: then nothing is left of them.
   */
  async finish(id: string, signal?: AbortSignal): Promise<Upload> {
    const { uploads, objects } = this.#options;
    const upload = await uploads.lease(id, "ISSUED", COMPLETE_TIMEOUT_MS);
    if (!upload) return this.#completedByAnother(id);
    return this.#whileLeased(upload, async () => {
      const key = keyOf(id);
      // It is there where a call before this one put it there and got no further.
      if (!(await objects.head(key))) await this.#fetch(upload, signal);
      const content = { ...(await this.#digest(key, signal)), contentType: upload.contentType };
      const problem = mismatch(upload, content);
      if (!problem) return content;
      await this.#removeObjects(upload);
      throw problem;
    });
  }

  /** Whether the object of a single PUT is there and waits to be seen. */
  async isStaged({ _id, state, parts }: Upload): Promise<boolean> {
    return state === "ISSUED" && !parts && Boolean(await this.#options.objects.head(stagedKeyOf(_id)));
  }

  /** Removes an upload and all that there is of it. ABORTED while another call completes it. */
  async remove({ _id, state }: Upload): Promise<void> {
    const { uploads } = this.#options;
    const upload = await uploads.lease(_id, state, REMOVE_LEASE_MS);
    if (!upload) throw new LongshoreError("ABORTED", `upload ${_id} is being completed or removed by another call`);
    try {
      await this.#removeObjects(upload);
      await uploads.remove(upload);
    } catch (error) {
      await uploads.release(upload);
      throw error;
    }
  }

  async #whileLeased(upload: Upload, fetch: () => Promise<UploadContent>): Promise<Upload> {
    const { uploads, completed } = this.#options;
    try {
      const done = await uploads.complete(upload, await fetch());
      if (!done) throw new LongshoreError("ABORTED", `upload ${upload._id} took too long to complete: try again`);
      completed(done);
      return done;
    } catch (error) {
      await uploads.release(upload);
      throw error;
    }
  }

  async #completedByAnother(id: string): Promise<Upload> {
    const upload = await this.#options.uploads.find(id);
    if (!upload) throw notFound(`there is no upload ${id}`);
    if (upload.state === "COMPLETED") return upload;
    throw new LongshoreError("ABORTED", `upload ${id} is being completed by another call: try again`);
  }

  async #fetch(upload: Upload, signal: AbortSignal | undefined): Promise<void> {
    if (upload.parts) return this.#assemble(upload, upload.parts, signal);
    const { objects, maxBytes } = this.#options;
    const staged = stagedKeyOf(upload._id);
    const info = await objects.head(staged);
    if (!info) throw failedPrecondition(`upload ${upload._id}: nothing has been put at its URL yet`);
    if (info.size > maxBytes) {
      await objects.delete(staged);
      const message = `upload ${upload._id} had ${info.size} bytes, and may have ${maxBytes}: it was removed`;
      throw new LongshoreError("RESOURCE_EXHAUSTED", message);
    }
    await objects.move(staged, keyOf(upload._id));
  }

  async #assemble({ _id, size: total = 0 }: Upload, parts: Parts, signal: AbortSignal | undefined): Promise<void> {
    const { multipart } = this.#options;
    const place = { key: keyOf(_id), upload: parts.upload };
    const found = await multipart.parts(place);
    const sizes = new Map(found.map(({ number, size }) => [number, size]));
    const numbers = Array.from({ length: parts.count }, (_, index) => index + 1);
    const missing = numbers.filter((number) => sizes.get(number) !== sizeOfPart(parts, total, number));
    if (missing.length > 0) {
      const named = missing.slice(0, NAMED_PARTS).join(", ");
      const more = missing.length > NAMED_PARTS ? ` and ${missing.length - NAMED_PARTS} more` : "";
      throw failedPrecondition(
        `upload ${_id}: of its ${parts.count} parts these are missing or too short: ${named}${more}`,
      );
    }
    await multipart.complete(place, found, signal);
  }

  async #digest(key: string, signal: AbortSignal | undefined): Promise<{ size: number; sha256: string }> {
    const { stream } = await this.#options.objects.get(key);
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      signal?.throwIfAborted();
      size += chunk.length;
      hash.update(chunk);
    }
    return { size, sha256: hash.digest("hex") };
  }

  async #removeObjects({ _id, parts }: Upload): Promise<void> {
    const { objects, multipart } = this.#options;
    await objects.delete(keyOf(_id));
    await objects.delete(stagedKeyOf(_id));
    if (parts) await multipart.abort({ key: keyOf(_id), upload: parts.upload });
  }
}

/** What is wrong with an object that is not what was announced; undefined where it is. */
export function mismatch(
  announced: { size?: number; sha256?: string },
  { size, sha256 }: { size: number; sha256: string },
): LongshoreError | undefined {
  if (announced.size !== undefined && announced.size !== size) {
    return invalidArgument("size", `${announced.size} bytes were announced, and ${size} came`);
  }
  if (announced.sha256 !== undefined && announced.sha256 !== sha256) {
    return invalidArgument("sha256", `${announced.sha256} was announced, and the body's is ${sha256}`);
  }
  return undefined;
}
