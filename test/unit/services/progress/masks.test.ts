import { describe, expect, test } from "@jest/globals";
import { exactNumber } from "../../../../lib/tabular/table.ts";
import { maskColumns } from "../../../../services/progress/masks.ts";
import type { MaskRule } from "../../../../services/progress/work.ts";

const columns = (...titles: string[]) => titles.map((title) => ({ key: title, title }));

/** Which of some columns a pattern matches. */
function matched(pattern: string, titles: readonly string[], table?: string): string[] {
  const masking = maskColumns(columns(...titles), [{ column: pattern, action: "mask" }], { table });
  const [row] = masking.rows([titles.map(() => "secret")]);
  return titles.filter((_, index) => row![index] !== "secret");
}

describe("a pattern", () => {
  const titles = ["phone", "PHONE_2", "work_phone", "a.phone", "phon", "email"];

  test.each([
    ["phone", ["phone"]],
    ["phone*", ["phone", "PHONE_2"]],
    ["*Phone*", ["phone", "PHONE_2", "work_phone", "a.phone"]],
    ["*", titles],
    ["a*e", ["a.phone"]],
    ["a?phone", []],
    [".*", []],
    ["(email|phon)", []],
  ])("%s is of names, with * alone for more", (pattern, expected) => {
    expect(matched(pattern, titles)).toEqual(expected);
  });

  test("of a table and a column is of that table alone", () => {
    expect(matched("customers.email", ["email", "phone"], "customers")).toEqual(["email"]);
    expect(matched("customers.*", ["email", "phone"], "customers")).toEqual(["email", "phone"]);
    expect(matched("customers.email", ["email"], "orders")).toEqual([]);
    expect(matched("customers.email", ["email"])).toEqual([]);
  });
});

describe("a masked cell", () => {
  const rules: MaskRule[] = [{ column: "a", action: "mask" }];
  const masked = (cell: Parameters<ReturnType<typeof maskColumns>["rows"]>[0][number][number]) =>
    maskColumns(columns("a"), rules, {}).rows([[cell]])[0]![0];

  test.each([
    ["13800138000", "1***0"],
    ["李小雷", "李***雷"],
    ["😀b😀", "😀***😀"],
    ["ab", "***"],
    ["", "***"],
    [12345, "1***5"],
    [12345678901234567890n, "1***0"],
    [exactNumber("0.10000000000000000005"), "0***5"],
    [true, "t***e"],
    [{ phone: 1 }, "{***}"],
    [null, null],
    [undefined, undefined],
  ])("%p is %p", (cell, expected) => {
    expect(masked(cell)).toBe(expected);
  });

  test("is a text, whatever its column was; other columns stay as they are", () => {
    const typed = [
      { key: "a", title: "a", type: "number" as const },
      { key: "b", title: "b", type: "number" as const },
    ];
    const masking = maskColumns(typed, rules, {});
    expect(masking.columns).toEqual([{ key: "a", title: "a" }, typed[1]]);
    expect(masking.rows([["10.50", "10.50"]])).toEqual([["1***0", "10.50"]]);
  });

  test("has the same hash for the same value, with another key another one", () => {
    const hash = (key: string, cell: string | number) =>
      maskColumns(columns("a"), [{ column: "a", action: "hash" }], { key }).rows([[cell]])[0]![0];
    expect(hash("k", "5")).toMatch(/^[0-9a-f]{16}$/);
    expect(hash("k", 5)).toBe(hash("k", "5"));
    expect(hash("l", "5")).not.toBe(hash("k", "5"));
    expect(() => hash("", "5")).toThrow("there is no key");
  });
});

test("the first rule that matches counts", () => {
  const rules: MaskRule[] = [
    { column: "b", action: "mask" },
    { column: "*", action: "refuse" },
  ];
  expect(maskColumns(columns("b"), rules, {}).rows([["abc"]])).toEqual([["a***c"]]);
  expect(() => maskColumns(columns("b", "c"), rules, {})).toThrow(
    'the column "c" may not be read: the rule * refuses it',
  );
});
