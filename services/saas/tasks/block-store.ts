/**
 * The blocks of an account, and the tasks that list them. A block's object has a key of its own with each upload: who removes
 * one never removes what another has brought meanwhile.
 */
import type { Collection, Datastore } from "../../../lib/datastore/datastore.ts";
import type { ObjectStore } from "../../../lib/objects/object-store.ts";
import type { LoadTask, WholeTask } from "./load-task.ts";
import { blockIds, idOf } from "./load-task.ts";

interface StoredBlock {
  /** See blockId. */
  _id: string;
  length: number;
  /** Those that list it and have not ended; see linkOf. */
  tasks: string[];
  /** Where it is, gzip as it came; absent: not yet uploaded. */
  object?: string;
}

/** What the keys of blocks begin with. */
export const BLOCKS = "saas/blocks/";
const CHUNK = 500;

export class BlockStore {
  readonly #blocks: Collection<StoredBlock>;
  readonly #objects: ObjectStore;

  private constructor(blocks: Collection<StoredBlock>, objects: ObjectStore) {
    this.#blocks = blocks;
    this.#objects = objects;
  }

  static async open(datastore: Datastore, objects: ObjectStore): Promise<BlockStore> {
    return new BlockStore(await datastore.collection<StoredBlock>("saas_blocks"), objects);
  }

  /** From now on they are kept for the task. */
  async link(task: WholeTask): Promise<void> {
    const link = linkOf(task);
    for (const ids of chunks(blockIds(task))) {
      const updates = ids.map((_id) => ({
        updateOne: {
          filter: { _id },
          update: { $addToSet: { tasks: link }, $setOnInsert: { length: lengthOf(_id) } },
          upsert: true,
        },
      }));
      await this.#blocks.bulkWrite(updates, { ordered: false });
    }
  }

  /** Those of the task that are there, by their ids. */
  async uploaded(task: WholeTask): Promise<Map<string, string>> {
    const there = new Map<string, string>();
    for (const ids of chunks(blockIds(task))) {
      for (const { _id, object } of await this.#find(ids)) if (object !== undefined) there.set(_id, object);
    }
    return there;
  }

  /** Looks no further than to the first that is missing. */
  async allUploaded(task: WholeTask): Promise<boolean> {
    for (const ids of chunks(blockIds(task))) {
      const found = await this.#find(ids);
      if (found.filter(({ object }) => object !== undefined).length < ids.length) return false;
    }
    return true;
  }

  /** Those of that sum which a task lists: tasks may say different lengths, of which at most one is right. */
  async listed(account: string, sha256: string): Promise<{ id: string; length: number; tasks: string[] }[]> {
    const filter = { _id: { $gt: `${account}/${sha256}-`, $lt: `${account}/${sha256}.` } };
    const found = await this.#blocks.find(filter, { limit: CHUNK }).toArray();
    return found
      .filter(({ tasks }) => tasks.length > 0)
      .map(({ _id, length, tasks }) => ({ id: _id, length, tasks: tasks.map(idOfLink) }));
  }

  /** Takes an object as the block's, unless it has one or nobody lists it any more. */
  async put(id: string, uploaded: string): Promise<void> {
    const object = `${BLOCKS}${id}.${uploaded.split("/").at(-1)}`;
    await this.#objects.move(uploaded, object);
    const filter = { _id: id, object: { $exists: false }, "tasks.0": { $exists: true } };
    const { matchedCount } = await this.#blocks.updateOne(filter, { $set: { object } });
    if (matchedCount === 0) await this.#objects.delete(object);
  }

  /** The task does not need them any more; those that no other lists are removed. */
  async unlink(task: WholeTask): Promise<void> {
    const link = linkOf(task);
    for (const ids of chunks(blockIds(task))) {
      const updates = ids.map((_id) => ({ updateOne: { filter: { _id }, update: { $pull: { tasks: link } } } }));
      await this.#blocks.bulkWrite(updates, { ordered: false });
      for (const block of await this.#find(ids)) if (block.tasks.length === 0) await this.#remove(block);
    }
  }

  /** Removes objects that nothing tells of: whoever put or removed them died. */
  async removeLost(before: Date, signal: AbortSignal): Promise<void> {
    for await (const { key, modifiedAt } of this.#objects.list(BLOCKS)) {
      signal.throwIfAborted();
      if (modifiedAt.getTime() >= before.getTime()) continue;
      const block = await this.#blocks.findOne({ _id: idOfObject(key) });
      if (block?.object !== key) await this.#objects.delete(key);
    }
  }

  async #remove({ _id, object }: StoredBlock): Promise<void> {
    const filter = { _id, object: object ?? { $exists: false }, "tasks.0": { $exists: false } };
    const { deletedCount } = await this.#blocks.deleteOne(filter);
    if (deletedCount === 1 && object !== undefined) await this.#objects.delete(object);
  }

  #find(ids: string[]): Promise<StoredBlock[]> {
    return this.#blocks.find({ _id: { $in: ids } }, { limit: ids.length }).toArray();
  }
}

/** Names the task and which of that name it is. */
function linkOf({ _id, run }: LoadTask): string {
  return `${_id}/${run}`;
}

function idOfLink(link: string): string {
  const [account = "", sha256 = ""] = link.split("/");
  return idOf(account, sha256);
}

function lengthOf(id: string): number {
  return Number(id.slice(id.lastIndexOf("-") + 1));
}

function idOfObject(key: string): string {
  return key.slice(BLOCKS.length, key.lastIndexOf("."));
}

function chunks(ids: string[]): string[][] {
  return Array.from({ length: Math.ceil(ids.length / CHUNK) }, (_, index) =>
    ids.slice(index * CHUNK, (index + 1) * CHUNK),
  );
}
