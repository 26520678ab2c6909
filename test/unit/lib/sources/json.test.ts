import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { keysInOrder, parseJson } from "../../../../lib/sources/json.ts";
import { isExactNumber, jsonText } from "../../../../lib/tabular/table.ts";

test.each([
  "12345678901234567890",
  "-9007199254740993",
  "0.12345678901234567891",
  "1e400",
  "-1.5e-999",
  "100000000000000000000000",
])("keeps every digit of %s, at the top and within", (digits) => {
  const parsed = parseJson(`{"a": ${digits}, "b": [[${digits}]], "c": "${digits}"}`) as Record<string, object>;
  expect(isExactNumber(parsed["a"]!)).toBe(true);
  expect(jsonText(parsed)).toBe(`{"a":${digits},"b":[[${digits}]],"c":"${digits}"}`);
});

test.each(["1", "-0.5", "1e3", "123456789012345", "9007199254740991", "0.1234567890123456"])(
  "leaves %s a number, also beside one that is not",
  (digits) => {
    expect(parseJson(digits)).toBe(Number(digits));
    expect(parseJson(`[12345678901234567890,${digits}]`)).toEqual([expect.anything(), Number(digits)]);
  },
);

test("keeps every digit of a long number wherever it stands", () => {
  const beside = fc.string({ unit: "grapheme", maxLength: 40 });
  const number = fc.tuple(fc.constantFrom("", "-"), fc.stringMatching(/^[1-9]\d{8,16}(\.\d{8,16})?$/), beside);
  fc.assert(
    fc.property(number, fc.constantFrom("", " ", "\n"), ([sign, digits, text], space) => {
      const json = `[${JSON.stringify(text)},${space}${sign}${digits}]`;
      const expected = digits.length > 15 ? `${sign}${digits}` : String(Number(sign + digits));
      expect(jsonText(parseJson(json) as object)).toBe(`[${JSON.stringify(text)},${expected}]`);
    }),
    { numRuns: 2_000 },
  );
});

test("reads all other JSON as JSON.parse does", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(JSON.parse(jsonText(parseJson(text) as object))).toEqual(JSON.parse(JSON.stringify(JSON.parse(text))));
    }),
  );
});

test("tells keys in the order of the text, also those that JavaScript moves to the front", () => {
  const text = '[{"name":"N", "10" :"ten","9":"nine, \\"8\\": \\"x\\"","Z":1}]';
  const root = parseJson(text) as object[];
  expect(keysInOrder(text, root[0]!, (each) => (each as object[])[0])).toEqual(["name", "10", "9", "Z"]);
});
