import type { Random } from "./random.ts";

/** A pattern that is none; the message says why. */
export class PatternError extends Error {
  override readonly name = "PatternError";
}

const MAX_PATTERN = 200;
const MAX_REPEAT = 100;
const MAX_LENGTH = 1_000;

const DIGITS = "0123456789";
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CLASSES: Record<string, string> = { d: DIGITS, w: `${LETTERS}${DIGITS}_` };

interface Piece {
  characters: readonly string[];
  min: number;
  max: number;
}

const PIECE = /(?:\[((?:\\.|[^\]\\])+)\]|\\(.)|([^[\]{}()*+?|^$.\\]))(?:\{(\d{1,3})(?:,(\d{1,3}))?\})?/suy;

/**
 * Reads a pattern of texts, in the form of a regular expression that has an end: characters, classes such as `[A-Z0-9]`,
 * `\d` and `\w`, a backslash before a special one, and `{3}` or `{2,5}` after any of them. Answers what makes such texts.
 */
export function readPattern(pattern: string): (random: Random) => string {
  if (pattern.length > MAX_PATTERN) throw new PatternError(`must be at most ${MAX_PATTERN} characters`);
  const pieces: Piece[] = [];
  for (PIECE.lastIndex = 0; PIECE.lastIndex < pattern.length;) {
    const at = PIECE.lastIndex;
    const found = PIECE.exec(pattern);
    if (!found) throw new PatternError(`cannot be read at character ${at + 1}`);
    pieces.push(readPiece(found));
  }
  const longest = pieces.reduce((length, { max }) => length + max, 0);
  if (longest > MAX_LENGTH) throw new PatternError(`must not make texts of more than ${MAX_LENGTH} characters`);
  return (random) => pieces.map((piece) => textOf(piece, random)).join("");
}

function readPiece([, members, escaped, literal, min = "1", max = min]: RegExpExecArray): Piece {
  const piece = { characters: charactersOf(members, escaped, literal), min: Number(min), max: Number(max) };
  if (piece.min > piece.max) throw new PatternError(`has the range {${min},${max}}, whose end is before its beginning`);
  if (piece.max > MAX_REPEAT) throw new PatternError(`must not repeat anything more than ${MAX_REPEAT} times`);
  return piece;
}

function charactersOf(members: string | undefined, escaped: string | undefined, literal: string | undefined): string[] {
  if (members !== undefined) return readClass(members);
  if (escaped !== undefined) return [...(CLASSES[escaped] ?? escaped)];
  return [literal!];
}

function readClass(members: string): string[] {
  if (members.startsWith("^")) throw new PatternError("must not have a class that begins with ^");
  const characters = new Set<string>();
  for (const [, from, to, escaped, single] of members.matchAll(/([^\\])-([^\\])|\\(.)|(.)/gsu)) {
    if (from === undefined) for (const one of CLASSES[escaped ?? ""] ?? escaped ?? single!) characters.add(one);
    else {
      const [first, last] = [from.codePointAt(0)!, to!.codePointAt(0)!];
      if (first > last) throw new PatternError(`has the range ${from}-${to}, whose end is before its beginning`);
      if (last - first > 1_000) throw new PatternError(`has the range ${from}-${to} of more than 1000 characters`);
      for (let code = first; code <= last; code++) characters.add(String.fromCodePoint(code));
    }
  }
  return [...characters];
}

function textOf({ characters, min, max }: Piece, random: Random): string {
  let text = "";
  for (let left = random.integer(min, max); left > 0; left--)
    text += characters[random.integer(0, characters.length - 1)];
  return text;
}
