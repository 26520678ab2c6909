/** The records of all data spaces in the datastore: a document a user, and one a data space for its overlay. */
import type { Collection, Datastore } from "../../lib/datastore/datastore.ts";
import { LongshoreError } from "../../lib/errors.ts";
import { GroupCommit } from "../../lib/group-commit.ts";
import type { Change } from "./change.ts";
import { Overlay } from "./overlay.ts";
import type { LoadMark } from "./record.ts";
import { UserRecord } from "./record.ts";

/** A record or an overlay, packed; `v` is the overlay's version. */
interface Stored {
  _id: string;
  v?: number;
  d: Buffer;
}

/** Where a user's record is. Neither of the first two holds a slash. */
export interface Place {
  space: string;
  /** Empty where the data space knows no apps. */
  app: string;
}

export interface UserChange {
  userid: string;
  change: Change;
  /** Where it is an item of a bulk load: it is applied once, and not after a later one. */
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
  changes: UserChange[];
}

/** Users that are read and written together. */
const CHUNK = 500;
/** Requests of one group, and requests that may wait. */
const GROUP = 16;
const WAITING = 1_000;
/** Changes that may wait: some 200 MB at most. A request is let in where it alone has more. */
const WAITING_CHANGES = 200_000;
const OVERLAYS = 1_000;

export class RecordStore {
  readonly #records: Collection<Stored>;
  readonly #now: () => Date;
  /** One after the other: on one node no write meets another. */
  readonly #writes: GroupCommit<Write, undefined>;
  readonly #columnWrites: GroupCommit<ColumnWrite, undefined>;
  /** As they were read last: one is taken to be what is stored where its bytes are. */
  readonly #overlays = new Map<string, Overlay>();

  #waitingChanges = 0;

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
    const overlay = this.#overlayOf(space, found.get(space));
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
    if (this.#waitingChanges > 0 && this.#waitingChanges + changes.length > WAITING_CHANGES) throw tooMany();
    this.#waitingChanges += changes.length;
    try {
      await this.#writes.add({ place, changes });
    } finally {
      this.#waitingChanges -= changes.length;
    }
  }

  /** Applies the change to every user of the data space, those never written included. */
  async writeColumns(space: string, change: Change): Promise<void> {
    await this.#columnWrites.add({ space, change });
  }

  async #writeGroup(group: Write[]) {
    const pending = new Map<string, Pending>();
    for (const { place, changes } of group) {
      for (const change of changes) {
        const id = idOf(place.space, place.app, change.userid);
        const known = pending.get(id);
        if (known) known.changes.push(change);
        else pending.set(id, { space: place.space, changes: [change] });
      }
    }
    const users = [...pending];
    for (let from = 0; from < users.length; from += CHUNK) {
      await this.#writeSome(new Map(users.slice(from, from + CHUNK)));
    }
    return group.map(() => ({ value: undefined }));
  }

  async #writeSome(pending: ReadonlyMap<string, Pending>): Promise<void> {
    const seconds = this.nowSeconds();
    const spaces = new Set([...pending.values()].map(({ space }) => space));
    const overlays = new Map<string, Overlay>();
    // The overlays come first: what is brought up to them is theirs.
    await this.#records.changeEach([...spaces, ...pending.keys()], (stored, id) => {
      const known = pending.get(id);
      if (!known) {
        overlays.set(id, this.#overlayOf(id, stored));
        return null;
      }
      const record = new UserRecord(stored?.d);
      overlays.get(known.space)!.bring(record);
      const applied = known.changes.filter(({ change, mark }) => {
        if (mark && !record.mark(mark)) return false;
        record.apply(change);
        return true;
      });
      if (applied.length === 0) return null;
      record.modifyTime = seconds;
      return { _id: id, d: record.packed };
    });
  }

  async #writeColumns(group: ColumnWrite[]) {
    const bySpace = Map.groupBy(group, ({ space }) => space);
    for (const [space, writes] of bySpace) {
      await this.#records.changeEach([space], (stored) => {
        let overlay = new Overlay(stored?.v, stored?.d);
        for (const { change } of writes) overlay = overlay.with(change);
        return { _id: space, v: overlay.version, d: overlay.packed! };
      });
    }
    return group.map(() => ({ value: undefined }));
  }

  async #find(ids: string[]): Promise<Map<string, Stored>> {
    const found = await this.#records.find({ _id: { $in: ids } }, { limit: ids.length }).toArray();
    return new Map(found.map((stored) => [stored._id, stored]));
  }

  #overlayOf(space: string, stored: Stored | null | undefined): Overlay {
    const known = this.#overlays.get(space);
    // A version that was rolled back may come again as another one.
    if (known?.version === (stored?.v ?? 0) && (!stored || known.packed?.equals(stored.d))) return known;
    const overlay = new Overlay(stored?.v, stored?.d);
    if (this.#overlays.size >= OVERLAYS) this.#overlays.clear();
    this.#overlays.set(space, overlay);
    return overlay;
  }
}

function idOf(space: string, app: string, userid: string): string {
  return `${space}/${app}/${userid}`;
}

function tooMany(): LongshoreError {
  return new LongshoreError("RESOURCE_EXHAUSTED", "too many writes wait on this node");
}
