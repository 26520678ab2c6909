/**
 * What passes between the embedded store and its thread: small envelopes beside one buffer that is handed over, not
 * copied. The buffer holds BSON documents one after the other; an envelope says which of them are its own.
 */
import type { Document } from "mongodb";
import type { ErrorData, ErrorType } from "../../errors.ts";
import { LongshoreError } from "../../errors.ts";
import type { RefusedWrite } from "../refusal.ts";
import { Refusal } from "../refusal.ts";
import type { Shaped } from "./shapes.ts";
import { deserialize, joinBytes, serialize, splitDocuments } from "./documents.ts";

/** Each operation's first document holds its arguments. */
export type Operation =
  "declare" | "insert" | "bulk" | "modify" | "find" | "more" | "closeCursor" | "count" | "explain" | "ping";

export interface Envelope {
  id: number;
  from: number;
  to: number;
}

export interface Request extends Envelope {
  operation: Operation;
  collection: string;
  /** The operations of a "bulk", where they are not documents. */
  shaped?: Shaped;
}

export interface Answer extends Envelope {
  failed: boolean;
}

export interface Message<E extends Envelope> {
  envelopes: E[];
  bytes: Uint8Array<ArrayBuffer>;
}

/** A message in the making. */
export class Packing<E extends Envelope> {
  #envelopes: E[] = [];
  #parts: Uint8Array[] = [];
  #length = 0;

  get size(): number {
    return this.#envelopes.length;
  }

  add(envelope: Omit<E, "from" | "to">, documents: readonly Uint8Array[]): void {
    const from = this.#length;
    for (const document of documents) {
      this.#parts.push(document);
      this.#length += document.length;
    }
    this.#envelopes.push({ ...envelope, from, to: this.#length } as unknown as E);
  }

  finish(): Message<E> {
    const message = { envelopes: this.#envelopes, bytes: joinBytes(this.#parts, this.#length) };
    this.#envelopes = [];
    this.#parts = [];
    this.#length = 0;
    return message;
  }
}

export function documentsOf<E extends Envelope>({ bytes }: Message<E>, envelope: E): Buffer[] {
  return splitDocuments(bytes.subarray(envelope.from, envelope.to));
}

/** What the thread says when it is done with the opening. */
export type Opening = { opened: true } | { opened: false; error: Uint8Array };

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
