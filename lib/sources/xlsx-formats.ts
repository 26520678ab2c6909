import type { XmlHandler } from "./xml-scanner.ts";
import { attribute } from "./xml-scanner.ts";

/** What a number is shown as. Time that has passed, `[h]:mm`, is a number of days. */
export type NumberFormat = "number" | "date" | "time";

/** The formats that every workbook has (ECMA-376, part 1, 18.8.30), those of East Asia among them. */
const DATES = [14, 15, 16, 17, 22, 27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 55, 56, 57, 58];
const TIMES = [18, 19, 20, 21, 32, 33, 34, 35, 45, 47];
const BUILT_IN = new Map<number, NumberFormat>([
  ...DATES.map((id) => [id, "date"] as const),
  ...TIMES.map((id) => [id, "time"] as const),
]);

/** Reads what the styles of a workbook make of numbers: its `formats` are in the order of the styles. */
export class FormatReader implements XmlHandler {
  readonly formats: NumberFormat[] = [];
  readonly #custom = new Map<number, NumberFormat>();
  #inCells = false;

  open(name: string, attributes: string): void {
    if (name === "cellXfs") this.#inCells = true;
    const id = Number(attribute(attributes, "numFmtId") ?? 0);
    if (name === "numFmt") this.#custom.set(id, formatOf(attribute(attributes, "formatCode") ?? ""));
    if (name === "xf" && this.#inCells) this.formats.push(this.#custom.get(id) ?? BUILT_IN.get(id) ?? "number");
  }

  close(name: string): void {
    if (name === "cellXfs") this.#inCells = false;
  }
}

/** What a format code such as `yyyy-mm-dd` shows a positive number as. */
export function formatOf(code: string): NumberFormat {
  const [positive] = code.replace(/"[^"]*"|\\.|[_*]./g, "").split(";");
  if (/\[(?:h+|m+|s+)\]/i.test(positive!)) return "number";
  const letters = positive!.replace(/\[[^\]]*\]|AM\/PM|A\/P|General/gi, (found) => (found.endsWith("P") ? "h" : ""));
  if (/[yd]/i.test(letters)) return "date";
  if (/[hs]/i.test(letters)) return "time";
  return /m/i.test(letters) ? "date" : "number";
}
