/** The records of all data spaces in the datastore: a document a user, and one a data space for its overlay. */
import { setTimeout as delay } from "node:timers/promises";
import type { Collection, Datastore } from "../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../lib/datastore/datastore.ts";
import { LongshoreError, unavailable } from "../../lib/errors.ts";
import { GroupCommit } from "../../lib/group-commit.ts";
import type { Change } from "./change.ts";
import { Overlay } from "./overlay.ts";
import { UserRecord } from "./record.ts";

/** A record or an overlay, packed. Nothing is ever removed, so a version comes once. */
interface Stored {
  _id: string;
  v: number;
  d: Buffer;
}

/** Where a user's record is. Neither of the first two holds a slash. */
export interface Place {
  space: string;
  /** Empty where the data space knows no apps. */
  app: string;
}

/** Where in which load a change comes from. */
export interface LoadMark {
  /** Of a data space a later load has a greater number. */
  load: number;
  position: number;
}

export interface UserChange {
  userid: string;
  change: Change;
  /** Of a bulk load: the change is left out where the record has had this one, or a later one, before. */
  mark?: LoadMark;
}

interface Write {
  place: Place;
  changes: readonly UserChange[];
}

interface ColumnWrite {
  space: string;
  change: Change;
}

/** What is to become of a record. */
interface Pending {
  space: string;
  changes: Change[];
}

/** A record as it was read, and as it is to be. */
interface Draft {
  version: number;
  packed: Buffer;
}

/** Users that are read and written together. */
const CHUNK = 500;
/** Requests of one group, and requests that may wait. */
const GROUP = 16;
const WAITING = 1_000;
const TRIES = 30;
const MAX_PAUSE_MS = 20;
const OVERLAYS = 1_000;

export class RecordStore {
  readonly #records: Collection<Stored>;
  readonly #now: () => Date;
  /** One after the other: on one node no write meets another. */
  readonly #writes: GroupCommit<Write, undefined>;
  readonly #columnWrites: GroupCommit<ColumnWrite, undefined>;
  /** As they were read last; a version of one never changes. */
  readonly #overlays = new Map<string, Overlay>();

  private constructor(records: Collection<Stored>, now: () => Date) {
    this.#records = records;
    this.#now = now;
    const limits = { size: GROUP, parallel: 1, waiting: WAITING, overflow: tooMany };
    this.#writes = new GroupCommit(limits, (group) => this.#writeGroup(group));
    this.#columnWrites = new GroupCommit(limits, (group) => this.#writeColumns(group));
  }

  static async open(datastore: Datastore): Promise<RecordStore> {
    return new RecordStore(await datastore.collection<Stored>("saas_records"), () => datastore.now());
  }

  /** Unix seconds. */
  nowSeconds(): number {
    return Math.floor(this.#now().getTime() / 1_000);
  }

  /** The users' records, in their order, with what was written to columns of the data space. */
  async read({ space, app }: Place, userids: readonly string[]): Promise<UserRecord[]> {
    const ids = userids.map((userid) => idOf(space, app, userid));
    const found = await this.#find([space, ...new Set(ids)]);
    const overlay = this.#overlayOf(space, found);
    return ids.map((id) => {
      const stored = found.get(id);
      // Of a user who is asked for twice there is one document: to bring it up twice does no harm.
      const record = new UserRecord(stored?.d);
      overlay.bring(record);
      return record;
    });
  }

  /** Applies the changes in their order, each to its user whole; resolves when they are durable. */
  async write(place: Place, changes: readonly UserChange[]): Promise<void> {
    await this.#writes.add({ place, changes });
  }

  /** Applies the change to every user of the data space, those never written included. */
  async writeColumns(space: string, change: Change): Promise<void> {
    await this.#columnWrites.add({ space, change });
  }

  async #writeGroup(group: Write[]) {
    const pending = new Map<string, Pending>();
    for (const { place, changes } of group) {
      for (const { userid, change } of changes) {
        const id = idOf(place.space, place.app, userid);
        const known = pending.get(id);
        if (known) known.changes.push(change);
        else pending.set(id, { space: place.space, changes: [change] });
      }
    }
    const users = [...pending];
    for (let from = 0; from < users.length; from += CHUNK)
      await this.#writeSome(new Map(users.slice(from, from + CHUNK)));
    return group.map(() => ({ value: undefined }));
  }

