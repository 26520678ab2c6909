import { execFile, spawnSync } from "node:child_process";
import { createWriteStream } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { join, parse } from "node:path";
import { pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { EXT_TYPES } from "../lib/tabular/ext-type.ts";
import { RowCursor } from "../lib/tabular/row-cursor.ts";
import type { Column, Row } from "../lib/tabular/table.ts";
import type { TableOptions } from "../lib/tabular/write-table.ts";
import { writeTable } from "../lib/tabular/write-table.ts";
import { withTempDir } from "./temp-dir.ts";

/** Writes a table as a file and hands its path over. */
export function withTable<T>(
  columns: readonly Column[],
  rows: readonly Row[] | AsyncIterable<readonly Row[]>,
  options: Partial<TableOptions>,
  body: (path: string) => Promise<T>,
): Promise<T> {
  const all: TableOptions = {
    extType: "XLSX",
    level: 1,
    title: "a title",
    createdAt: new Date(),
    formulaGuard: false,
    longText: "fail",
    ...options,
  };
  const cursor = new RowCursor(Symbol.asyncIterator in rows ? rows : batchesOf(rows));
  return withTempDir(async (directory) => {
    const path = join(directory, `a.${EXT_TYPES[all.extType].extension}`);
    const table = writeTable(columns, cursor, Infinity, all, { unmappable: 0, truncated: 0 });
    await pipeline(table, createWriteStream(path));
    return body(path);
  });
}

async function* batchesOf(rows: readonly Row[]): AsyncGenerator<readonly Row[]> {
  for (let from = 0; from < rows.length; from += 100) yield rows.slice(from, from + 100);
}

/** Debian's Python, because only it finds Debian's python3-openpyxl. */
const PYTHON = "/usr/bin/python3";

/** Whether openpyxl is here, a reader of workbooks that shares nothing with our writer. */
export const hasOpenpyxl = spawnSync(PYTHON, ["-c", "import openpyxl"]).status === 0;

const READ_WORKBOOK = `
import datetime, json, sys, openpyxl
def default(value):
    assert isinstance(value, datetime.datetime)
    return {"date": value.isoformat(timespec="milliseconds") + "Z"}
book = openpyxl.load_workbook(sys.argv[1], read_only=sys.argv[2] == "values")
def sheet(ws):
    if sys.argv[2] == "values":
        rows = [list(row) for row in ws.iter_rows(values_only=True)]
        # Empty cells at the end of a row are not in the file.
        return {"name": ws.title, "rows": [row + [None] * (len(rows[0]) - len(row)) for row in rows]}
    types = [[cell.data_type for cell in row] for row in ws.iter_rows()]
    widths = [ws.column_dimensions[c].width for c in sorted(ws.column_dimensions)]
    return {"name": ws.title, "types": types, "freeze": ws.freeze_panes, "bold": ws["A1"].font.b, "widths": widths}
json.dump([sheet(ws) for ws in book.worksheets], sys.stdout, default=default)
`;

export interface SheetValues {
  name: string;
  /** A date is `{ date: "2026-11-26T10:00:00.000Z" }`. */
  rows: unknown[][];
}

export interface SheetForm {
  name: string;
  /** openpyxl's: `s` and `inlineStr` text, `n` number or empty, `b` boolean, `f` formula. */
  types: string[][];
  freeze: string;
  bold: boolean;
  widths: number[];
}

/** The sheets of a workbook, as openpyxl reads them. */
export async function readWorkbook(path: string): Promise<SheetValues[]> {
  return (await runPython(READ_WORKBOOK, path, "values")) as SheetValues[];
}

/** The same with how the cells are typed and shown. */
export async function readWorkbookForm(path: string): Promise<SheetForm[]> {
  return (await runPython(READ_WORKBOOK, path, "form")) as SheetForm[];
}

/** openpyxl leaves the escapes of inline texts to its user, as exceljs does. */
export function unescape(text: string): string {
  return text.replace(/_x([0-9A-Fa-f]{4})_/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
}

const READ_PROPERTIES = `
import json, sys, zipfile, openpyxl
from openpyxl.packaging.extended import ExtendedProperties
from openpyxl.xml.functions import fromstring
of = openpyxl.load_workbook(sys.argv[1]).properties
app = ExtendedProperties.from_tree(fromstring(zipfile.ZipFile(sys.argv[1]).read("docProps/app.xml")))
times = {"created": of.created.isoformat(), "modified": of.modified.isoformat()}
json.dump({"title": of.title, "creator": of.creator, "description": of.description, "application": app.Application, **times}, sys.stdout)
`;

/** What a workbook tells of itself, as openpyxl reads it. */
export function readProperties(path: string): Promise<unknown> {
  return runPython(READ_PROPERTIES, path);
}

const READ_LARGE_WORKBOOK = `
import json, sys, zipfile
from xml.parsers.expat import ParserCreate
def sheet(file):
    rows, first, last = 0, [], []
    def start(tag, attributes):
        nonlocal rows, last
        if tag == "row":
            rows, last = rows + 1, []
            assert attributes["r"] == str(rows)
            if rows <= 2: first.append(last)
    parser = ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.CharacterDataHandler = lambda text: last.append(text)
    parser.ParseFile(file)
    return {"rows": rows, "first": first, "last": last}
zip = zipfile.ZipFile(sys.argv[1])
names = [name for name in zip.namelist() if name.startswith("xl/worksheets/")]
json.dump([sheet(zip.open(name)) for name in names], sys.stdout)
`;

export interface LargeSheet {
  rows: number;
  /** The texts of the first two rows. */
  first: string[][];
  last: string[];
}

/** The ends of each sheet, by Python's zipfile and expat: openpyxl takes 25 s for a million rows, these 4 s. */
export async function readLargeWorkbook(path: string): Promise<LargeSheet[]> {
  return (await runPython(READ_LARGE_WORKBOOK, path)) as LargeSheet[];
}

/** Whether LibreOffice is here. */
export const hasLibreOffice = spawnSync("soffice", ["--version"]).status === 0;

/**
 * The sheets of a workbook as CSV, by their names, as LibreOffice has them: with what the cells show, where numbers have
 * some digits only, or with what one would edit in them, where small numbers have 20 decimals.
 */
export function libreOfficeCsv(path: string, form: "shown" | "edited"): Promise<Record<string, string>> {
  // Commas, quotes, UTF-8, from the first line on; each sheet becomes a file.
  const format = `csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,${form === "shown"},false,false,false,-1`;
  return withTempDir(async (directory) => {
    // With a profile of its own it runs beside others.
    const profile = `-env:UserInstallation=${pathToFileURL(join(directory, "profile")).href}`;
    const output = ["--convert-to", format, "--outdir", join(directory, "csv")];
    await promisify(execFile)("soffice", ["--headless", profile, ...output, path]);
    const sheets: Record<string, string> = {};
    for (const name of await readdir(join(directory, "csv"))) {
      const sheet = parse(name).name.slice(`${parse(path).name}-`.length);
      sheets[sheet] = await readFile(join(directory, "csv", name), "utf8");
    }
    return sheets;
  });
}

const READ_CSV = `
import csv, json, sys
with open(sys.argv[1], encoding=sys.argv[2], newline="") as file:
    json.dump(list(csv.reader(file, strict=True)), sys.stdout)
`;

/** The lines of a CSV, as Python reads them; `encoding` is one of its codecs. */
export async function readCsv(path: string, encoding: string): Promise<string[][]> {
  return (await runPython(READ_CSV, path, encoding)) as string[][];
}

const READ_JSONL = `
import json, sys
def number(digits): return {"number": digits}
def refuse(name): raise ValueError(name)
kinds = {"object_pairs_hook": list, "parse_int": number, "parse_float": number, "parse_constant": refuse}
with open(sys.argv[1], encoding="utf-8", newline="\\n") as file:
    lines = [json.loads(line, **kinds) for line in file]
json.dump(lines, sys.stdout)
`;

/**
 * The lines of a JSONL file, as Python reads them: a number is `{ number: "1.50" }`; an object is its pairs, because
 * JSON.parse takes some keys for others (https://github.com/nodejs/node/issues/63785).
 */
export async function readJsonl(path: string): Promise<unknown[][]> {
  return (await runPython(READ_JSONL, path)) as unknown[][];
}

async function runPython(script: string, ...args: string[]): Promise<unknown> {
  const options = { maxBuffer: 256 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(PYTHON, ["-c", script, ...args], options);
  return JSON.parse(stdout);
}

export interface UnpackedFile {
  name: string;
  content: Buffer;
}

const UNPACK = `
import base64, json, sys, zipfile
zip = zipfile.ZipFile(sys.argv[1])
assert zip.testzip() is None
json.dump([[i.filename, base64.b64encode(zip.read(i)).decode()] for i in zip.infolist()], sys.stdout)
`;

/** The files within a zip, as Python reads them, checksums verified. */
export async function unpack(path: string): Promise<UnpackedFile[]> {
  const files = (await runPython(UNPACK, path)) as [string, string][];
  return files.map(([name, content]) => ({ name, content: Buffer.from(content, "base64") }));
}

/** Runs 7-Zip; answers its exit code and what it printed. */
export function sevenZip(...args: string[]): { code: number; text: string } {
  const { status, stdout, error } = spawnSync("7zz", args, { encoding: "utf8" });
  if (error) throw error;
  return { code: status ?? -1, text: stdout };
}

/** All bytes of a stream. */
export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** The first row in which two tables differ, with both its versions; a message of 20,000 rows would help nobody. */
export function firstDifference(left: readonly unknown[][], right: readonly unknown[][]): unknown {
  for (let row = 0; row < Math.max(left.length, right.length); row++) {
    const [one, other] = [JSON.stringify(left[row]), JSON.stringify(right[row])];
    if (one !== other) return { row, one, other };
  }
  return undefined;
}
