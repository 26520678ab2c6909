/**
 * protobufjs marks an `optional` field that is given as if it were the one of a oneof: `_Rate: "Rate"`. Actions see the field
 * or do not see it, and no marks.
 */
import protobuf from "protobufjs";
import { isSynthetic } from "../../lib/protobuf/file-descriptors.ts";

type Message = Record<string, unknown>;

/** What takes the marks out of a message of the type; undefined where there can be none. */
export function unmarker(type: protobuf.Type): ((message: Message) => void) | undefined {
  return isMarked(type, new Set()) ? (message) => unmark(type, message) : undefined;
}

function isMarked(type: protobuf.Type, seen: Set<protobuf.Type>): boolean {
  if (seen.has(type)) return false;
  seen.add(type);
  return type.oneofsArray.some(isSynthetic) || messageFields(type).some(([, inner]) => isMarked(inner, seen));
}

function unmark(type: protobuf.Type, message: Message): void {
  for (const oneof of type.oneofsArray) if (isSynthetic(oneof)) Reflect.deleteProperty(message, oneof.name);
  for (const [field, inner] of messageFields(type)) {
    const value = message[field.name];
    if (typeof value !== "object" || value === null) continue;
    const messages = field.repeated || field.map ? Object.values(value) : [value];
    for (const one of messages as Message[]) unmark(inner, one);
  }
}

function messageFields(type: protobuf.Type): [protobuf.Field, protobuf.Type][] {
  return type.fieldsArray.flatMap((field): [protobuf.Field, protobuf.Type][] =>
    field.resolvedType instanceof protobuf.Type ? [[field, field.resolvedType]] : [],
  );
}
