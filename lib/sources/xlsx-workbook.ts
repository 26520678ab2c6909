/** The parts of a workbook: what of its zip is what (ECMA-376, part 2), read from a file on disk. */
import type { FileHandle } from "node:fs/promises";
import { failedPrecondition, LongshoreError } from "../errors.ts";
import { FormatReader } from "./xlsx-formats.ts";
import type { SheetContext } from "./xlsx-sheet.ts";
import { unescapeText } from "./xlsx-sheet.ts";
import type { XmlHandler } from "./xml-scanner.ts";
import { attribute, XmlError, XmlScanner } from "./xml-scanner.ts";

const MAX_ENTRIES = 10_000;
/** Of a tag or a text; a cell holds 32,767 characters. */
const MAX_PENDING = 1024 * 1024;

export interface WorkbookLimits {
  /** Of all texts that cells share, which are held in memory. */
  maxSharedBytes: number;
  maxUnpackedBytes: number;
}

type Part = (sink: WritableStream<Uint8Array>, signal: AbortSignal) => Promise<unknown>;

export interface Sheet {
  name: string;
  path: string;
}

export class Workbook {
  readonly #parts: ReadonlyMap<string, Part>;
  readonly #limits: WorkbookLimits;
  readonly #signal: AbortSignal;

  private constructor(parts: ReadonlyMap<string, Part>, limits: WorkbookLimits, signal: AbortSignal) {
    this.#parts = parts;
    this.#limits = limits;
    this.#signal = signal;
  }

  static async open(file: FileHandle, limits: WorkbookLimits, signal: AbortSignal): Promise<Workbook> {
    const { ZipReader, Reader, configure } = await import("@zip.js/zip.js");
    configure({ useWebWorkers: false });
    const { size } = await file.stat();
    class FileReader extends Reader<FileHandle> {
      override size = size;
      override async readUint8Array(offset: number, length: number): Promise<Uint8Array> {
        const bytes = new Uint8Array(Math.min(length, size - offset));
        const { bytesRead } = await file.read(bytes, 0, bytes.byteLength, offset);
        return bytes.subarray(0, bytesRead);
      }
    }
    const parts = new Map<string, Part>();
    try {
      for await (const entry of new ZipReader(new FileReader(file)).getEntriesGenerator()) {
        if (parts.size >= MAX_ENTRIES) throw failedPrecondition(`the workbook has more than ${MAX_ENTRIES} parts`);
        if (entry.directory) continue;
        const name = entry.filename.replace(/^\//, "").toLowerCase();
        parts.set(name, (sink, stop) => entry.getData(sink, { signal: stop, checkSignature: true }));
      }
    } catch (error) {
      if (error instanceof LongshoreError) throw error;
      throw failedPrecondition("the file is no XLSX workbook, or a password protects it");
    }
    return new Workbook(parts, limits, signal);
  }

  /** Its sheets, in the order of their tabs. */
  async sheets(): Promise<{ sheets: Sheet[]; from1904: boolean }> {
    const targets = new Map<string, string>();
    await this.#readPart("xl/_rels/workbook.xml.rels", {
      open: (name, attributes) => {
        if (name !== "Relationship") return;
        const target = attribute(attributes, "Target") ?? "";
        targets.set(attribute(attributes, "Id") ?? "", target.startsWith("/") ? target.slice(1) : `xl/${target}`);
      },
    });
    const sheets: Sheet[] = [];
    let from1904 = false;
    await this.#readPart("xl/workbook.xml", {
      open: (name, attributes) => {
        if (name === "workbookPr") from1904 = /^(?:1|true)$/.test(attribute(attributes, "date1904") ?? "");
        if (name !== "sheet") return;
        const path = targets.get(attribute(attributes, "id") ?? "") ?? "";
        // A chart has a tab too.
        if (path.includes("worksheets/")) sheets.push({ name: attribute(attributes, "name") ?? "", path });
      },
    });
    return { sheets, from1904 };
  }

  /** What the cells of its sheets refer to. */
  async context(from1904: boolean): Promise<SheetContext> {
    const formats = new FormatReader();
    if (this.#has("xl/styles.xml")) await this.#readPart("xl/styles.xml", formats);
    const texts: string[] = [];
    if (this.#has("xl/sharedstrings.xml")) {
      await this.#readPart("xl/sharedStrings.xml", new SharedTexts(texts), this.#limits.maxSharedBytes);
    }
    return { texts, formats: formats.formats, from1904 };
  }

  /** Tells a part to the handler; yields after each piece of it. */
  async *scan(path: string, handler: XmlHandler, maxBytes = this.#limits.maxUnpackedBytes): AsyncGenerator<void> {
    const scanner = new XmlScanner(handler, MAX_PENDING);
    const decoder = new TextDecoder("utf-8", { fatal: true });
    try {
      for await (const bytes of this.#bytes(path, maxBytes)) {
        scanner.write(decoder.decode(bytes, { stream: true }));
        yield;
      }
      scanner.write(decoder.decode());
      scanner.end();
    } catch (error) {
      throw explain(error, path);
    }
    yield;
  }

  async #readPart(path: string, handler: XmlHandler, maxBytes?: number): Promise<void> {
    for await (const _ of this.scan(path, handler, maxBytes)) this.#signal.throwIfAborted();
  }

  #has(path: string): boolean {
    return this.#parts.has(path.toLowerCase());
  }

  async *#bytes(path: string, maxBytes: number): AsyncGenerator<Uint8Array> {
    const part = this.#parts.get(path.toLowerCase());
    if (!part) throw failedPrecondition(`the workbook has no ${path}`);
    const stop = new AbortController();
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const reading = part(writable, AbortSignal.any([stop.signal, this.#signal]));
    // Told to whoever reads, who may have left.
    reading.catch((error: unknown) => writable.abort(error).catch(() => {}));
    let size = 0;
    try {
      for await (const bytes of readable as AsyncIterable<Uint8Array>) {
        size += bytes.byteLength;
        if (size > maxBytes) {
          throw new LongshoreError(
            "RESOURCE_EXHAUSTED",
            `${path} of the workbook has more than ${maxBytes} bytes, unpacked`,
          );
        }
        yield bytes;
      }
      await reading;
    } finally {
      stop.abort();
    }
  }
}

/** Collects the texts that cells share, without their phonetic readings. */
class SharedTexts implements XmlHandler {
  readonly #texts: string[];
  #item = "";
  #counts = false;
  #inPhonetic = false;

  constructor(texts: string[]) {
    this.#texts = texts;
  }

  open(name: string): void {
    if (name === "si") this.#item = "";
    if (name === "rPh") this.#inPhonetic = true;
    if (name === "t") this.#counts = !this.#inPhonetic;
  }

  text(text: string): void {
    if (this.#counts) this.#item += text;
  }

  close(name: string): void {
    if (name === "t") this.#counts = false;
    if (name === "rPh") this.#inPhonetic = false;
    if (name === "si") this.#texts.push(unescapeText(this.#item));
  }
}

function explain(error: unknown, path: string): unknown {
  if (error instanceof XmlError) return failedPrecondition(`${path} of the workbook cannot be read: ${error.message}`);
  const { code, message = "" } = error as NodeJS.ErrnoException;
  if (code === "ERR_ENCODING_INVALID_ENCODED_DATA")
    return failedPrecondition(`${path} of the workbook is not in UTF-8`);
  // What zip.js and zlib say of bytes that are no such part.
  if (error instanceof LongshoreError || (error as Error).name === "AbortError") return error;
  return failedPrecondition(`${path} of the workbook cannot be unpacked: ${message.slice(0, 200)}`);
}
