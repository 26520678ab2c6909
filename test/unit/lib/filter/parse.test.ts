import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Comparison, Expression, Operator, Text, Value } from "../../../../lib/filter/expression.ts";
import { FilterError } from "../../../../lib/filter/filter-error.ts";
import { parseFilter } from "../../../../lib/filter/parse.ts";

/** An expression with all of its parentheses and none of its positions: `(a : "x%" AND NOT b)`, with `%` for wildcards. */
function outline(expression: Expression | undefined): string {
  switch (expression?.kind) {
    case undefined:
      return "nothing";
    case "and":
    case "or":
      return `(${expression.operands.map(outline).join(` ${expression.kind.toUpperCase()} `)})`;
    case "not":
      return `NOT ${outline(expression.operand)}`;
    case "compare":
      return `${expression.field.join("/")} ${expression.operator} ${outlineValue(expression.value)}`;
    case "text":
      return outlineValue(expression);
    default:
      return expression satisfies never;
  }
}

function outlineValue({ parts, quoted }: Value): string {
  return quoted ? JSON.stringify(parts.join("%")) : parts.join("%");
}

function refusal(text: string): FilterError | undefined {
  try {
    parseFilter(text);
    return undefined;
  } catch (error) {
    if (error instanceof FilterError) return error;
    throw error;
  }
}

describe("a filter", () => {
  test.each([
    // The examples of AIP-160's grammar.
    ["a b AND c AND d", "(a AND b AND c AND d)"],
    ["(a b) AND c AND d", "(a AND b AND c AND d)"],
    ["New York Giants OR Yankees", "(New AND York AND (Giants OR Yankees))"],
    ["New York (Giants OR Yankees)", "(New AND York AND (Giants OR Yankees))"],
    ["a < 10 OR a >= 100", "(a < 10 OR a >= 100)"],
    ["NOT (a OR b)", "NOT (a OR b)"],
    ['-file:".java"', 'NOT file : ".java"'],
    ["-30", "NOT 30"],
    ["package=com.google", "package = com.google"],
    ["msg != 'hello'", 'msg != "hello"'],
    ["1 > 0", "1 > 0"],
    ["2.5 >= 2.4", "2/5 >= 2.4"],
    ["yesterday < request.time", "yesterday < request.time"],
    ["map:key", "map : key"],
    ["prod", "prod"],
    ["expr.type_map.1.type", "expr.type_map.1.type"],
    // And of its text.
    ["Victor Hugo", "(Victor AND Hugo)"],
    ["a AND b OR c", "(a AND (b OR c))"],
    ["a OR b OR c", "(a OR b OR c)"],
    ["a = true", "a = true"],
    ["a.b.c = 'foo'", 'a/b/c = "foo"'],
    ["a < 2.997e9", "a < 2.997e9"],
    ["a > 1.2s", "a > 1.2s"],
    ["a = 2012-04-21T11:30:00-04:00", "a = 2012-04-21T11:30:00-04:00"],
    ["a = '*.foo'", 'a = "%.foo"'],
    ["r.foo:42", "r/foo : 42"],
    ["m.foo:*", "m/foo : %"],
  ])("%s", (text, expected) => {
    expect(outline(parseFilter(text))).toBe(expected);
  });

  test.each(["", " ", " \t\r\n\u3000"])("says nothing where it is blank: %j", (text) => {
    expect(parseFilter(text)).toBeUndefined();
  });

  test("tells where everything stands, in characters", () => {
    expect(parseFilter("é🚀.x = '🚀*' -done")).toEqual({
      kind: "and",
      operands: [
        {
          kind: "compare",
          field: ["é🚀", "x"],
          operator: "=",
          value: { text: "🚀*", parts: ["🚀", ""], quoted: true, position: 8 },
          position: 1,
        },
        { kind: "not", operand: { kind: "text", text: "done", parts: ["done"], quoted: false, position: 14 } },
      ],
    });
  });
});

