/** What XML cannot hold or would change. TAB and LF are left: within an element XML keeps them, CR it does not. */

const SPECIAL = /[&<>\u0000-\u0008\u000b-\u001f\ud800-\udfff\ufffe\uffff]|_x/;

/**
 * `_xHHHH_` is how a workbook writes a character that XML lacks (ECMA-376 part 1, 22.9.2.19), so a text that looks so
 * has its first `_` escaped; the closing `_` may be the first of an escape that we are about to write.
 */
const ESCAPED =
  /[&<>\u0000-\u0008\u000b-\u001f\ufffe\uffff]|\p{Cs}|_(?=x[0-9A-Fa-f]{4}(?:[_\u0000-\u0008\u000b-\u001f\ufffe\uffff]|\p{Cs}))/gu;

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

/** A text as the content of an XML element of a workbook. */
export function xmlText(text: string): string {
  return SPECIAL.test(text) ? text.replace(ESCAPED, escape) : text;
}

function escape(character: string): string {
  return ENTITIES[character] ?? `_x${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}_`;
}

/** Whether XML readers would drop white space of the text unless told to keep it. */
export function needsPreserve(text: string): boolean {
  return text.length > 0 && (text.charCodeAt(0) <= 32 || text.charCodeAt(text.length - 1) <= 32 || text.includes("\n"));
}

/** Whether a number has more digits than the 15 that Excel keeps. */
export function exceedsExcelDigits(text: string): boolean {
  if (text.length <= 15) return false;
  const digits = text
    .replace(/[eE].*$/, "")
    .replace(/[-+.]/g, "")
    .replace(/^0+/, "");
  return digits.replace(/0+$/, "").length > 15;
}

/** The letters of a column, counted from 0: A, …, Z, AA, …. */
export function columnLetters(index: number): string {
  let letters = "";
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1) {
    letters = String.fromCharCode(65 + (rest % 26)) + letters;
  }
  return letters;
}

/** Columns of a screen that a text takes, about: East Asian characters take two. */
export function textWidth(text: string): number {
  let width = 0;
  for (const character of text) width += character.codePointAt(0)! >= 0x1100 ? 2 : 1;
  return width;
}
