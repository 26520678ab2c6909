import { crc32 } from "node:zlib";
import { deflateInParallel, storeInBlocks } from "./deflate.ts";
import type { EntryRecord } from "./zip-records.ts";
import { DEFLATED, STORED, centralDirectory, dataDescriptor, localHeader } from "./zip-records.ts";

export interface ZipEntry {
  /** The path within the zip, `/` between its parts. */
  name: string;
  /** Bytes at hand are stored as they are: the small parts of a workbook. */
  content: Uint8Array | AsyncIterable<Uint8Array>;
}

export interface ZipOptions {
  /** 1 to 9 deflates, 0 leaves as it is what is compressed already. */
  level: number;
  modifiedAt: Date;
}

/** Writes a zip as a stream: each entry is pulled when the one before it is written, so an entry may depend on those. */
export async function* writeZip(
  entries: AsyncIterable<ZipEntry>,
  { level, modifiedAt }: ZipOptions,
): AsyncGenerator<Uint8Array> {
  const records: EntryRecord[] = [];
  let offset = 0;
  for await (const entry of entries) {
    const record = newRecord(entry, modifiedAt, offset);
    for await (const chunk of entryBytes(entry, record, level)) {
      offset += chunk.byteLength;
      yield chunk;
    }
    records.push(record);
  }
  yield centralDirectory(records, offset);
}

function newRecord({ name, content }: ZipEntry, modifiedAt: Date, offset: number): EntryRecord {
  const known = { name: Buffer.from(name), modifiedAt, offset, crc: 0, size: 0, compressedSize: 0 };
  return content instanceof Uint8Array
    ? { ...known, method: STORED, streamed: false }
    : { ...known, method: DEFLATED, streamed: true };
}

async function* entryBytes({ content }: ZipEntry, record: EntryRecord, level: number): AsyncGenerator<Uint8Array> {
  if (content instanceof Uint8Array) {
    count(content, record);
    record.compressedSize = record.size;
    yield localHeader(record);
    yield content;
    return;
  }
  yield localHeader(record);
  const counted = countAll(content, record);
  for await (const chunk of level === 0 ? storeInBlocks(counted) : deflateInParallel(counted, level)) {
    record.compressedSize += chunk.byteLength;
    yield chunk;
  }
  yield dataDescriptor(record);
}

async function* countAll(content: AsyncIterable<Uint8Array>, record: EntryRecord): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    count(chunk, record);
    yield chunk;
  }
}

function count(chunk: Uint8Array, record: EntryRecord): void {
  record.crc = crc32(chunk, record.crc);
  record.size += chunk.byteLength;
}
