/**
 * The tokens of a filter (https://google.aip.dev/160). What a character means depends on the side of the operator that it
 * is on: a `.` parts the names of a field, but belongs to a value, as do the minus of a number and the `:` of a time.
 */
import { FilterError } from "./filter-error.ts";

const MAX_LENGTH = 8_192;

/** Each is a kind of token. */
const KEYWORDS_AND_MARKS = ["AND", "OR", "NOT", "(", ")", "-", ".", ",", "!"] as const;
/** Before each come the longer ones that begin with it. */
const OPERATORS = ["<=", ">=", "!=", "=", "<", ">", ":"] as const;
const ESCAPES: Record<string, string> = { '"': '"', "'": "'", "\\": "\\", n: "\n", t: "\t", "*": "*" };

const SPACE = /\s/;
const DIGIT = /[0-9]/;
const NUMBER_START = /[0-9.]/;
/** What ends a word, but for the `:` of a time. */
const SPECIAL = /[\s"'(),=!<>:]/;

export interface Token {
  kind: "word" | "string" | "operator" | "end" | (typeof KEYWORDS_AND_MARKS)[number];
  /** As it was written. */
  source: string;
  /** Of its first character (code point), from 1. */
  position: number;
  /** There is whitespace before it. */
  spaced: boolean;
  /** What a word or a string stands for, split at its wildcards. */
  parts: string[];
}

export class Tokenizer {
  readonly #characters: string[];
  #at = 0;
  /** What comes next is a value, or belongs to values in parentheses: `field = (value OR value)`. */
  #valueSide = false;
  /** Parentheses that are open on the value side. */
  #open = 0;

  /** Throws a FilterError for a text that is too long. */
  constructor(text: string) {
    // No more of it than shows that it is too long.
    this.#characters = Array.from(text.slice(0, 2 * (MAX_LENGTH + 1)));
    if (this.#characters.length > MAX_LENGTH) {
      throw new FilterError(MAX_LENGTH + 1, `the filter is longer than ${MAX_LENGTH} characters`);
    }
  }

  /** The next token, and at the end, the end. Throws a FilterError for a string that is not well formed. */
  next(): Token {
    const before = this.#at;
    while (SPACE.test(this.#peek())) this.#at += 1;
    const start = this.#at;
    const quote = this.#peek();
    const unescaped = quote === '"' || quote === "'" ? this.#readString(quote) : undefined;
    const kind = unescaped ? "string" : this.#readUnquoted();
    if (kind === "(" && this.#valueSide) this.#open += 1;
    if (kind === ")" && this.#open > 0) this.#open -= 1;
    this.#valueSide = kind === "operator" || this.#open > 0;
    const source = this.#source(start);
    return { kind, source, position: start + 1, spaced: start > before, parts: unescaped ?? source.split("*") };
  }

  #source(start: number): string {
    return this.#characters.slice(start, this.#at).join("");
  }

  /** The next character, or one further on; at the end, `""`. */
  #peek(ahead = 0): string {
    return this.#characters[this.#at + ahead] ?? "";
  }

  #readUnquoted(): Token["kind"] {
    const start = this.#at;
    const first = this.#peek();
    if (first === "") return "end";
    const second = this.#peek(1);
    const operator = OPERATORS.find((each) => (first + second).startsWith(each));
    if (operator) {
      this.#at += operator.length;
      return "operator";
    }
    const negates = first === "-" && !(this.#valueSide && NUMBER_START.test(second));
    if (negates || !this.#inWord()) this.#at += 1;
    else while (this.#inWord()) this.#at += 1;
    const source = this.#source(start);
    return KEYWORDS_AND_MARKS.find((each) => each === source) ?? "word";
  }

  /** The next character can be one of a word. */
  #inWord(): boolean {
    const character = this.#peek();
    if (character === ".") return this.#valueSide;
    if (character === ":") return this.#valueSide && DIGIT.test(this.#peek(-1)) && DIGIT.test(this.#peek(1));
    return character !== "" && !SPECIAL.test(character);
  }

  /** What the string stands for, split at its wildcards. */
  #readString(quote: string): string[] {
    const start = this.#at;
    const parts: string[] = [];
    let part = "";
    for (this.#at += 1; this.#peek() !== quote; this.#at += 1) {
      const character = this.#peek();
      if (character === "") {
        throw new FilterError(this.#at + 1, `expected ${quote} to end the string from ${start + 1}, found the end`);
      }
      if (character === "*") {
        parts.push(part);
        part = "";
      } else {
        part += character === "\\" ? this.#readEscape() : character;
      }
    }
    this.#at += 1;
    return [...parts, part];
  }

  #readEscape(): string {
    const position = this.#at + 1;
    this.#at += 1;
    const character = ESCAPES[this.#peek()];
    if (character !== undefined) return character;
    const known = Object.keys(ESCAPES).map((key) => `\\${key}`);
    throw new FilterError(position, `expected one of ${known.join(" ")}, found \\${this.#peek()}`);
  }
}
