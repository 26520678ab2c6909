import { LongshoreError } from "../errors.ts";
import type { ObjectStore, PutOptions, PutResult } from "./object-store.ts";

/** Of the file, after which it is seen whether there is room for more. */
const LOOK_BYTES = 16 * 1024 ** 2;

export interface RoomOptions extends PutOptions {
  /** Bytes that stay free where objects are kept: what else is there needs some, the queue above all. */
  minFreeBytes: number;
  /** Told of each chunk that is taken. */
  onBytes: (size: number) => void;
}

/** Puts an object, and fails with RESOURCE_EXHAUSTED before there is less free than must be. */
export async function putWithRoom(
  store: ObjectStore,
  key: string,
  content: AsyncIterable<Uint8Array>,
  { minFreeBytes, onBytes, ...options }: RoomOptions,
): Promise<PutResult> {
  await demandFree(store, minFreeBytes);
  return store.put(key, guarded(), options);

  /** Looks again and again whether there is room for the rest. */
  async function* guarded(): AsyncGenerator<Uint8Array> {
    let unseen = 0;
    for await (const chunk of content) {
      unseen += chunk.byteLength;
      if (unseen >= LOOK_BYTES) {
        unseen = 0;
        await demandFree(store, minFreeBytes);
      }
      onBytes(chunk.byteLength);
      yield chunk;
    }
  }
}

async function demandFree(store: ObjectStore, minFreeBytes: number): Promise<void> {
  if ((await store.freeBytes()) >= minFreeBytes) return;
  const megabytes = minFreeBytes / 1024 ** 2;
  throw new LongshoreError("RESOURCE_EXHAUSTED", `fewer than ${megabytes} MiB are free where files are kept`);
}