  /**
   * Compares and sets. A record that another node changed meanwhile is changed again: what a change sets it sets whatever was
   * there, so to do it twice, with another write in between, leaves what to do it after that one leaves.
   */
  async #writeSome(pending: Map<string, Pending>): Promise<void> {
    let left = pending;
    let drafts = new Map<string, Draft>();
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      if (attempt > 0) await delay(Math.random() * MAX_PAUSE_MS);
      const spaces = new Set([...left.values()].map(({ space }) => space));
      const found = await this.#find([...spaces, ...left.keys()]);
      left = new Map([...left].filter(([id]) => !isWritten(found.get(id), drafts.get(id))));
      if (left.size === 0) return;
      drafts = this.#draft(left, found);
      if (await this.#save(drafts)) return;
    }
    throw new LongshoreError("ABORTED", "too many writes to the same users at the same time");
  }

  #draft(pending: Map<string, Pending>, found: ReadonlyMap<string, Stored>): Map<string, Draft> {
    const seconds = this.nowSeconds();
    const drafts = new Map<string, Draft>();
    for (const [id, { space, changes }] of pending) {
      const stored = found.get(id);
      const record = new UserRecord(stored && Buffer.from(stored.d));
      this.#overlayOf(space, found).bring(record);
      for (const change of changes) record.apply(change);
      record.modifyTime = seconds;
      drafts.set(id, { version: stored?.v ?? 0, packed: record.packed });
    }
    return drafts;
  }

  /** Whether nothing came in between. */
  async #save(drafts: ReadonlyMap<string, Draft>): Promise<boolean> {
    const inserts: Stored[] = [];
    const updates = [];
    for (const [_id, { version: v, packed: d }] of drafts) {
      if (v === 0) inserts.push({ _id, v: 1, d });
      else updates.push({ updateOne: { filter: { _id, v }, update: { $set: { v: v + 1, d } } } });
    }
    const [inserted, updated] = await Promise.allSettled([
      inserts.length > 0 ? this.#records.insertMany(inserts, { ordered: false }) : undefined,
      updates.length > 0 ? this.#records.bulkWrite(updates, { ordered: false }) : undefined,
    ]);
    if (updated.status === "rejected") throw updated.reason;
    if (inserted.status === "rejected" && !isDuplicateKey(inserted.reason)) throw inserted.reason;
    return inserted.status === "fulfilled" && (updated.value?.matchedCount ?? 0) === updates.length;
  }

  async #writeColumns(group: ColumnWrite[]) {
    const bySpace = Map.groupBy(group, ({ space }) => space);
    for (const [space, writes] of bySpace) await this.#writeOverlay(space, writes);
    return group.map(() => ({ value: undefined }));
  }

  async #writeOverlay(space: string, writes: readonly ColumnWrite[]): Promise<void> {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      if (attempt > 0) await delay(Math.random() * MAX_PAUSE_MS);
      const stored = await this.#records.findOne({ _id: space });
      let overlay = new Overlay(stored?.v, stored?.d);
      for (const { change } of writes) overlay = overlay.with(change);
      const next = { v: overlay.version, d: overlay.packed! };
      if (stored) {
        const { matchedCount } = await this.#records.updateOne({ _id: space, v: stored.v }, { $set: next });
        if (matchedCount === 1) return;
      } else if (await this.#insert({ _id: space, ...next })) return;
    }
    throw unavailable(`too many column writes to data space ${space} at the same time`);
  }

  /** False where it is there already. */
  async #insert(document: Stored): Promise<boolean> {
    try {
      await this.#records.insertOne(document);
      return true;
    } catch (error) {
      if (isDuplicateKey(error)) return false;
      throw error;
    }
  }

  async #find(ids: string[]): Promise<Map<string, Stored>> {
    const found = await this.#records.find({ _id: { $in: ids } }, { limit: ids.length }).toArray();
    return new Map(found.map((stored) => [stored._id, stored]));
  }

  #overlayOf(space: string, found: ReadonlyMap<string, Stored>): Overlay {
    const stored = found.get(space);
    const known = this.#overlays.get(space);
    if (known?.version === (stored?.v ?? 0)) return known;
    const overlay = new Overlay(stored?.v, stored?.d);
    if (this.#overlays.size >= OVERLAYS) this.#overlays.clear();
    this.#overlays.set(space, overlay);
    return overlay;
  }
}

function idOf(space: string, app: string, userid: string): string {
  return `${space}/${app}/${userid}`;
}

/** Whether the draft is what is stored, or what another node has made the same. */
function isWritten(stored: Stored | undefined, draft: Draft | undefined): boolean {
  return draft !== undefined && stored?.v === draft.version + 1 && stored.d.equals(draft.packed);
}

function tooMany(): LongshoreError {
  return new LongshoreError("RESOURCE_EXHAUSTED", "too many writes wait on this node");
}
