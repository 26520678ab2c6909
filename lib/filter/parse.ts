/**
 * Reads the filters of AIP-160 (https://google.aip.dev/160), by its grammar
 * (https://google.aip.dev/assets/misc/ebnf-filtering.txt):
 *
 *     expression  = sequence {AND sequence}
 *     sequence    = factor {factor}
 *     factor      = term {OR term}
 *     term        = [NOT | "-"] (restriction | "(" expression ")")
 *     restriction = field operator (value | "(" expression of values ")") | value
 *
 * So OR binds tighter than AND, and a sequence is an AND. It differs from that grammar on the right side of an operator:
 * a value may be a time with `:` in it, `-30` is a number and no negation, dotted names are values and no fields, and
 * parentheses come after `=` and `:` only. Functions are refused.
 */
import type { Comparison, Expression, Operator, Value } from "./expression.ts";
import { FilterError } from "./filter-error.ts";
import { type Token, Tokenizer } from "./tokens.ts";

/** Of parentheses. */
const MAX_DEPTH = 50;
/** Values alone count too. */
const MAX_COMPARISONS = 200;

/** What an expression can go on with, after whitespace. */
const CONTINUATIONS: readonly Token["kind"][] = ["word", "string", "(", "-", "NOT", "AND", "OR"];

/** The left side of `field = (a OR b)`, which says `field = a OR field = b`. */
type Subject = Omit<Comparison, "value">;

/** What a filter says; undefined for a blank one. Throws a FilterError where it is not well formed, or too large. */
export function parseFilter(text: string): Expression | undefined {
  return new Parser(text).filter();
}

/** The methods read what they are named after; given a subject, that of values. */
class Parser {
  readonly #tokens: Tokenizer;
  #last: Token | undefined;
  #next: Token;
  #depth = 0;
  #comparisons = 0;

  constructor(text: string) {
    this.#tokens = new Tokenizer(text);
    this.#next = this.#tokens.next();
  }

  filter(): Expression | undefined {
    if (this.#isNext("end")) return undefined;
    const expression = this.#expression();
    if (!this.#isNext("end")) this.#expected("AND, OR or the end");
    return expression;
  }

  #expression(subject?: Subject): Expression {
    const operands = [this.#factor(subject)];
    while (this.#isNext(...CONTINUATIONS)) {
      this.#expectSpace();
      if (this.#isNext("AND")) this.#keyword();
      operands.push(this.#factor(subject));
    }
    return combine("and", operands);
  }

  #factor(subject?: Subject): Expression {
    const operands = [this.#term(subject)];
    while (this.#isNext("OR")) {
      this.#expectSpace();
      this.#keyword();
      operands.push(this.#term(subject));
    }
    return combine("or", operands);
  }

  #term(subject?: Subject): Expression {
    if (this.#isNext("NOT")) this.#keyword();
    else if (this.#isNext("-")) this.#mark("a term");
    else return this.#simple(subject);
    return { kind: "not", operand: this.#simple(subject) };
  }

  #simple(subject?: Subject): Expression {
    if (this.#isNext("(")) return this.#composite(subject);
    return subject ? this.#comparison(subject) : this.#restriction();
  }

  #composite(subject?: Subject): Expression {
    const { position } = this.#take();
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) throw new FilterError(position, `parentheses are nested deeper than ${MAX_DEPTH}`);
    const expression = this.#expression(subject);
    if (!this.#isNext(")")) this.#expected('AND, OR or ")"');
    this.#take();
    this.#depth -= 1;
    return expression;
  }

  #restriction(): Expression {
    const path = this.#path();
    const { position } = path[0];
    this.#noCall(position);
    const field = path.map((name) => name.text);
    if (this.#isNext("operator")) {
      return this.#argument({ kind: "compare", field, operator: this.#take().source as Operator, position });
    }
    this.#count(position);
    if (path.length === 1) return { kind: "text", ...path[0] };
    // `2.5` is a value, but `a."b"` can only be a field.
    if (path.some((name) => name.quoted)) this.#expected("an operator");
    const text = field.join(".");
    return { kind: "text", text, parts: text.split("*"), quoted: false, position };
  }

  #path(): [Value, ...Value[]] {
    const path: [Value, ...Value[]] = [this.#value("a term", "word", "string")];
    while (this.#isNext(".") && !this.#next.spaced) {
      this.#mark("a name");
      path.push(this.#value("a name", "word", "string", "AND", "OR", "NOT"));
    }
    return path;
  }

  #argument(subject: Subject): Expression {
    if (!this.#isNext("(")) return this.#comparison(subject);
    if (!["=", ":"].includes(subject.operator)) this.#expected("a value");
    return this.#composite(subject);
  }

  #comparison(subject: Subject): Comparison {
    const value = this.#value("a value", "word", "string");
    this.#noCall(value.position);
    this.#count(value.position);
    return { ...subject, value };
  }

  #value(what: string, ...kinds: Token["kind"][]): Value {
    if (!this.#isNext(...kinds)) this.#expected(what);
    const { kind, parts, position } = this.#take();
    return { text: parts.join("*"), parts, quoted: kind === "string", position };
  }

  /** AND, OR or NOT, which whitespace parts from what comes after it. */
  #keyword(): void {
    this.#take();
    this.#expectSpace();
  }

  /** What would be wrong with a space, too, is left to others. */
  #expectSpace(): void {
    if (!this.#next.spaced && this.#isNext(...CONTINUATIONS)) this.#expected("a space");
  }

  /** "-" or ".", right before what it belongs to. */
  #mark(what: string): void {
    const { source } = this.#take();
    if (!this.#next.spaced) return;
    throw new FilterError(this.#next.position - 1, `expected ${what} right after "${source}", found a space`);
  }

  /** What was taken is not the name of a function. */
  #noCall(position: number): void {
    const isCall = this.#isNext("(") && !this.#next.spaced && this.#last?.kind !== "string";
    if (isCall) throw new FilterError(position, "functions are not supported");
  }

  #count(position: number): void {
    this.#comparisons += 1;
    if (this.#comparisons <= MAX_COMPARISONS) return;
    throw new FilterError(position, `more than ${MAX_COMPARISONS} comparisons`);
  }

  #isNext(...kinds: readonly Token["kind"][]): boolean {
    return kinds.includes(this.#next.kind);
  }

  #take(): Token {
    this.#last = this.#next;
    this.#next = this.#tokens.next();
    return this.#last;
  }

  #expected(what: string): never {
    const after = this.#last ? ` after ${show(this.#last)}` : "";
    throw new FilterError(this.#next.position, `expected ${what}${after}, found ${show(this.#next)}`);
  }
}

/** Operands of the same kind are taken apart; one alone stays what it is. */
function combine(kind: "and" | "or", operands: Expression[]): Expression {
  const [first] = operands;
  if (first && operands.length === 1) return first;
  return { kind, operands: operands.flatMap((each) => (each.kind === kind ? each.operands : [each])) };
}

const SHOWN = 30;

function show({ kind, source }: Token): string {
  if (kind === "end") return "the end";
  const characters = Array.from(source);
  const short = characters.length > SHOWN ? `${characters.slice(0, SHOWN).join("")}…` : source;
  return ["string", "AND", "OR", "NOT"].includes(kind) ? short : `"${short}"`;
}
