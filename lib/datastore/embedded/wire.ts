/**
 * Requests to the embedded store, and how they pass to its background thread and back: documents as BSON, one after the
 * other in a buffer that is handed over, not copied.
 */
import type { Document, IndexDescription } from "mongodb";
import type { ErrorData, ErrorType } from "../../errors.ts";
import { LongshoreError } from "../../errors.ts";
import type { ChangeOne, FindOptions } from "../datastore.ts";
import type { RefusedWrite } from "../refusal.ts";
import { Refusal } from "../refusal.ts";
import type { Shaped } from "./shapes.ts";
import { deserialize, serialize } from "./documents.ts";

/** Each operation's first document holds its arguments. */
export type Operation =
  "declare" | "insert" | "bulk" | "modify" | "change" | "find" | "more" | "closeCursor" | "count" | "explain" | "ping";

export interface Request {
  operation: Operation;
  collection: string;
  documents: Buffer[];
  /** The operations of a "bulk", where they are not documents. */
  shaped?: Shaped;
  /** What a "change" does; it is never handed to another thread. */
  changing?: Changing;
}

export interface Changing {
  ids: readonly string[];
  change: ChangeOne<Document>;
}

interface Arguments {
  filter: Document;
  options: FindOptions & { upsert?: boolean; returnDocument?: "before" | "after" };
  ordered: boolean;
  update: Document;
  indexes?: IndexDescription[];
  cursor: number;
}

const EMPTY = serialize({});

/** What a request's first document holds. */
export function readArguments(head: Uint8Array | undefined): Arguments {
  return deserialize<Arguments>(head ?? EMPTY);
}

/** To the background thread; `checkpoint` moves the log into the file, `close` ends the thread. */
export type Command =
  | { id: number; do: "request"; request: Omit<Request, "documents">; bytes: Uint8Array<ArrayBuffer> }
  | { id: number; do: "checkpoint" | "close" };

export interface Answer {
  id: number;
  failed: boolean;
  bytes: Uint8Array<ArrayBuffer>;
}

interface EncodedError {
  name: string;
  message: string;
  type?: ErrorType;
  data?: ErrorData;
  code?: number;
  keyPattern?: Document;
  keyValue?: Document;
  writeErrors?: RefusedWrite[];
}

export function encodeError(error: unknown): Uint8Array {
  if (error instanceof LongshoreError || error instanceof Refusal) {
    return serialize({ ...error, name: error.name, message: error.message });
  }
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return serialize({ name, message });
}

export function decodeError(bytes: Uint8Array): Error {
  const { name, message, type, data, code, ...rest } = deserialize(bytes) as EncodedError;
  if (type) return new LongshoreError(type, message, data);
  if (code !== undefined) return new Refusal({ code, message, ...rest }, rest.writeErrors);
  const error = new Error(message);
  error.name = name;
  return error;
}
