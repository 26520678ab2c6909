import type { Cell } from "../tabular/table.ts";
import type { XmlHandler } from "./xml-scanner.ts";
import { attribute, XmlError } from "./xml-scanner.ts";
import type { NumberFormat } from "./xlsx-formats.ts";

/** As many as Excel has. */
const MAX_COLUMNS = 16_384;
const MAX_ROWS = 1_048_576;
const DAY_MS = 86_400_000;
const EPOCH_MS = Date.UTC(1899, 11, 30);
const EPOCH_1904_MS = Date.UTC(1904, 0, 1);

/** What a sheet's cells refer to. */
export interface SheetContext {
  texts: readonly string[];
  /** By the index of a cell's style. */
  formats: readonly NumberFormat[];
  /** Days are counted from 1904, as Excel for Macintosh did. */
  from1904: boolean;
}

/** A cell that holds no value, but why there is none: `#DIV/0!`. */
export interface CellProblem {
  column: number;
  problem: string;
}

export interface SheetRow {
  number: number;
  /** Without those that are empty at its end. */
  cells: Cell[];
  problem: CellProblem | undefined;
}

/** Reads the rows of a worksheet (ECMA-376, part 1, 18.3); gives each one to `onRow`. */
export class SheetReader implements XmlHandler {
  readonly #context: SheetContext;
  readonly #maxRowLength: number;
  readonly #onRow: (row: SheetRow) => void;
  #row: SheetRow = { number: 0, cells: [], problem: undefined };
  #rowLength = 0;
  #column = 0;
  #type = "";
  #style = 0;
  /** The text of what is open, where it counts. */
  #text: string | undefined;
  #value = "";
  #isInline = false;
  #inPhonetic = false;

  constructor(context: SheetContext, maxRowLength: number, onRow: (row: SheetRow) => void) {
    this.#context = context;
    this.#maxRowLength = maxRowLength;
    this.#onRow = onRow;
  }

  open(name: string, attributes: string): void {
    switch (name) {
      case "row":
        this.#row = { number: this.#numberOf(attributes), cells: [], problem: undefined };
        this.#rowLength = 0;
        this.#column = 0;
        break;
      case "c":
        this.#column = columnOf(attribute(attributes, "r")) ?? this.#column + 1;
        if (this.#column > MAX_COLUMNS)
          throw new XmlError(`row ${this.#row.number} has more than ${MAX_COLUMNS} columns`);
        this.#type = attribute(attributes, "t") ?? "n";
        this.#style = Number(attribute(attributes, "s") ?? 0);
        this.#value = "";
        break;
      case "is":
        this.#isInline = true;
        break;
      case "rPh":
        this.#inPhonetic = true;
        break;
      case "v":
        this.#text = "";
        break;
      case "t":
        if (this.#isInline && !this.#inPhonetic) this.#text = "";
        break;
    }
  }

  text(text: string): void {
    if (this.#text === undefined) return;
    this.#text += text;
    this.#rowLength += text.length;
    if (this.#rowLength > this.#maxRowLength) {
      throw new XmlError(`row ${this.#row.number} is longer than ${this.#maxRowLength}`);
    }
  }

  close(name: string): void {
    switch (name) {
      case "v":
      case "t":
        this.#value += this.#text ?? "";
        this.#text = undefined;
        break;
      case "rPh":
        this.#inPhonetic = false;
        break;
      case "is":
        this.#isInline = false;
        break;
      case "c":
        this.#addCell();
        break;
      case "row":
        this.#onRow(this.#row);
        break;
    }
  }

  #numberOf(attributes: string): number {
    const number = Number(attribute(attributes, "r") ?? this.#row.number + 1);
    if (!Number.isSafeInteger(number) || number <= this.#row.number) {
      throw new XmlError(`its rows are not in order after row ${this.#row.number}`);
    }
    if (number > MAX_ROWS) throw new XmlError(`it has more than ${MAX_ROWS} rows`);
    return number;
  }

  #addCell(): void {
    const cell = this.#readCell();
    if (cell === null) return;
    const { cells } = this.#row;
    // Cells may be missing, but none is left out of the array: what is to come must not meet a hole.
    while (cells.length < this.#column) cells.push(null);
    cells[this.#column - 1] = cell;
  }

  #readCell(): Cell {
    const value = this.#value;
    switch (this.#type) {
      case "inlineStr":
      case "str":
        return value === "" ? null : unescapeText(value);
      case "s":
        return this.#sharedText(value);
      case "b":
        return value === "" ? null : value === "1" || value === "true";
      case "e":
        return this.#refuse(value === "" ? "an error" : value);
      case "d":
        return value === "" ? null : this.#isoDate(value);
      default:
        return value === "" ? null : this.#number(value);
    }
  }

  #sharedText(value: string): Cell {
    if (value === "") return null;
    const text = this.#context.texts[Number(value)];
    return text === undefined ? this.#refuse(`the text ${value}, which the file does not have`) : text || null;
  }

  #isoDate(value: string): Cell {
    const date = new Date(/[zZ]|[+-]\d\d:\d\d$/.test(value) ? value : value.includes("T") ? `${value}Z` : value);
    return Number.isNaN(date.getTime()) ? this.#refuse(`no date: ${value}`) : date;
  }

  #number(value: string): Cell {
    const number = Number(value);
    if (!Number.isFinite(number)) return this.#refuse(`no number: ${value}`);
    const format = this.#context.formats[this.#style] ?? "number";
    if (format === "number" || number < 0) return number;
    if (format === "time" && number < 1) return timeText(number);
    const { from1904 } = this.#context;
    // Excel counts a 29 February 1900 that never was.
    const days = !from1904 && number < 60 ? number + 1 : number;
    const date = new Date((from1904 ? EPOCH_1904_MS : EPOCH_MS) + Math.round(days * DAY_MS));
    return Number.isNaN(date.getTime()) ? this.#refuse(`no date: ${value}`) : date;
  }

  #refuse(problem: string): null {
    this.#row.problem ??= { column: this.#column, problem };
    return null;
  }
}

/** `AB12` is in column 28. */
function columnOf(reference: string | undefined): number | undefined {
  if (reference === undefined) return undefined;
  const [, letters] = /^([A-Z]{1,3})\d*$/.exec(reference) ?? [];
  if (!letters) throw new XmlError(`it has a cell at ${JSON.stringify(reference.slice(0, 20))}`);
  let column = 0;
  for (const letter of letters) column = column * 26 + letter.charCodeAt(0) - 64;
  return column;
}

/** The letters of a column, counted from 1. */
export function columnLetters(column: number): string {
  let letters = "";
  for (let rest = column; rest > 0; rest = Math.floor((rest - 1) / 26)) {
    letters = String.fromCharCode(65 + ((rest - 1) % 26)) + letters;
  }
  return letters;
}

function timeText(days: number): string {
  const time = new Date(Math.min(Math.round(days * DAY_MS), DAY_MS - 1)).toISOString();
  return time.slice(11, 23).replace(".000", "");
}

/** Characters that XML cannot hold are written `_x0007_`, and what looks so is `_x005F_x0007_` (22.9.2.19). */
export function unescapeText(text: string): string {
  if (!text.includes("_x")) return text;
  return text.replace(/_x([0-9A-Fa-f]{4})_/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
}
