/** How a call ends (https://grpc.io/docs/guides/status-codes/), and how that is written. */
import { headerBlock } from "../http2/header-block.ts";

export const Code = {
  OK: 0,
  CANCELLED: 1,
  DEADLINE_EXCEEDED: 4,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;

/** Of metadata: text by names, bytes by names that end in `-bin`. */
export type Metadata = Record<string, string | Buffer>;

export interface Status {
  code: number;
  details: string;
  metadata?: Metadata;
}

type Field = readonly [name: string, value: string];

const RESPONSE: Field[] = [
  [":status", "200"],
  ["content-type", "application/grpc"],
  ["grpc-accept-encoding", "identity,gzip,deflate"],
];
const RESPONSE_BLOCK = headerBlock(RESPONSE);
const OK_BLOCK = headerBlock([["grpc-status", "0"]]);
const OK_STATUS: Status = { code: Code.OK, details: "" };

/** The header block that begins an answer. */
export function responseBlock(metadata?: Metadata): Buffer {
  return metadata ? Buffer.concat([RESPONSE_BLOCK, headerBlock(metadataFields(metadata))]) : RESPONSE_BLOCK;
}

/** The header block that ends an answer; `alone` where it is the whole answer. */
export function trailersBlock({ code, details, metadata }: Status = OK_STATUS, alone = false): Buffer {
  if (code === Code.OK && !metadata && !alone) return OK_BLOCK;
  const fields: Field[] = [["grpc-status", String(code)]];
  if (details) fields.push(["grpc-message", percentEncode(details)]);
  return headerBlock([...(alone ? RESPONSE : []), ...fields, ...metadataFields(metadata ?? {})]);
}

/** An answer of plain HTTP, to what is no call. */
export function httpBlock(status: number): Buffer {
  return headerBlock([[":status", String(status)]]);
}

/** Names that a service may give: not one of the transport's, which would break the call. */
const METADATA_NAME = /^(?!grpc-(?!status-details-bin$)|(?:te|connection|content-type|content-length)$)[0-9a-z_.-]+$/;
/** Characters of a header's value, others left out: it must not end early nor begin another. */
const NOT_OF_A_VALUE = /[^\x20-\x7e]/g;

function metadataFields(metadata: Metadata): Field[] {
  const fields: Field[] = [];
  for (const [name, value] of Object.entries(metadata)) {
    const text = typeof value === "string" ? value.replace(NOT_OF_A_VALUE, "").trim() : value.toString("base64");
    if (METADATA_NAME.test(name.toLowerCase())) fields.push([name.toLowerCase(), text]);
  }
  return fields;
}

/**
 * As `grpc-message` has it: the bytes of UTF-8, those that are not printable ASCII and the percent sign by their number.
 * So are spaces at the ends, which no header's value may have.
 */
function percentEncode(text: string): string {
  return Buffer.from(text)
    .toString("latin1")
    .replace(
      /[^\x20-\x24\x26-\x7e]|^ | $/g,
      (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
    );
}
