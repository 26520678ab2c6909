/** Random documents, filters, sorts and updates, of few enough values that they meet each other. */
import fc from "fast-check";
import type { Document, IndexDescription } from "../lib/datastore/datastore.ts";

const number = fc.constantFrom(-3, 0, 1, 2, 2.5, 1e300, 2 ** 40, Infinity);
const text = fc.constantFrom("", "a", "ab", "b", "é", "\uFFFD", "\u{1F600}", "a'b");
const date = fc.constantFrom(-5e12, -1, 0, 1, 1.7e12).map((time) => new Date(time));
const bytes = fc.constantFrom("", "a", "b", "ab").map((content) => Buffer.from(content));
const bool = fc.boolean();

/** Values of one type, most often of those that indexes hold. */
export const scalar = fc.oneof(
  { weight: 4, arbitrary: number },
  { weight: 4, arbitrary: text },
  { weight: 2, arbitrary: date },
  { weight: 1, arbitrary: bytes },
  { weight: 2, arbitrary: bool },
  { weight: 2, arbitrary: fc.constant(null) },
);

const wild = fc.oneof(
  fc.array(scalar, { maxLength: 3 }),
  fc.record({ d: scalar }),
  fc.array(fc.record({ d: scalar }), { maxLength: 2 }),
  fc.constant(NaN),
  fc.constant(-Infinity),
);

const value = fc.oneof({ weight: 6, arbitrary: scalar }, { weight: 1, arbitrary: wild });

function documentsOf(field: fc.Arbitrary<unknown>): fc.Arbitrary<Document[]> {
  const document = fc.record({ a: field, b: field, c: fc.oneof(fc.record({ d: field }), field) }, { requiredKeys: [] });
  return fc
    .array(document, { maxLength: 12 })
    .map((list) => list.map((fields, index) => ({ _id: index % 2 ? index : `k${index}`, ...fields })));
}

/** Half of them hold nothing that keeps an index from being used: no array, object or NaN. */
export const documents: fc.Arbitrary<Document[]> = fc.oneof(documentsOf(scalar), documentsOf(value));

const path = fc.constantFrom("a", "b", "c.d", "x", "_id");

const operand = fc.oneof({ weight: 5, arbitrary: scalar }, { weight: 1, arbitrary: wild });

const condition: fc.Arbitrary<unknown> = fc.oneof(
  scalar,
  fc.record({ $eq: operand }),
  fc.record({ $ne: operand }),
  fc.record({ $gt: scalar }),
  fc.record({ $gte: scalar, $lt: scalar }),
  fc.record({ $lte: scalar }),
  fc.record({ $gt: number, $lte: number }),
  fc.record({ $in: fc.array(scalar, { maxLength: 5 }) }),
  fc.record({ $nin: fc.array(scalar, { maxLength: 3 }) }),
  fc.record({ $exists: fc.boolean() }),
  fc.record({ $not: fc.oneof(fc.record({ $gt: scalar }), fc.record({ $eq: scalar })) }),
  fc.record({ $elemMatch: fc.oneof(fc.record({ $gt: scalar }), fc.record({ d: scalar })) }),
  fc.constant({ $regex: "^a" }),
  fc.constant(/B/i),
  fc.constantFrom("number", "string", "date", "bool", "null").map((type) => ({ $type: type })),
);

const clause = fc
  .array(fc.tuple(path, condition), { minLength: 1, maxLength: 3 })
  .map((entries) => Object.fromEntries(entries) as Document);

export const filter: fc.Arbitrary<Document> = fc.oneof(
  { weight: 4, arbitrary: clause },
  { weight: 1, arbitrary: fc.array(clause, { minLength: 1, maxLength: 3 }).map(($or) => ({ $or })) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(clause, fc.array(clause, { minLength: 1, maxLength: 2 }))
      .map(([first, $and]) => ({ ...first, $and })),
  },
  { weight: 1, arbitrary: fc.array(clause, { minLength: 1, maxLength: 2 }).map(($nor) => ({ $nor })) },
);

const direction = fc.constantFrom<1 | -1>(1, -1);

/** `_id` last, so that there is one order only. */
export const sort = fc
  .array(fc.tuple(fc.constantFrom("a", "b", "c.d"), direction), { maxLength: 2 })
  .chain((entries) => direction.map((last) => ({ ...Object.fromEntries(entries), _id: last })));

const target = fc.constantFrom("a", "b", "c.d", "e");

const change = fc.oneof(
  fc.tuple(target, value).map(([at, to]) => ({ $set: { [at]: to } })),
  target.map((at) => ({ $unset: { [at]: "" } })),
  fc.tuple(target, fc.constantFrom(-1, 1, 2.5)).map(([at, by]) => ({ $inc: { [at]: by } })),
  fc.tuple(target, scalar).map(([at, to]) => ({ $min: { [at]: to } })),
  fc.tuple(target, scalar).map(([at, to]) => ({ $max: { [at]: to } })),
  fc.tuple(target, scalar).map(([at, to]) => ({ $push: { [at]: to } })),
  fc.tuple(target, scalar).map(([at, to]) => ({ $addToSet: { [at]: to } })),
  fc.tuple(target, scalar).map(([at, to]) => ({ $pull: { [at]: to } })),
);

export const update: fc.Arbitrary<Document> = fc
  .array(change, { minLength: 1, maxLength: 2 })
  .map((changes) => Object.assign({}, ...changes) as Document);

const id = fc.nat(11).map((index) => (index % 2 ? index : `k${index}`));

const equality = fc.dictionary(fc.constantFrom("a", "b", "x"), operand, { maxKeys: 2 });

/** An update of documents by their IDs: what the embedded store has a way of its own for. */
export const keyed: fc.Arbitrary<{ kind: "updateOne" | "updateMany"; filter: Document; update: Document }> = fc.oneof(
  fc.record({
    kind: fc.constant("updateOne" as const),
    filter: fc.tuple(id, equality).map(([_id, fields]) => ({ ...fields, _id })),
    update,
  }),
  fc.record({
    kind: fc.constant("updateMany" as const),
    filter: fc.tuple(fc.array(id, { maxLength: 5 }), equality).map(([$in, fields]) => ({ _id: { $in }, ...fields })),
    update,
  }),
);

export const indexes: fc.Arbitrary<IndexDescription[]> = fc.subarray<IndexDescription>([
  { name: "a", key: { a: 1 } },
  { name: "ab", key: { a: -1, b: 1, _id: 1 } },
  { name: "d", key: { "c.d": 1 } },
  { name: "only-text", key: { b: 1 }, partialFilterExpression: { a: { $type: "string" } } },
  { name: "only-a", key: { b: -1, _id: 1 }, partialFilterExpression: { a: "a" } },
  { name: "only-there", key: { "c.d": -1, _id: 1 }, partialFilterExpression: { "c.d": { $exists: true } } },
  { name: "only-large", key: { a: 1, b: 1 }, partialFilterExpression: { a: { $gte: 1 } } },
]);

/** A value in a form to compare and to read, the order of fields aside. */
export function shown(held: unknown): string {
  return JSON.stringify(held, (_, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value)) return `number ${value}`;
    if (value instanceof RegExp) return String(value);
    const isPlain = typeof value === "object" && value !== null && !Array.isArray(value);
    return isPlain ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value;
  });
}
