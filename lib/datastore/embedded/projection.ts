/** Which fields of a found document are answered. */
import type { Document } from "mongodb";
import { Query } from "mingo/query";
import { deserialize, serialize } from "./documents.ts";
import { FieldFinder } from "./elements.ts";
import { context } from "./matching.ts";

type Project = (bytes: Uint8Array) => Uint8Array;

/** The projection as a function on the bytes of a document; undefined where all fields are wanted. */
export function compileProjection(projection: Document | undefined): Project | undefined {
  if (!projection || Object.keys(projection).length === 0) return undefined;
  const fields = Object.entries(projection);
  const general = compileGeneral(projection);
  // To leave out whole fields is the common case, and takes no decoding.
  if (fields.some(([path, wanted]) => wanted || path.includes("."))) return general;
  const finder = new FieldFinder(fields.map(([path]) => path));
  return (bytes) => (finder.find(bytes) ? without(bytes, finder) : general(bytes));
}

function compileGeneral(projection: Document): Project {
  const query = new Query({}, { context, scriptEnabled: false });
  return (bytes) => serialize(query.find<Document>([deserialize(bytes)], projection).all()[0] ?? {});
}

/** The document without the fields that were found. */
function without(bytes: Uint8Array, finder: FieldFinder): Uint8Array {
  if (finder.foundCount === 0) return bytes;
  const kept = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  let from = 0;
  for (let index = 0; index <= finder.foundCount; index += 1) {
    const field = finder.found[index] ?? 0;
    const end = index < finder.foundCount ? finder.start(field) : bytes.length;
    kept.set(bytes.subarray(from, end), length);
    length += end - from;
    from = finder.end(field);
  }
  kept.writeInt32LE(length, 0);
  return kept.subarray(0, length);
}
