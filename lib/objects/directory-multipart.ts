/** Parts as objects of their own. */
import { randomUUID } from "node:crypto";
import type { Multipart, PartOfUpload, PartsUpload, StoredPart } from "./multipart.ts";
import type { ObjectStore } from "./object-store.ts";
import type { PresignedRequest, Presigner } from "./presigner.ts";

/** What the keys of parts begin with. */
export const PARTS = "parts/";

export class DirectoryMultipart implements Multipart {
  readonly #objects: ObjectStore;
  readonly #presigner: Presigner;

  constructor(objects: ObjectStore, presigner: Presigner) {
    this.#objects = objects;
    this.#presigner = presigner;
  }

  begin(): Promise<string> {
    return Promise.resolve(randomUUID());
  }

  presign({ upload, number, size }: PartOfUpload, expiresAt: Date): Promise<PresignedRequest> {
    return this.#presigner.put(partKey(upload, number), { size }, expiresAt);
  }

  async parts({ upload }: PartsUpload): Promise<StoredPart[]> {
    const parts: StoredPart[] = [];
    const prefix = `${PARTS}${upload}.`;
    for await (const { key, size, etag } of this.#objects.list(prefix)) {
      parts.push({ number: Number(key.slice(prefix.length)), size, etag });
    }
    return parts.sort((one, other) => one.number - other.number);
  }

  async complete(upload: PartsUpload, parts: StoredPart[], signal?: AbortSignal): Promise<void> {
    await this.#objects.put(upload.key, this.#contents(upload, parts), { signal });
    await this.abort(upload);
  }

  async abort(upload: PartsUpload): Promise<void> {
    for (const { number } of await this.parts(upload)) await this.#objects.delete(partKey(upload.upload, number));
  }

  async *#contents({ upload }: PartsUpload, parts: StoredPart[]): AsyncGenerator<Uint8Array> {
    for (const { number } of parts) {
      const { stream } = await this.#objects.get(partKey(upload, number));
      yield* stream as AsyncIterable<Uint8Array>;
    }
  }
}

function partKey(upload: string, number: number): string {
  return `${PARTS}${upload}.${number}`;
}

/** The upload that a part belongs to, by the part's key; undefined for the key of something else. */
export function uploadOfPart(key: string): string | undefined {
  return key.startsWith(PARTS) ? key.slice(PARTS.length).replace(/\.\d+$/, "") : undefined;
}