describe("in a filter", () => {
  test.each([
    ["a OR b AND c OR d e", "((a OR b) AND (c OR d) AND e)"],
    ["(a AND b) OR c", "((a AND b) OR c)"],
    ["NOT a OR -b c", "((NOT a OR NOT b) AND c)"],
    ["-(a b)", "NOT (a AND b)"],
    ["NOT (NOT (-(a)))", "NOT NOT NOT a"],
  ])("NOT binds tighter than OR, and OR than AND: %s", (text, expected) => {
    expect(outline(parseFilter(text))).toBe(expected);
  });

  test("what is of one kind is in one list", () => {
    expect(outline(parseFilter("((a) (b AND (c d))) AND (((e OR f) OR (g)))"))).toBe(
      "(a AND b AND c AND d AND (e OR f OR g))",
    );
  });

  test.each([
    ["a and or not b AND Or", "(a AND and AND or AND not AND b AND Or)"],
    ["'AND' \"OR\" ANDROID", '("AND" AND "OR" AND ANDROID)'],
    ["a.NOT.OR = 'AND'", 'a/NOT/OR = "AND"'],
  ])("keywords are upper case and unquoted: %s", (text, expected) => {
    expect(outline(parseFilter(text))).toBe(expected);
  });

  test.each([
    ["a='b'\nc\t<=\r\n5", '(a = "b" AND c <= 5)'],
    ["( a )  AND  ( b )", "(a AND b)"],
    ['labels.\'x.y\'."\\""=1', 'labels/x.y/" = 1'],
    ["labels.my-key/1 = 1", "labels/my-key/1 = 1"],
    ["name = a/b-c_d*e+f%&|~", "name = a/b-c_d%e+f%&|~"],
    ["a=.5", "a = .5"],
  ])("fields and values are written so: %j", (text, expected) => {
    expect(outline(parseFilter(text))).toBe(expected);
  });

  test.each(["=", "!=", "<", "<=", ">", ">=", ":"])("%s compares, with and without spaces", (operator) => {
    expect(outline(parseFilter(`a${operator}b`))).toBe(`a ${operator} b`);
    expect(outline(parseFilter(`a ${operator} b`))).toBe(`a ${operator} b`);
  });

  test.each([
    ["t > 2024-01-02T03:04:05Z", "t > 2024-01-02T03:04:05Z"],
    ["t>2024-01-02T03:04:05.678+08:00 a:1", "(t > 2024-01-02T03:04:05.678+08:00 AND a : 1)"],
    ["t = (2024-01-02T03:04:05Z OR 03:04)", "(t = 2024-01-02T03:04:05Z OR t = 03:04)"],
    ["m.1:2", "m/1 : 2"],
  ])("a value may have : between digits: %s", (text, expected) => {
    expect(outline(parseFilter(text))).toBe(expected);
  });

  test.each([
    ["a = -30", "a = -30"],
    ["a>-.5", "a > -.5"],
    ["a < -1.5s -b", "(a < -1.5s AND NOT b)"],
    ["a:(-30 OR -b)", "(a : -30 OR NOT a : b)"],
    ["a-b -c-d", "(a-b AND NOT c-d)"],
  ])("a minus is the sign of a number or negates: %s", (text, expected) => {
    expect(outline(parseFilter(text))).toBe(expected);
  });

  test.each([
    [String.raw`"\" ' \' \\ \n \t"`, [`" ' ' \\ \n \t`]],
    [String.raw`'" \"'`, ['" "']],
    ["''", [""]],
    ["'two\nlines'", ["two\nlines"]],
    ["'a*b*'", ["a", "b", ""]],
    [String.raw`'\**\\*'`, ["*", "\\", ""]],
    ["*a*", ["", "a", ""]],
    [String.raw`a\*`, ["a\\", ""]],
    ["1.*", ["1.", ""]],
  ])("a value comes without its escapes, split at its wildcards: %s", (text, parts) => {
    const value = { text: parts.join("*"), parts, quoted: /^["']/.test(text) };
    expect(parseFilter(text)).toEqual({ kind: "text", ...value, position: 1 });
    expect(parseFilter(`a=${text}`)).toMatchObject({ kind: "compare", value: { ...value, position: 3 } });
  });

  test.each([
    ["a = (b)", "a = b"],
    ["a.b:(c OR 'd' e.f)", '((a/b : c OR a/b : "d") AND a/b : e.f)'],
    ["a = (b OR (c AND NOT d))", "(a = b OR (a = c AND NOT a = d))"],
    ["x OR a = ( b OR c ) OR y.z = 1", "(x OR a = b OR a = c OR y/z = 1)"],
    ["x a:(b c) y.z = 1", "(x AND a : b AND a : c AND y/z = 1)"],
    ["-a = (b OR c)", "NOT (a = b OR a = c)"],
  ])("values in parentheses are each compared: %s", (text, expected) => {
    expect(outline(parseFilter(text))).toBe(expected);
  });
});

describe("refused is", () => {
  test.each([
    ["state =", 'at 8: expected a value after "=", found the end'],
    ["🚀 = ,", 'at 5: expected a value after "=", found ","'],
    ["a == b", 'at 4: expected a value after "=", found "="'],
    ["a = -b", 'at 5: expected a value after "=", found "-"'],
    ["a = AND", 'at 5: expected a value after "=", found AND'],
    ["a != (b OR c)", 'at 6: expected a value after "!=", found "("'],
    ["a:(b OR )", 'at 9: expected a value after OR, found ")"'],
    ["= b", 'at 1: expected a term, found "="'],
    ["AND", "at 1: expected a term, found AND"],
    ["a AND", "at 6: expected a term after AND, found the end"],
    ["a AND OR b", "at 7: expected a term after AND, found OR"],
    ["a OR AND b", "at 6: expected a term after OR, found AND"],
    ["()", 'at 2: expected a term after "(", found ")"'],
    [".5", 'at 1: expected a term, found "."'],
    ["NOT NOT a", "at 5: expected a term after NOT, found NOT"],
    ["--a", 'at 2: expected a term after "-", found "-"'],
    ["-NOT a", 'at 2: expected a term after "-", found NOT'],
    ["- a", 'at 2: expected a term right after "-", found a space'],
    ["a. b = 1", 'at 3: expected a name right after ".", found a space'],
    ["a..b = 1", 'at 3: expected a name after ".", found "."'],
    ["a.-b = 1", 'at 3: expected a name after ".", found "-"'],
    ["a.'b' c", `at 7: expected an operator after 'b', found "c"`],
    ["a = b = c", 'at 7: expected AND, OR or the end after "b", found "="'],
    ["a:b:c", 'at 4: expected AND, OR or the end after "b", found ":"'],
    ["a .b", 'at 3: expected AND, OR or the end after "a", found "."'],
    ["a ! b", 'at 3: expected AND, OR or the end after "a", found "!"'],
    ["a, b", 'at 2: expected AND, OR or the end after "a", found ","'],
    ["a)", 'at 2: expected AND, OR or the end after "a", found ")"'],
    ["((a)", 'at 5: expected AND, OR or ")" after ")", found the end'],
    ["a:(b = c)", 'at 6: expected AND, OR or ")" after "b", found "="'],
    ["(a)(b)", 'at 4: expected a space after ")", found "("'],
    ["NOT(a)", 'at 4: expected a space after NOT, found "("'],
    ["a AND(b)", 'at 6: expected a space after AND, found "("'],
    ["'a'OR b", "at 4: expected a space after 'a', found OR"],
    ["'a'AND b", "at 4: expected a space after 'a', found AND"],
    ['a = b"c"', 'at 6: expected a space after "b", found "c"'],
    ["'a'(b)", `at 4: expected a space after 'a', found "("`],
    ['a = "b', 'at 7: expected " to end the string from 5, found the end'],
    ["'b\"", "at 4: expected ' to end the string from 1, found the end"],
    [String.raw`a = '\d'`, String.raw`at 6: expected one of \" \' \\ \n \t \*, found \d`],
    ["'\\", `${String.raw`at 2: expected one of \" \' \\ \n \t \*, found `}\\`],
    [`a = ${"b".repeat(99)} =`, `at 105: expected AND, OR or the end after "${"b".repeat(30)}…", found "="`],
    // The functions of AIP-160's grammar.
    ["regex(m.key, '^.*prod.*$')", "at 1: functions are not supported"],
    ["a math.mem('30mb')", "at 3: functions are not supported"],
    ["(msg.endsWith('world') AND retries < 10)", "at 2: functions are not supported"],
    ["experiment.rollout <= cohort(request.user)", "at 23: functions are not supported"],
    ["a:(b OR c())", "at 9: functions are not supported"],
  ])("%j", (text, message) => {
    const error = refusal(text);
    expect(error?.message).toBe(message);
    expect(message).toMatch(new RegExp(`^at ${error?.position}: `));
  });

  test("what is longer than 8,192 characters", () => {
    expect(outline(parseFilter("🚀".repeat(8_192)))).toHaveLength(2 * 8_192);
    expect(refusal("🚀".repeat(8_193))?.message).toBe("at 8193: the filter is longer than 8192 characters");
    expect(refusal(" ".repeat(10_000_000))?.position).toBe(8_193);
  });

  test("what is nested deeper than 50", () => {
    const nested = (depth: number) => `${"-(".repeat(depth)}a${")".repeat(depth)}`;
    expect(outline(parseFilter(`${nested(50)} ${nested(50)}`))).toMatch(/^\((NOT ){50}a AND (NOT ){50}a\)$/);
    expect(refusal(nested(51))?.message).toBe("at 102: parentheses are nested deeper than 50");
    expect(refusal(`a=${"(".repeat(51)}`)?.position).toBe(53);
  });

  test("more than 200 comparisons, with values alone and in parentheses", () => {
    expect(parseFilter("a=1 ".repeat(200))).toMatchObject({ operands: { length: 200 } });
    expect(refusal("a=1 ".repeat(201))?.message).toBe("at 803: more than 200 comparisons");
    expect(refusal("a ".repeat(201))?.position).toBe(401);
    expect(refusal(`a:(${"b ".repeat(201)})`)?.position).toBe(404);
  });

  test.each(["(", ")", "-", "-(", "NOT ", "NOT (", "a=(", "a.", ".", "'", "''", "'\\", "=", "a=1:", "a:", ",", "!"])(
    "%j, however often it is there",
    (piece) => {
      for (const count of [5, 500, 8_192 / piece.length])
        expect(refusal(piece.repeat(count))).toBeInstanceOf(FilterError);
    },
  );
});

/** Ways to write the same expression. */
const styles = fc.record({
  and: fc.constantFrom(" AND ", " ", "\n\tAND\u3000"),
  not: fc.constantFrom("NOT ", "-"),
  /** Around operators and inside parentheses. */
  space: fc.constantFrom("", " ", "\n "),
  quote: fc.constantFrom('"', "'"),
});
type Style = typeof styles extends fc.Arbitrary<infer T> ? T : never;

function write(expression: Expression, style: Style): string {
  const { and, not, space } = style;
  const group = (each: Expression) => `(${space}${write(each, style)}${space})`;
  switch (expression.kind) {
    case "and":
      return expression.operands.map((each) => write(each, style)).join(and);
    case "or":
      return expression.operands.map((each) => (each.kind === "and" ? group : write)(each, style)).join(" OR ");
    case "not":
      return not + (isLeaf(expression.operand) ? write : group)(expression.operand, style);
    case "compare": {
      const field = expression.field.map((name) => (/^[a-z]+$/.test(name) ? name : writeString([name], style)));
      return [field.join("."), expression.operator, writeValue(expression.value, style)].join(space);
    }
    case "text":
      return writeValue(expression, style);
    default:
      return expression satisfies never;
  }
}

function writeValue({ text, parts, quoted }: Value, style: Style): string {
  return quoted ? writeString(parts, style) : text;
}

function writeString(parts: string[], { quote }: Style): string {
  const escaped = parts.map((part) => part.replaceAll(/["'\\*]/g, (special) => `\\${special}`));
  return `${quote}${escaped.join("*")}${quote}`;
}

function isLeaf(expression: Expression): expression is Comparison | Text {
  return expression.kind === "compare" || expression.kind === "text";
}

function leaves(expression: Expression): (Comparison | Text)[] {
  if (isLeaf(expression)) return [expression];
  return expression.kind === "not" ? leaves(expression.operand) : expression.operands.flatMap(leaves);
}

/** Wherever it stands. */
const unplaced = { position: expect.any(Number) as unknown as number };

function values(unquoted: fc.Arbitrary<string>): fc.Arbitrary<Value> {
  const parts = fc.array(strings, { minLength: 1, maxLength: 3 });
  return fc.oneof(
    unquoted.map((text) => ({ text, parts: text.split("*"), quoted: false, ...unplaced })),
    parts.map((each) => ({ text: each.join("*"), parts: each, quoted: true, ...unplaced })),
  );
}

const strings = fc.string({ unit: fc.constantFrom(...`"'\\*\n()=.: -aé🚀`), maxLength: 6 });
const words = fc.stringMatching(/^[a-z0-9_*/+é🚀][A-Za-z0-9_*/+é🚀-]{0,6}$/u);
const texts = values(fc.array(words, { minLength: 1, maxLength: 3 }).map((names) => names.join(".")));
const compared = values(
  fc.oneof(words, fc.constantFrom("-30", "-.5", "com.google", "*", "2024-01-02T03:04:05.5+08:00")),
);

const leaf: fc.Arbitrary<Expression> = fc.oneof(
  texts.map((value) => ({ kind: "text" as const, ...value })),
  fc.record({
    kind: fc.constant("compare" as const),
    field: fc.array(fc.oneof(fc.constantFrom("a", "state"), strings), { minLength: 1, maxLength: 3 }),
    operator: fc.constantFrom<Operator>("=", "!=", "<", "<=", ">", ">=", ":"),
    value: compared,
    position: fc.constant(unplaced.position),
  }),
);
const { expression: expressions } = fc.letrec<Record<"expression" | "not" | "and" | "or", Expression>>((tie) => {
  const one = (...of: fc.Arbitrary<Expression>[]) => fc.oneof({ maxDepth: 3, depthIdentifier: "filter" }, leaf, ...of);
  const several = (of: fc.Arbitrary<Expression>) => fc.array(of, { minLength: 2, maxLength: 4 });
  return {
    expression: one(tie("not"), tie("and"), tie("or")),
    not: fc.record({ kind: fc.constant("not" as const), operand: tie("expression") }),
    and: fc.record({ kind: fc.constant("and" as const), operands: several(one(tie("not"), tie("or"))) }),
    or: fc.record({ kind: fc.constant("or" as const), operands: several(one(tie("not"), tie("and"))) }),
  };
});

describe("whatever", () => {
  test("is written is read as it was meant, and from where it stands", () => {
    fc.assert(
      fc.property(expressions, styles, (expression, style) => {
        const text = write(expression, style);
        const parsed = parseFilter(text)!;
        expect(parsed).toEqual(expression);
        const characters = Array.from(text);
        const from = (position: number) => characters.slice(position - 1).join("");
        for (const found of leaves(parsed)) {
          expect(from(found.position).startsWith(write(found, style))).toBe(true);
          const value = found.kind === "compare" ? found.value : found;
          expect(from(value.position).startsWith(writeValue(value, style))).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  const longer = ["a", "5", "🚀", " AND ", " OR ", "NOT ", " a=", ' "b" ', "a:(", "\u3000"];
  const pieces = fc.constantFrom(..."()-.,!=<>:*\"'\\ \n", ...longer);
  test.each([
    ["characters", fc.string({ unit: "binary", maxLength: 50 })],
    ["pieces of filters", fc.array(pieces, { maxLength: 20 }).map((each) => each.join(""))],
  ])("%s come, they are read or refused with a position", (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (text) => {
        const error = refusal(text);
        if (!error) return;
        expect(error.position).toBeGreaterThanOrEqual(1);
        expect(error.position).toBeLessThanOrEqual(Array.from(text).length + 1);
      }),
      { numRuns: 2_000 },
    );
  });
});
