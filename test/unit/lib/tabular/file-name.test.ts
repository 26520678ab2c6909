import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { fileName } from "../../../../lib/tabular/file-name.ts";

test.each([
  ["用户报表", "用户报表.csv"],
  ["../../etc/passwd", "_.._etc_passwd.csv"],
  ["C:\\Windows\\system32", "C_Windows_system32.csv"],
  ["a\u0000b\nc\u007f", "a_b_c_.csv"],
  ["CON", "_CON.csv"],
  ["com1.backup", "_com1.backup.csv"],
  ["console", "console.csv"],
  [".hidden", "hidden.csv"],
  ["trailing. . ", "trailing.csv"],
  ["invoice\u202Egpj.exe", "invoice_gpj.exe.csv"],
  ["👨‍👩‍👧", "👨‍👩‍👧.csv"],
  ["", "export.csv"],
  ["///", "export.csv"],
  ["..", "export.csv"],
])("%p becomes %p", (title, name) => {
  expect(fileName(title, "csv")).toBe(name);
});

test("a title of 300 emoji is cut between them", () => {
  const name = fileName("👨‍👩‍👧".repeat(300), "xlsx", 12);
  expect(Buffer.byteLength(name)).toBeLessThanOrEqual(200);
  expect(name).toMatch(/^(?:👨‍👩‍👧)+-12\.xlsx$/u);
});

test("any title becomes one name that is good everywhere", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 400 }), (title) => {
      const name = fileName(title, "csv");
      expect(Buffer.byteLength(name)).toBeLessThanOrEqual(201);

      expect(name).not.toMatch(/[\u0000-\u001f/\\:*?"<>|]|^\.|^\s/);
      expect(name).toMatch(/[^. ]\.csv$/);
      expect(name.isWellFormed()).toBe(true);
    }),
  );
});
