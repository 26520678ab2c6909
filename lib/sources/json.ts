import { exactNumber } from "../tabular/table.ts";

/** Digits and points of a number that a double may round, at least. */
const LONG = 16;

/** An exponent that may leave a double's range; in a number, not in a text. */
const EXPONENT = /\d[eE][+-]?\d{3}/;
const NUMBER_WITH_EXPONENT = /(?:^|[:,[\s])-?[\d.]+[eE][+-]?\d{3}/;

/**
 * Whether a text may hold a number that a double would change: one of over 15 digits, or of a large exponent. So long a run
 * of digits covers an index that is a multiple of its length, so only those are looked at: a RegExp takes five times as long.
 */
function mayLoseDigits(text: string): boolean {
  for (let index = LONG - 1; index < text.length; index += LONG) {
    if (isDigit(text.charCodeAt(index)) && isLongNumber(text, index)) return true;
  }
  return EXPONENT.test(text) && NUMBER_WITH_EXPONENT.test(text);
}

function isLongNumber(text: string, index: number): boolean {
  let start = index;
  while (isDigit(text.charCodeAt(start - 1))) start--;
  let end = index + 1;
  while (isDigit(text.charCodeAt(end))) end++;
  if (end - start < LONG) return false;
  const before = text[start - 1] === "-" ? start - 2 : start - 1;
  return before < 0 || ":,[ \t\r\n".includes(text[before]!);
}

/** A digit or a point; `/`, which is between them, is in no number. */
function isDigit(code: number): boolean {
  return code >= 0x2e && code <= 0x39;
}

/**
 * Parses JSON so that no digit is lost: a number that a double would change becomes an ExactNumber. Only a text that
 * holds a long number pays for it.
 */
export function parseJson(text: string): unknown {
  return mayLoseDigits(text) ? JSON.parse(text, keepDigits as Reviver) : JSON.parse(text);
}

/** TypeScript's library does not know the third argument yet (https://github.com/tc39/proposal-json-parse-with-source). */
type Reviver = (key: string, value: unknown) => unknown;

function keepDigits(_key: string, value: unknown, context: { source: string }): unknown {
  return typeof value === "number" && String(value) !== context.source && losesDigits(value, context.source)
    ? exactNumber(context.source)
    : value;
}

/** Short forms such as `1.50` or `1e3` name the same number as the double's own text; longer ones are taken at their word. */
function losesDigits(value: number, source: string): boolean {
  const underflows = value === 0 && /^-?[0.]*[1-9]/.test(source);
  return source.length > 15 || !Number.isFinite(value) || underflows;
}

/** Whether JavaScript lists a key before others, wherever it was written. */
const INTEGER_KEY = /^(?:0|[1-9]\d*)$/;

/** What keeps a key from looking like an integer. */
const MARK = "\u0000";

/**
 * The keys of the object that `find` picks out of a JSON text, in the order of the text. JavaScript moves keys like
 * `"2021"` to the front; they are marked in the text, where such a key can only stand after `{` or `,`.
 */
export function keysInOrder(text: string, object: object, find: (root: unknown) => unknown): string[] {
  const keys = Object.keys(object);
  if (!keys.some((key) => INTEGER_KEY.test(key))) return keys;
  const marked = text.replace(/([{,]\s*")(\d+"\s*:)/g, "$1\\u0000$2");
  return Object.keys(find(JSON.parse(marked)) as object).map((key) => (key.startsWith(MARK) ? key.slice(1) : key));
}
