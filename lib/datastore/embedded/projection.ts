/** Which fields of a found document are answered. */
import type { Document } from "mongodb";
import { Query } from "mingo/query";
import { deserialize, serialize } from "./documents.ts";
import { matchingOptions } from "./matching.ts";

/** The projection as a function on the bytes of a document; undefined where all fields are wanted. */
export function compileProjection(projection: Document | undefined): ((bytes: Uint8Array) => Uint8Array) | undefined {
  if (!projection || Object.keys(projection).length === 0) return undefined;
  const query = new Query({}, matchingOptions);
  return (bytes) => serialize(query.find<Document>([deserialize(bytes)], projection).all()[0] ?? {});
}
