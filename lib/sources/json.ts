import { exactNumber } from "../tabular/table.ts";

/** A number, not a text: over 15 digits long, or with an exponent that may leave a double's range. */
const LONG_NUMBER = /(?:^|[:,[\s])-?(?:\d[\d.]{15}|[\d.]+[eE][+-]?\d{3})/;

/**
 * Parses JSON so that no digit is lost: a number that a double would change becomes an ExactNumber. Only a text that
 * holds a long number pays for it.
 */
export function parseJson(text: string): unknown {
  return LONG_NUMBER.test(text) ? JSON.parse(text, keepDigits as Reviver) : JSON.parse(text);
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
