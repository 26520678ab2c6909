/**
 * Updates of documents that are named by their `_id`, under conditions of plain equality, which set, remove or add to whole
 * fields: what services do most. Such an update is understood once for all of its shape, and then changes the bytes of a
 * document without decoding it. Where it cannot be sure to do what the general way does, it leaves it to that.
 */
import { ARRAY, FIRST, readNumber, sameBytes } from "./bson-bytes.ts";
import { ElementBuffer, FieldFinder } from "./elements.ts";
import type { Key } from "./index-key.ts";
import { encodeKey, NULL_KEY } from "./index-key.ts";
import type { Shape } from "./shapes.ts";
import type { Column, ColumnKeys } from "./table.ts";

/** A longer list is for the general way. */
const MAX_IDS = 1_000;
/** Of an update's values. With the largest document that is read for it they fit into the buffer of the result. */
const OPERAND_BYTES = 512 * 1024;
const RESULT_BYTES = 1024 * 1024;
/** A column is a bit of a number. */
const MAX_COLUMNS = 30;

const OPERATORS = new Set(["$set", "$inc", "$unset"]);

/** One thread runs one update after the other: all of them share what they write to. */
const operands = new ElementBuffer(OPERAND_BYTES);
const result = new ElementBuffer(RESULT_BYTES);

interface Operand {
  field: number;
  /** Place of its value among the operation's. */
  slot: number;
  value: unknown;
  /** Where its element stands in the buffer of operands. */
  start: number;
  end: number;
}

interface Change extends Operand {
  operator: string;
  /** The place of the field's column, negative where it has none. */
  column: number;
  key: Key;
}

/** What became of a document. */
export type Outcome = "changed" | "unchanged" | "unmatched" | "unsure";

export class KeyedUpdate {
  readonly many: boolean;
  readonly #idSlot: number;
  readonly #listsIds: boolean;
  readonly #names: readonly Buffer[];
  readonly #tests: readonly Operand[];
  readonly #changes: readonly Change[];
  /** The change of each field, undefined where it is only tested. */
  readonly #changeOf: readonly (Change | undefined)[];
  readonly #finder: FieldFinder;
  readonly #changed: ColumnKeys = { columns: 0, keys: [] };

  private constructor(many: boolean, { idSlot, listsIds, names, tests, changes }: Parts) {
    this.many = many;
    this.#idSlot = idSlot;
    this.#listsIds = listsIds;
    this.#names = names.map((name) => Buffer.from(name));
    this.#tests = tests;
    this.#changes = changes;
    this.#changeOf = names.map((_, field) => changes.find((change) => change.field === field));
    this.#finder = new FieldFinder(names);
  }

  /** Undefined for an operation of another kind. */
  static of(shape: Shape, columns: readonly Column[]): KeyedUpdate | undefined {
    const [kind = ""] = shape.names;
    const [operation] = shape.parts;
    if ((kind !== "updateOne" && kind !== "updateMany") || !operation) return undefined;
    const parts = columns.length > MAX_COLUMNS ? undefined : understand(operation, columns);
    const many = kind === "updateMany";
    // Of a list's documents, `updateOne` changes the first one in an order that is not ours to say.
    return parts && (many || !parts.listsIds) ? new KeyedUpdate(many, parts) : undefined;
  }

