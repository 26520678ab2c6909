import { expect, test } from "@jest/globals";
import { fill, shapeOperations } from "../../../../../lib/datastore/embedded/shapes.ts";
import type { Shape } from "../../../../../lib/datastore/embedded/shapes.ts";

const claim = (ids: number[]) => ({
  updateMany: { filter: { _id: { $in: ids } }, update: { $set: { at: new Date(ids.length) }, $inc: { attempts: 1 } } },
});
const end = (id: number, output: string) => ({
  updateOne: { filter: { _id: id, token: null }, update: { $set: { output }, $unset: { token: "" } } },
});

test("takes operations apart, and fills them in again", () => {
  const operations = [end(1, "a"), claim([1, 2]), end(2, "b"), claim([])];
  const shaped = shapeOperations(operations);
  expect(shaped?.shapes).toHaveLength(2);
  let from = 0;
  const again = shaped?.operations.map((place) => {
    const shape = JSON.parse(shaped.shapes[place] ?? "") as Shape;
    from += shape.size;
    return fill(shape, shaped.values, from - shape.size);
  });
  expect(again).toEqual(operations);
});

test("leaves out undefined fields, which are another shape", () => {
  const insert = (a: number | undefined) => ({ insertOne: { document: { _id: 1, a } } });
  const shaped = shapeOperations([insert(1), insert(undefined)]);
  expect(shaped).toMatchObject({ operations: [0, 1], values: [1, 1, 1] });
  expect(shaped?.shapes[1]).not.toContain('"a"');
});

test("weighs what it holds", () => {
  const shaped = shapeOperations([end(1, "x".repeat(1_000_000))]);
  expect(shaped?.bytes).toBeGreaterThan(1_000_000);
});

test("gives up on what cannot be sent as it is", () => {
  const set = (value: unknown) => shapeOperations([{ updateOne: { filter: {}, update: { $set: { value } } } }]);
  expect(set([1, "a", null])).toBeDefined();
  const bytes = Buffer.from("abc");
  expect(set(bytes.subarray(1, 2))?.values).toEqual([Uint8Array.of(98)]);
  for (const value of [[Buffer.from("a")], /a/, 1n, [[1]], [{ a: 1 }], new Map(), Symbol("a")]) {
    expect(set(value)).toBeUndefined();
  }
  expect(shapeOperations([JSON.parse('{"insertOne": {"__proto__": {"a": 1}}}') as object])).toBeUndefined();
});
