import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { columnLetters, exceedsExcelDigits, xmlText } from "../../../../lib/tabular/xlsx-text.ts";

/** What a reader of workbooks does with the content of an element. */
function read(xml: string): string {
  const text = xml.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
  return text.replace(/_x([0-9A-Fa-f]{4})_/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
}

test.each([
  ["a < b & c > d", "a &lt; b &amp; c &gt; d"],
  ["\u0001", "_x0001_"],
  ["a\r\nb\tc", "a_x000D_\nb\tc"],
  ["_x0041_", "_x005F_x0041_"],
  ["_x0041", "_x0041"],
  ["_x0041\u0002", "_x005F_x0041_x0002_"],
  ["\ud800", "_xD800_"],
  ["😀\ufffe", "😀_xFFFE_"],
])("%p is written %p", (text, xml) => {
  expect(xmlText(text)).toBe(xml);
  expect(read(xml)).toBe(text);
});

test("any text is read back as it was, from characters that XML has", () => {
  const piece = fc.oneof(
    fc.constantFrom("_x0041_", "_x", "_", "x005F_", "\ud83d", "\ude00", "\u0000", "\r", "&amp;", "]]>", "0041"),
    fc.string({ unit: "binary" }),
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const text = pieces.join("");
      const xml = xmlText(text);
      expect(read(xml)).toBe(text);
      expect(xml.isWellFormed()).toBe(true);

      expect(xml).not.toMatch(/[\u0000-\u0008\u000b-\u001f<>\ufffe\uffff]/);
    }),
    { numRuns: 2000 },
  );
});

test.each([
  [0, "A"],
  [25, "Z"],
  [26, "AA"],
  [701, "ZZ"],
  [702, "AAA"],
  [16_383, "XFD"],
])("column %i is %s", (index, letters) => {
  expect(columnLetters(index)).toBe(letters);
});

test.each([
  ["123456789012345", false],
  ["1234567890123456", true],
  ["1234567890123450", false],
  ["-0.00012345678901234", false],
  ["0.30000000000000004", true],
  ["1e+300", false],
  ["1.2345678901234567e+30", true],
])("%s has more digits than Excel keeps: %p", (text, exceeds) => {
  expect(exceedsExcelDigits(text)).toBe(exceeds);
});
