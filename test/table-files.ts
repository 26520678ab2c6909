import { execFile, spawnSync } from "node:child_process";
import { promisify } from "node:util";

/** Debian's Python, because only it finds Debian's python3-openpyxl. */
const PYTHON = "/usr/bin/python3";

/** Whether openpyxl is here, a reader of workbooks that shares nothing with our writer. */
export const hasOpenpyxl = spawnSync(PYTHON, ["-c", "import openpyxl"]).status === 0;

const READ_WORKBOOK = `
import json, sys, openpyxl
book = openpyxl.load_workbook(sys.argv[1], read_only=sys.argv[2] == "values")
def sheet(ws):
    if sys.argv[2] == "values":
        rows = [list(row) for row in ws.iter_rows(values_only=True)]
        # Empty cells at the end of a row are not in the file.
        return {"name": ws.title, "rows": [row + [None] * (len(rows[0]) - len(row)) for row in rows]}
    types = [[cell.data_type for cell in row] for row in ws.iter_rows()]
    widths = [ws.column_dimensions[c].width for c in sorted(ws.column_dimensions)]
    return {"name": ws.title, "types": types, "freeze": ws.freeze_panes, "bold": ws["A1"].font.b, "widths": widths}
json.dump([sheet(ws) for ws in book.worksheets], sys.stdout)
`;

export interface SheetValues {
  name: string;
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
