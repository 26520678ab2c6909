/** Takes the keys of a document out of its bytes: most that is inserted need not be decoded for them. */
import { ARRAY, OBJECT } from "./bson-bytes.ts";
import { FieldFinder, keyOfElement } from "./elements.ts";
import type { Key } from "./index-key.ts";
import { NULL_KEY } from "./index-key.ts";
import type { Column, Keys } from "./table.ts";

const ID = 0;
const NONE: Column[] = [];

export class KeyReader {
  readonly #finder: FieldFinder;
  /** For each column the field that its path begins with. */
  readonly #fields: number[];
  readonly #columns: readonly Column[];

  constructor(columns: readonly Column[]) {
    const names = [...new Set(["_id", ...columns.map(({ parts: [first = ""] }) => first)])];
    this.#finder = new FieldFinder(names);
    this.#fields = columns.map(({ parts: [first = ""] }) => names.indexOf(first));
    this.#columns = columns;
  }

  /** The `_id` and a key for each column; undefined where one of them takes decoding to tell, or to refuse. */
  read(bytes: Buffer): (Keys & { id: Key }) | undefined {
    if (!this.#finder.find(bytes)) return undefined;
    const id = this.#keyAt(bytes, ID);
    const keys: Key[] = [];
    for (const [index, field] of this.#fields.entries()) {
      const key = this.#columns[index]?.parts.length === 1 ? this.#keyAt(bytes, field) : this.#keyWithin(bytes, field);
      if (key === undefined) return undefined;
      keys.push(key);
    }
    return typeof id === "string" || (typeof id === "number" && id !== NULL_KEY) ? { id, keys, wild: NONE } : undefined;
  }

  #keyAt(bytes: Buffer, field: number): Key | undefined {
    const at = this.#finder.start(field);
    return at < 0 ? NULL_KEY : keyOfElement(bytes, bytes[at] ?? 0, this.#finder.value(field));
  }

  /** Of a path that leads into the field: nothing is there where the field is no document. */
  #keyWithin(bytes: Buffer, field: number): Key | undefined {
    const at = this.#finder.start(field);
    return at >= 0 && (bytes[at] === OBJECT || bytes[at] === ARRAY) ? undefined : NULL_KEY;
  }
}
