/** Files as other programs write them, and what our readers of files make of them. */
import { execFile, spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { FileRows, RefusedFileRow } from "../lib/sources/file-rows.ts";
import type { Row } from "../lib/tabular/table.ts";
import { withTempDir } from "./temp-dir.ts";

/** Debian's Python, because only it finds Debian's python3-openpyxl. */
const PYTHON = "/usr/bin/python3";

/** What a Python script writes to its output, given a JSON value as its input. */
export async function pythonBytes(script: string, input: unknown, ...args: string[]): Promise<Buffer> {
  const child = spawn(PYTHON, ["-c", script, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(JSON.stringify(input));
  const exit = new Promise<number | null>((resolve) => child.once("close", resolve));
  const bytes = await buffer(child.stdout);
  if ((await exit) !== 0) throw new Error("the script failed; see its output");
  return bytes;
}

const WRITE_CSV = `
import csv, io, json, sys
file = io.TextIOWrapper(sys.stdout.buffer, encoding=sys.argv[1], newline="")
csv.writer(file, dialect=sys.argv[2], delimiter=sys.argv[3]).writerows(json.load(sys.stdin))
file.flush()
`;

/** A CSV by Python's csv; `encoding` is one of its codecs, and `excel` ends lines with CRLF, `unix` with LF. */
export function pythonCsv(
  rows: readonly (readonly string[])[],
  { encoding = "utf-8", dialect = "excel", delimiter = "," } = {},
): Promise<Buffer> {
  return pythonBytes(WRITE_CSV, rows, encoding, dialect, delimiter);
}

/** The bytes in pieces of that size, none of which ends where a character need end. */
export async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.byteLength; from += size) yield bytes.subarray(from, from + size);
}

export interface ReadFile {
  titles: string[];
  rows: Row[];
  numbers: number[];
  refused: RefusedFileRow[];
}

/** Reads a file to its end and closes it. */
export async function readAll(file: FileRows): Promise<ReadFile> {
  const read: ReadFile = { titles: file.columns.map(({ title }) => title), rows: [], numbers: [], refused: [] };
  try {
    for await (const batch of file.batches) {
      read.rows.push(...batch.rows);
      read.numbers.push(...batch.numbers);
      read.refused.push(...batch.refused);
    }
  } finally {
    await file.close();
  }
  return read;
}

const WRITE_WORKBOOK = `
import datetime, io, json, sys, zipfile, openpyxl
given = json.load(sys.stdin)
def value(cell):
    if not isinstance(cell, dict): return cell
    kind, text = next(iter(cell.items()))
    if kind == "date": return datetime.datetime.fromisoformat(text)
    if kind == "time": return datetime.time.fromisoformat(text)
    assert kind == "formula"
    return text
book = openpyxl.Workbook()
book.remove(book.active)
if given.get("from1904"): book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
for name, rows in given["sheets"].items():
    sheet = book.create_sheet(name)
    for row in rows: sheet.append([value(cell) for cell in row])
file = io.BytesIO()
book.save(file)
parts = given.get("parts", {})
with zipfile.ZipFile(file) as old, zipfile.ZipFile(sys.stdout.buffer, "w", zipfile.ZIP_DEFLATED) as new:
    for name in old.namelist():
        if parts.get(name, "") is not None: new.writestr(name, parts.get(name) or old.read(name))
    for name in parts.keys() - set(old.namelist()): new.writestr(name, parts[name])
`;

export interface WorkbookContent {
  /** By their names; a cell may be `{ date }`, `{ time }` or `{ formula }`. */
  sheets: Record<string, readonly (readonly unknown[])[]>;
  from1904?: boolean;
  /** Parts that replace openpyxl's; null: is left out. */
  parts?: Record<string, string | null>;
}

/** A workbook by openpyxl. */
export function openpyxlWorkbook(content: WorkbookContent): Promise<Buffer> {
  return pythonBytes(WRITE_WORKBOOK, content);
}

/** Converts a file with LibreOffice. */
export function libreOfficeBytes(content: Uint8Array | string, from: string, to: string): Promise<Buffer> {
  return withTempDir(async (directory) => {
    const source = join(directory, `a.${from}`);
    await writeFile(source, content);
    // With a profile of its own it runs beside others.
    const profile = `-env:UserInstallation=${pathToFileURL(join(directory, "profile")).href}`;
    // Commas, quotes, UTF-8, from the first line on.
    const input = from === "csv" ? ["--infilter=CSV:44,34,76,1"] : [];
    const output = [...input, "--convert-to", to, "--outdir", join(directory, "converted")];
    await promisify(execFile)("soffice", ["--headless", profile, ...output, source]);
    return readFile(join(directory, "converted", `a.${to}`));
  });
}
