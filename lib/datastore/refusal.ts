/** The error of an operation that the store refused, in one form for both adapters. */
import type { Document } from "mongodb";

/** MongoDB's numbers of errors. */
export const BAD_VALUE = 2;
export const TOO_LARGE = 10334;
export const DUPLICATE_KEY = 11000;

/** One refused operation of an insertMany or a bulkWrite. */
export interface RefusedWrite {
  /** Place of the operation in the call. */
  index: number;
  code: number;
  message: string;
  keyPattern?: Document;
  keyValue?: Document;
}

export class Refusal extends Error {
  /** MongoDB's number of the error: 11000 where a unique index refused a document. */
  readonly code: number;
  readonly keyPattern?: Document;
  readonly keyValue?: Document;
  /** All that were refused, where the call held several writes; the fields above tell of the first. */
  readonly writeErrors?: RefusedWrite[];

  constructor(refused: Omit<RefusedWrite, "index">, writeErrors?: RefusedWrite[]) {
    super(refused.message);
    this.name = "Refusal";
    this.code = refused.code;
    this.keyPattern = refused.keyPattern;
    this.keyValue = refused.keyValue;
    this.writeErrors = writeErrors;
  }
}

/** Throws where any write of the call was refused. */
export function throwRefused(writeErrors: RefusedWrite[]): void {
  const first = writeErrors[0];
  if (first) throw new Refusal(first, writeErrors);
}
