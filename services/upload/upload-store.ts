/** Uploads in the datastore. */
import { randomUUID } from "node:crypto";
import type { Collection, Datastore, Filter, IndexDescription } from "../../lib/datastore/datastore.ts";
import { LongshoreError } from "../../lib/errors.ts";
import type { Announced } from "./request.ts";
import type { Upload, UploadContent, UploadState } from "./upload.ts";

export interface UploadPlace {
  id: string;
  createTime: Date;
}

const INDEXES: IndexDescription[] = [
  { name: "created", key: { createTime: -1, _id: -1 } },
  { name: "state", key: { state: 1, createTime: -1, _id: -1 } },
  { name: "due", key: { removeAt: 1 } },
  {
    name: "parts",
    key: { "parts.upload": 1 },
    partialFilterExpression: { "parts.upload": { $exists: true } },
  },
];
const NEWEST_FIRST = { createTime: -1, _id: -1 } as const;
/** URLs that wait for their object. They are counted now and then: a few more do no harm. */
const MAX_ISSUED = 100_000;
const COUNT_EVERY = 1_000;
/** A PUT that began before its URL expired may take so long. */
const GRACE_MS = 3_600_000;
const NEVER = new Date(0);

export class UploadStore {
  readonly #uploads: Collection<Upload>;
  readonly #now: () => Date;
  /** How long a completed one is kept, in milliseconds. */
  readonly #retention: number;
  #untilCount = 0;

  private constructor(uploads: Collection<Upload>, now: () => Date, retention: number) {
    this.#uploads = uploads;
    this.#now = now;
    this.#retention = retention;
  }

  static async open(datastore: Datastore, retention: number): Promise<UploadStore> {
    const uploads = await datastore.collection<Upload>("uploads", INDEXES);
    return new UploadStore(uploads, () => datastore.now(), retention);
  }

  now(): Date {
    return this.#now();
  }

  /** Stores an upload that may be put for `ttl` milliseconds. RESOURCE_EXHAUSTED where very many wait already. */
  async issue(announced: Announced, ttl: number, id: string, parts?: Upload["parts"]): Promise<Upload> {
    await this.#demandRoom();
    const createTime = this.#now();
    const expireTime = new Date(createTime.getTime() + ttl);
    const upload: Upload = {
      _id: id,
      state: "ISSUED",
      ...announced,
      ...(parts && { parts }),
      createTime,
      expireTime,
      removeAt: new Date(expireTime.getTime() + GRACE_MS),
      leaseUntil: NEVER,
    };
    await this.#uploads.insertOne(upload);
    return upload;
  }

  find(id: string): Promise<Upload | null> {
    return this.#uploads.findOne({ _id: id });
  }

  /** By the object store's own id of an upload in parts. */
  findByParts(upload: string): Promise<Upload | null> {
    return this.#uploads.findOne({ "parts.upload": upload });
  }

  /** The last made first, from after that place on. */
  page(state: UploadState | undefined, limit: number, after: UploadPlace | undefined): Promise<Upload[]> {
    const filters: Filter<Upload>[] = state ? [{ state }] : [];
    if (after) {
      const { id, createTime } = after;
      filters.push(
        { createTime: { $lte: createTime } },
        { $or: [{ createTime: { $lt: createTime } }, { _id: { $lt: id } }] },
      );
    }
    const options = { sort: NEWEST_FIRST, limit, hint: state ? "state" : "created" };
    return this.#uploads.find(filters.length > 0 ? { $and: filters } : {}, options).toArray();
  }

  /** Those whose time has come. */
  due(limit: number): Promise<Upload[]> {
    return this.#uploads.find({ removeAt: { $lte: this.#now() } }, { sort: { removeAt: 1 }, limit }).toArray();
  }

  /** Takes an upload as it is in `state` for one call alone, for `ms`; null where another has it, or it is in another state. */
  lease(id: string, state: UploadState, ms: number): Promise<Upload | null> {
    const now = this.#now();
    const $set = { leaseUntil: new Date(now.getTime() + ms), leaseToken: randomUUID() };
    return this.#uploads.findOneAndUpdate(
      { _id: id, state, leaseUntil: { $lte: now } },
      { $set },
      { returnDocument: "after" },
    );
  }

  async release({ _id, leaseToken }: Upload): Promise<void> {
    await this.#uploads.updateOne({ _id, leaseToken }, { $set: { leaseUntil: NEVER }, $unset: { leaseToken: "" } });
  }

  /** Makes a leased upload a completed one; null where the lease has been lost. */
  complete({ _id, leaseToken }: Upload, content: UploadContent): Promise<Upload | null> {
    const completeTime = this.#now();
    const removeAt = new Date(completeTime.getTime() + this.#retention);
    const $set = { ...content, state: "COMPLETED" as const, completeTime, removeAt, leaseUntil: NEVER };
    return this.#uploads.findOneAndUpdate(
      { _id, leaseToken },
      { $set, $unset: { leaseToken: "" } },
      { returnDocument: "after" },
    );
  }

  /** Keeps a completed upload for a service, until that deletes it; null where it is not there or another's. */
  claim(id: string, owner: string): Promise<Upload | null> {
    const free = { _id: id, state: "COMPLETED" as const, leaseUntil: { $lte: this.#now() } };
    return this.#uploads.findOneAndUpdate(
      { $and: [free, { $or: [{ claimedBy: { $exists: false } }, { claimedBy: owner }] }] },
      { $set: { claimedBy: owner }, $unset: { removeAt: "" } },
      { returnDocument: "after" },
    );
  }

  /** Its owner needs it no longer: it is kept as one that was completed now. */
  async unclaim(id: string, owner: string): Promise<void> {
    const removeAt = new Date(this.#now().getTime() + this.#retention);
    await this.#uploads.updateOne({ _id: id, claimedBy: owner }, { $set: { removeAt }, $unset: { claimedBy: "" } });
  }

  /** Removes a leased upload. */
  async remove({ _id, leaseToken }: Upload): Promise<void> {
    await this.#uploads.deleteOne({ _id, leaseToken });
  }

  async #demandRoom(): Promise<void> {
    if (this.#untilCount > 0) {
      this.#untilCount -= 1;
      return;
    }
    const count = await this.#uploads.countDocuments({ state: "ISSUED" }, { limit: MAX_ISSUED, hint: "state" });
    if (count >= MAX_ISSUED) {
      const message = `${MAX_ISSUED} uploads wait for their objects already: try again when some have expired`;
      throw new LongshoreError("RESOURCE_EXHAUSTED", message);
    }
    this.#untilCount = COUNT_EVERY;
  }
}
