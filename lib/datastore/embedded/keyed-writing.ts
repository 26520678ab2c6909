/** Does the keyed updates of a call: reads the documents of many together, and leaves what is unusual to the general way. */
import type { AnyBulkWriteOperation, Document, UpdateFilter } from "mongodb";
import type { Key } from "./index-key.ts";
import { KeyedUpdate } from "./keyed-update.ts";
import type { Shape, Shaped } from "./shapes.ts";
import { fill } from "./shapes.ts";
import type { Row, Table } from "./table.ts";

const MAX_PREPARED = 256;
/** Documents that are read at once. */
const READ_TOGETHER = 64;

export interface PreparedShape {
  shape: Shape;
  /** Undefined for operations of another kind. */
  update: KeyedUpdate | undefined;
}

/** How many documents an update found, and how many it changed. */
export interface Counts {
  matchedCount: number;
  modifiedCount: number;
}

export type General = (operation: AnyBulkWriteOperation<Document>) => Counts;

interface Step extends PreparedShape {
  /** Where its values begin. */
  from: number;
}

export class KeyedWriter {
  readonly #table: Table;
  readonly #values: readonly unknown[];
  readonly #steps: Step[] = [];
  /** Does an update of one document in the general way. */
  readonly #general: General;
  /** What was read for the steps before `#readTo`. */
  #rows = new Map<Key, Row>();
  #readTo = 0;

  constructor(table: Table, { shapes, operations, values }: Shaped, general: General) {
    this.#table = table;
    this.#values = values;
    this.#general = general;
    const prepared = shapes.map((text) => prepare(table, text));
    let from = 0;
    for (const place of operations) {
      const step = { ...(prepared[place] as PreparedShape), from };
      this.#steps.push(step);
      from += step.shape.size;
    }
  }

  /** The operation at the place, as it was before it was taken apart. */
  operation(place: number): AnyBulkWriteOperation<Document> {
    const { shape, from } = this.#stepAt(place);
    return fill(shape, this.#values, from) as AnyBulkWriteOperation<Document>;
  }

  /** Does the operation at the place; undefined, and nothing done, where it is not a keyed update. */
  perform(place: number): Counts | undefined {
    const { update, from } = this.#stepAt(place);
    const ids = update?.take(this.#values, from);
    if (!update || !ids) return undefined;
    if (update.many) return this.#performMany(update, place, ids);
    if (place >= this.#readTo) this.#readFrom(place);
    const [id] = ids as [Key];
    return this.#change(update, place, id, this.#rows.get(id));
  }

  /** All or, where one of them is refused, none. */
  #performMany(update: KeyedUpdate, place: number, ids: readonly Key[]): Counts {
    const distinct = [...new Set(ids)];
    return this.#table.atomically(() => {
      const counts = { matchedCount: 0, modifiedCount: 0 };
      for (let from = 0; from < distinct.length; from += READ_TOGETHER) {
        const some = distinct.slice(from, from + READ_TOGETHER);
        const rows = this.#table.rowsOf(some);
        for (const id of some) {
          const { matchedCount, modifiedCount } = this.#change(update, place, id, rows.get(id));
          counts.matchedCount += matchedCount;
          counts.modifiedCount += modifiedCount;
        }
      }
      return counts;
    });
  }

  #change(update: KeyedUpdate, place: number, id: Key, row: Row | undefined): Counts {
    const outcome = row ? update.apply(row.bytes) : "unsure";
    if (row && outcome === "changed") this.#table.update(row.rowid, update.document, update.changedKeys);
    switch (outcome) {
      case "changed":
        return { matchedCount: 1, modifiedCount: 1 };
      case "unchanged":
        return { matchedCount: 1, modifiedCount: 0 };
      case "unmatched":
        return { matchedCount: 0, modifiedCount: 0 };
      case "unsure":
        return this.#general(this.#alone(place, id));
    }
  }

  /** The operation on this document alone. */
  #alone(place: number, id: Key): AnyBulkWriteOperation<Document> {
    const [operation] = Object.values(this.operation(place)) as [{ filter: Document; update: UpdateFilter<Document> }];
    const filter: Document = { ...operation.filter, _id: id };
    return { updateOne: { ...operation, filter } };
  }

  /** Reads for the updates of one document that come next, up to the first that may change what was read. */
  #readFrom(place: number): void {
    const ids = new Set<Key>();
    this.#readTo = place;
    for (const { update, from } of this.#steps.slice(place, place + READ_TOGETHER)) {
      const [id] = (!update?.many && update?.idsOf(this.#values, from)) || [];
      if (id === undefined || ids.has(id)) break;
      ids.add(id);
      this.#readTo += 1;
    }
    this.#rows = this.#table.rowsOf([...ids]);
  }

  #stepAt(place: number): Step {
    return this.#steps[place] as Step;
  }
}

function prepare(table: Table, text: string): PreparedShape {
  const known = table.prepared.get(text);
  if (known) return known;
  const shape = JSON.parse(text) as Shape;
  const prepared = { shape, update: KeyedUpdate.of(shape, table.columns) };
  if (table.prepared.size >= MAX_PREPARED) table.prepared.clear();
  table.prepared.set(text, prepared);
  return prepared;
}
