import { expect, test } from "@jest/globals";
import * as BSON from "bson";
import fc from "fast-check";
import { decode } from "../../../../../lib/datastore/embedded/decoding.ts";
import { deserialize, serialize } from "../../../../../lib/datastore/embedded/documents.ts";

const date = fc.integer({ min: -8.64e15, max: 8.64e15 }).map((time) => new Date(time));
const common = fc.oneof(
  fc.constantFrom(null, true, false, -0, NaN, Infinity, 2 ** 31, -(2 ** 31), 2 ** 53 - 1),
  fc.integer(),
  fc.double(),
  fc.string({ unit: "binary" }),
  date,
);
const name = fc.oneof(fc.constantFrom("a", "b", "é", "1", "x".repeat(100)), fc.string().filter(isName));
const { document } = fc.letrec<{ document: Record<string, unknown>; value: unknown }>((tie) => ({
  document: fc.dictionary(name, tie("value"), { maxKeys: 6 }),
  value: fc.oneof({ maxDepth: 3 }, common, fc.array(tie("value"), { maxLength: 12 }), tie("document")),
}));

function isName(text: string): boolean {
  return text !== "__proto__" && !text.includes("\0");
}

test("decodes documents as the library does", () => {
  fc.assert(
    fc.property(document, (written) => {
      const bytes = serialize(written);
      expect(decode(bytes)).toEqual(BSON.deserialize(bytes));
    }),
    { numRuns: 500 },
  );
});

test("tells names apart whose hashes are the same", () => {
  // Of three characters 31 * 31 * a + 31 * b + c is equal.
  const written = { abc: 1, acD: 2 };
  expect(decode(serialize(written))).toEqual(written);
  expect(decode(serialize({ acD: 1, abc: 2 }))).toEqual({ acD: 1, abc: 2 });
});

test("leaves to the library what it does not know", () => {
  const bytes = serialize({ list: [{ content: /abc/ }] });
  expect(decode(bytes)).toBeUndefined();
  expect(deserialize(bytes)).toEqual({ list: [{ content: /abc/ }] });
  const marked = serialize({ id: new BSON.UUID() });
  expect(decode(marked)).toBeUndefined();
  expect(decode(serialize({ list: [Buffer.from("abc")] }))).toEqual({ list: [Buffer.from("abc")] });
  expect(decode(serialize(JSON.parse('{"__proto__": {"polluted": true}}') as object))).toBeUndefined();
});
