/** What a filter of AIP-160 (https://google.aip.dev/160) says, as `parseFilter` reads it. */

export type Expression = Combination | Negation | Comparison | Text;

/** Two operands or more, none of which is a combination of the same kind. */
export interface Combination {
  kind: "and" | "or";
  operands: Expression[];
}

export interface Negation {
  kind: "not";
  operand: Expression;
}

/** `field operator value`; positions count the filter's characters (code points) from 1. */
export interface Comparison {
  kind: "compare";
  /** The names on the way to it: `["metadata", "state"]`. */
  field: string[];
  operator: Operator;
  value: Value;
  position: number;
}

/** `:` is "has". */
export type Operator = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":";

/** A value alone, to be found in whatever field (a "global restriction"). */
export interface Text extends Value {
  kind: "text";
}

/** What it is worth, a number or a time or a text, depends on the field that it is compared with. */
export interface Value {
  /** Without quotes and escapes. */
  text: string;
  /** The text split at its wildcards, `["", ".txt"]` for `*.txt`; a `*` in a part was written `\*` and is a mere character. */
  parts: string[];
  /** Written as a string: `"30"` and not `30`. */
  quoted: boolean;
  position: number;
}