  /** Takes an operation's values; answers the documents' IDs, undefined where the operation is not one for this way. */
  take(values: readonly unknown[], from: number): Key[] | undefined {
    operands.length = 0;
    try {
      for (const test of this.#tests) if (!this.#takeTest(test, values[from + test.slot])) return undefined;
      for (const change of this.#changes) if (!this.#takeChange(change, values[from + change.slot])) return undefined;
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
    return this.idsOf(values, from);
  }

  /** The IDs alone. */
  idsOf(values: readonly unknown[], from: number): Key[] | undefined {
    const value = values[from + this.#idSlot];
    const ids: unknown = this.#listsIds ? value : [value];
    return Array.isArray(ids) && ids.length <= MAX_IDS && ids.every(isId) ? ids : undefined;
  }

  /** Tries the operation, whose values were taken, on a document that has its ID. */
  apply(bytes: Uint8Array): Outcome {
    if (!this.#finder.find(bytes)) return "unsure";
    for (const test of this.#tests) {
      const outcome = this.#test(test, bytes);
      if (outcome !== "matched") return outcome;
    }
    return this.#patch(bytes);
  }

  /** The document as the last `apply` changed it, until the next. */
  get document(): Uint8Array {
    return result.bytes.subarray(0, result.length);
  }

  /** The keys that changed with it. */
  get changedKeys(): ColumnKeys {
    return this.#changed;
  }

  #takeTest(test: Operand, value: unknown): boolean {
    if (Number.isNaN(value) || Array.isArray(value) || value instanceof Uint8Array) return false;
    this.#takeOperand(test, value);
    return true;
  }

  #takeChange(change: Change, value: unknown): boolean {
    if (change.operator === "$unset") return true;
    if (Number.isNaN(value) || (change.operator === "$inc" && !isIncrement(value))) return false;
    this.#takeOperand(change, value);
    if (change.column < 0) return true;
    const key = encodeKey(value);
    change.key = key ?? NULL_KEY;
    return key !== undefined;
  }

  #takeOperand(operand: Operand, value: unknown): void {
    operand.value = value;
    operand.start = operands.length;
    operands.add(this.#names[operand.field] ?? EMPTY, value);
    operand.end = operands.length;
  }

  /** Equal values are equal bytes, but for zero and numbers that arithmetic has made. */
  #test({ field, value, start, end }: Operand, bytes: Uint8Array): "matched" | "unmatched" | "unsure" {
    const at = this.#finder.start(field);
    if (at < 0) return value === null ? "matched" : "unmatched";
    const type = bytes[at] ?? 0;
    if (type === ARRAY) return "unsure";
    const length = this.#finder.end(field) - at;
    if (length === end - start && sameBytes(bytes, at, operands.bytes, start, length)) return "matched";
    if (typeof value !== "number") return "unmatched";
    return readNumber(bytes, type, this.#finder.value(field)) === value ? "matched" : "unmatched";
  }

  #patch(bytes: Uint8Array): Outcome {
    const finder = this.#finder;
    this.#changed.columns = 0;
    result.length = FIRST;
    let copied = FIRST;
    let changed = false;
    for (let index = 0; index < finder.foundCount; index += 1) {
      const field = finder.found[index] ?? 0;
      const change = this.#changeOf[field];
      if (!change || this.#isSame(change, bytes)) continue;
      result.copy(bytes, copied, finder.start(field));
      copied = finder.end(field);
      changed = true;
      if (change.operator === "$inc") {
        if (!this.#increment(change, bytes)) return "unsure";
      } else {
        this.#write(change);
      }
    }
    result.copy(bytes, copied, bytes.length - 1);
    for (const change of this.#changes) {
      if (finder.start(change.field) >= 0 || change.operator === "$unset") continue;
      this.#write(change);
      changed = true;
    }
    if (!changed) return "unchanged";
    result.end();
    return "changed";
  }

  /** The same value set again, or too little added to a large number. */
  #isSame({ operator, field, value, start, end }: Change, bytes: Uint8Array): boolean {
    const at = this.#finder.start(field);
    if (operator === "$inc") {
      const current = readNumber(bytes, bytes[at] ?? 0, this.#finder.value(field));
      return current !== undefined && current + (value as number) === current;
    }
    const length = this.#finder.end(field) - at;
    return operator === "$set" && length === end - start && sameBytes(bytes, at, operands.bytes, start, length);
  }

  /** What is set, or added to nothing; of what is removed only the key. */
  #write(change: Change): void {
    if (change.operator === "$unset") return this.#noteKey(change.column, NULL_KEY);
    result.copy(operands.bytes, change.start, change.end);
    this.#noteKey(change.column, change.key);
  }

  #increment({ field, value, column }: Change, bytes: Uint8Array): boolean {
    const current = readNumber(bytes, bytes[this.#finder.start(field)] ?? 0, this.#finder.value(field));
    if (current === undefined) return false;
    const sum = current + (value as number);
    const key = encodeKey(sum);
    if (key === undefined) return false;
    result.add(this.#names[field] ?? EMPTY, sum);
    this.#noteKey(column, key);
    return true;
  }

  #noteKey(column: number, key: Key): void {
    if (column < 0) return;
    this.#changed.columns |= 1 << column;
    this.#changed.keys[column] = key;
  }
}

const EMPTY = Buffer.alloc(0);

interface Parts {
  idSlot: number;
  listsIds: boolean;
  names: string[];
  tests: Operand[];
  changes: Change[];
}

/** What an operation consists of; undefined where it holds more than this way can do. */
function understand({ names, parts }: Shape, columns: readonly Column[]): Parts | undefined {
  const [filter, update] = parts;
  if (names.length !== 2 || names[0] !== "filter" || names[1] !== "update" || !filter || !update) return undefined;
  const understood: Parts = { idSlot: -1, listsIds: false, names: [], tests: [], changes: [] };
  const fieldOf = (name: string) => {
    const known = understood.names.indexOf(name);
    return known < 0 ? understood.names.push(name) - 1 : known;
  };
  let slot = 0;
  for (const [index, name] of filter.names.entries()) {
    const part = filter.parts[index];
    if (name === "_id" && (!part || isList(part))) {
      understood.idSlot = slot;
      understood.listsIds = !!part;
    } else if (!part && isField(name)) {
      understood.tests.push({ field: fieldOf(name), slot, value: null, start: 0, end: 0 });
    } else {
      return undefined;
    }
    slot += part ? part.size : 1;
  }
  for (const [index, operator] of update.names.entries()) {
    const fields = update.parts[index];
    if (!OPERATORS.has(operator) || !fields) return undefined;
    for (const [place, name] of fields.names.entries()) {
      // Of a path into the field, or of two changes of it, the general way knows what to say.
      const throughField = columns.some(({ parts: path }) => path.length > 1 && path[0] === name);
      const twice = understood.changes.some(({ field }) => understood.names[field] === name);
      if (fields.parts[place] || !isField(name) || throughField || twice) return undefined;
      const column = columns.findIndex(({ path }) => path === name);
      const operand = { field: fieldOf(name), slot: slot + place, value: null, start: 0, end: 0 };
      understood.changes.push({ ...operand, operator, column, key: NULL_KEY });
    }
    slot += fields.size;
  }
  return understood.idSlot < 0 ? undefined : understood;
}

function isList({ names, parts }: Shape): boolean {
  return names.length === 1 && names[0] === "$in" && !parts[0];
}

function isField(name: string): boolean {
  return name !== "_id" && name !== "" && !name.startsWith("$") && !name.includes(".") && !name.includes("\0");
}

function isIncrement(value: unknown): boolean {
  return typeof value === "number" && Number.isFinite(value) && value !== 0;
}

function isId(value: unknown): value is Key {
  return typeof value === "string" || (typeof value === "number" && encodeKey(value) !== undefined);
}
