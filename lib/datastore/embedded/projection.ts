/** Which fields of a found document are answered. */
import type { Document } from "mongodb";
import { Query } from "mingo/query";
import { deserialize, serialize } from "./documents.ts";
import { context } from "./matching.ts";

/** The projection as a function on the bytes of a document; undefined where all fields are wanted. */
export function compileProjection(projection: Document | undefined): ((bytes: Uint8Array) => Uint8Array) | undefined {
  if (!projection || Object.keys(projection).length === 0) return undefined;
  const fields = Object.entries(projection);
  // To leave out whole fields is the common case, and mingo copies the rest field by field.
  if (fields.every(([path, wanted]) => !wanted && !path.includes("."))) {
    return (bytes) => {
      const document = deserialize(bytes);
      for (const [path] of fields) delete document[path];
      return serialize(document);
    };
  }
  const query = new Query({}, { context, scriptEnabled: false });
  return (bytes) => serialize(query.find<Document>([deserialize(bytes)], projection).all()[0] ?? {});
}
