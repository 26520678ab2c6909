/** What the services use of the datastore, on both adapters. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import type { Collection, Datastore, Document, IndexDescription } from "../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../lib/datastore/datastore.ts";
import { openDatastore } from "../../lib/datastore/open.ts";
import { describeWith, serverUrl } from "../servers.ts";

interface Item extends Document {
  _id: number | string;
}

function conformance(mongodbUri: () => string | undefined): void {
  let directory: string;
  let store: Datastore;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "longshore-"));
    store = await openDatastore({ mongodbUri: mongodbUri(), dataDir: directory });
  });

  afterAll(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  const fresh = () => `c${randomBytes(6).toString("hex")}`;
  const collection = (indexes?: IndexDescription[]): Promise<Collection<Item>> => store.collection(fresh(), indexes);

  async function filled(documents: Item[], indexes?: IndexDescription[]): Promise<Collection<Item>> {
    const made = await collection(indexes);
    await made.insertMany(documents);
    return made;
  }

  async function ids(items: Collection<Item>, filter: Document, sort: Record<string, 1 | -1> = { _id: 1 }) {
    return (await items.find(filter, { sort }).toArray()).map((item) => item._id);
  }

  test("gives back every type of value as it was put in", async () => {
    const document = {
      _id: "all",
      nothing: null,
      yes: true,
      small: 1,
      large: 2 ** 53 - 1,
      negative: -5_000_000_000,
      fraction: 0.1,
      text: "é\u{1F600}\0'\"",
      date: new Date("1960-02-03T04:05:06.789Z"),
      bytes: Buffer.from([0, 255, 254]),
      list: [1, "a", [null], { deep: [] }],
      nested: { a: { "b c": 1 } },
    };
    const items = await filled([document]);
    expect(await items.findOne({ _id: "all" })).toEqual(document);
    const bytes: unknown = (await items.findOne({ _id: "all" }))?.bytes;
    expect(Buffer.isBuffer(bytes)).toBe(true);
  });

  test("leaves out undefined fields, in documents, filters and updates", async () => {
    const items = await filled([{ _id: 1, a: undefined, b: 1 }]);
    expect(await items.findOne({ a: undefined })).toEqual({ _id: 1, b: 1 });
    await items.updateOne({ _id: 1 }, { $set: { a: undefined, b: 2 } });
    expect(await items.findOne({})).toEqual({ _id: 1, b: 2 });
  });

  test("takes missing for null where it compares", async () => {
    const items = await filled([{ _id: 1 }, { _id: 2, a: null }, { _id: 3, a: 0 }], [{ key: { a: 1 } }]);
    expect(await ids(items, { a: null })).toEqual([1, 2]);
    expect(await ids(items, { a: { $ne: null } })).toEqual([3]);
    expect(await ids(items, { a: { $exists: true } })).toEqual([2, 3]);
    expect(await ids(items, { a: { $in: [null, 1] } })).toEqual([1, 2]);
  });

  test("compares only within one type", async () => {
    const values = [5, "5", true, new Date(5), null];
    const items = await filled(
      values.map((a, index) => ({ _id: index, a })),
      [{ key: { a: 1 } }],
    );
    expect(await ids(items, { a: { $gt: 1 } })).toEqual([0]);
    expect(await ids(items, { a: { $lte: "a" } })).toEqual([1]);
    expect(await ids(items, { a: { $gte: new Date(0) } })).toEqual([3]);
    expect(await ids(items, { a: { $gte: false } })).toEqual([2]);
  });

  test("sorts values of all types in MongoDB's order", async () => {
    const values = [new Date(0), "\u{1F600}", true, { x: 1 }, 3, "\uFFFD", Buffer.from("b"), null, -1, "a"];
    const documents = values.map((a, index) => ({ _id: index, a }));
    const expected = [7, 8, 4, 9, 5, 1, 3, 6, 2, 0];
    for (const indexes of [undefined, [{ key: { a: 1 as const } }]]) {
      const items = await filled(documents, indexes);
      expect(await ids(items, {}, { a: 1 })).toEqual(expected);
      expect(await ids(items, {}, { a: -1 })).toEqual([...expected].reverse());
    }
  });

  test("finds in arrays by element, as whole, by position and through documents", async () => {
    const items = await filled(
      [
        { _id: 1, tags: ["a", "b"], parts: [{ n: 1 }, { n: 5 }] },
        { _id: 2, tags: [], parts: [{ n: 3 }] },
        { _id: 3, tags: "a" },
      ],
      [{ key: { tags: 1 } }, { key: { "parts.n": 1 } }],
    );
    expect(await ids(items, { tags: "a" })).toEqual([1, 3]);
    expect(await ids(items, { tags: ["a", "b"] })).toEqual([1]);
    expect(await ids(items, { "tags.1": "b" })).toEqual([1]);
    expect(await ids(items, { "parts.n": { $gt: 4 } })).toEqual([1]);
    expect(await ids(items, { parts: { $elemMatch: { n: { $gt: 1, $lt: 5 } } } })).toEqual([2]);
    expect(await ids(items, { tags: { $nin: ["b"] } })).toEqual([2, 3]);
  });

  test("finds by $and, $or, $nor, $not and $regex", async () => {
    const items = await filled(
      [1, 2, 3, 4].map((n) => ({ _id: n, n, s: `x${n}` })),
      [{ key: { n: 1 } }],
    );
    expect(await ids(items, { $or: [{ n: 1 }, { s: "x3" }] })).toEqual([1, 3]);
    expect(await ids(items, { $and: [{ n: { $gt: 1 } }, { n: { $lt: 4 } }] })).toEqual([2, 3]);
    expect(await ids(items, { $nor: [{ n: 1 }, { s: "x3" }] })).toEqual([2, 4]);
    expect(await ids(items, { n: { $not: { $gt: 2 } } })).toEqual([1, 2]);
    expect(await ids(items, { s: { $regex: "^X[12]", $options: "i" } })).toEqual([1, 2]);
  });

  test("limits, skips and projects what it finds", async () => {
    const items = await filled([1, 2, 3, 4, 5].map((n) => ({ _id: n, n: -n, o: { a: n, b: n } })));
    const found = items.find({ n: { $lt: -1 } }, { sort: { n: 1 }, skip: 1, limit: 2, projection: { "o.a": 1 } });
    expect(await found.toArray()).toEqual([
      { _id: 4, o: { a: 4 } },
      { _id: 3, o: { a: 3 } },
    ]);
    expect(await items.findOne({ _id: 1 }, { projection: { o: 0 } })).toEqual({ _id: 1, n: -1 });
    expect(await items.findOne({ _id: 1 }, { projection: { n: 0, o: 0, none: 0 } })).toEqual({ _id: 1 });
    expect(await items.findOne({ _id: 1 }, { projection: { _id: 0, none: 0 } })).toEqual({
      n: -1,
      o: expect.anything(),
    });
    expect(await items.findOne({ _id: 1 }, { projection: { _id: 0, n: 1 } })).toEqual({ n: -1 });
  });

  test("counts", async () => {
    const items = await filled(
      [1, 2, 3, 4].map((n) => ({ _id: n, odd: n % 2 })),
      [{ name: "odd", key: { odd: 1 } }],
    );
    expect(await items.countDocuments({})).toBe(4);
    expect(await items.countDocuments({ odd: 1 }, { hint: "odd" })).toBe(2);
    expect(await items.countDocuments({}, { limit: 3 })).toBe(3);
  });

  test("streams all of a large collection, and part of it", async () => {
    const text = "x".repeat(2_000);
    const items = await filled(Array.from({ length: 5_000 }, (_, index) => ({ _id: index, text })));
    let sum = 0;
    for await (const { _id } of items.find({ text })) sum += Number(_id);
    expect(sum).toBe((4_999 * 5_000) / 2);
    const first: unknown[] = [];
    for await (const { _id } of items.find({}, { sort: { _id: -1 } })) {
      first.push(_id);
      if (first.length === 3) break;
    }
    expect(first).toEqual([4_999, 4_998, 4_997]);
  });

  test("refuses a second document with the same _id or the same unique key", async () => {
    const items = await filled(
      [{ _id: 1, a: "x", b: { c: 1 } }],
      [{ name: "ac", key: { a: 1, "b.c": -1 }, unique: true }],
    );
    const error: unknown = await items.insertOne({ _id: 2, a: "x", b: { c: 1 } }).catch((thrown: unknown) => thrown);
    expect(isDuplicateKey(error)).toBe(true);
    expect(error).toMatchObject({ keyPattern: { a: 1, "b.c": -1 }, keyValue: { a: "x", "b.c": 1 } });
    await expect(items.insertOne({ _id: 1, a: "y" })).rejects.toMatchObject({ code: 11000, keyPattern: { _id: 1 } });
    await items.insertOne({ _id: 3, a: "y" });
    await expect(items.updateOne({ _id: 3 }, { $set: { a: "x", b: { c: 1 } } })).rejects.toMatchObject({ code: 11000 });
    expect(await items.findOne({ _id: 3 })).toEqual({ _id: 3, a: "y" });
  });

  test("takes two missing keys of a unique index for the same, unless it is partial", async () => {
    const whole = await filled([{ _id: 1 }], [{ key: { a: 1 }, unique: true }]);
    await expect(whole.insertOne({ _id: 2 })).rejects.toMatchObject({ code: 11000 });
    const partialFilterExpression = { a: { $exists: true } };
    const partial = await filled([{ _id: 1 }], [{ key: { a: 1 }, unique: true, partialFilterExpression }]);
    await partial.insertMany([{ _id: 2 }, { _id: 3, a: 1 }]);
    await expect(partial.insertOne({ _id: 4, a: 1 })).rejects.toMatchObject({ code: 11000 });
  });

  test("goes on after refused documents, or stops at the first, as told", async () => {
    const documents = [{ _id: 1 }, { _id: 2, u: 1 }, { _id: 1 }, { _id: 3, u: 1 }, { _id: 4 }];
    const indexes = [{ name: "u", key: { u: 1 as const }, unique: true, partialFilterExpression: { u: { $gt: 0 } } }];
    const unordered = await collection(indexes);
    await expect(unordered.insertMany(documents, { ordered: false })).rejects.toMatchObject({
      code: 11000,
      writeErrors: [
        { index: 2, code: 11000, keyPattern: { _id: 1 } },
        { index: 3, code: 11000, keyPattern: { u: 1 } },
      ],
    });
    expect(await ids(unordered, {})).toEqual([1, 2, 4]);
    const ordered = await collection(indexes);
    await expect(ordered.insertMany(documents)).rejects.toMatchObject({ writeErrors: [{ index: 2 }] });
    expect(await ids(ordered, {})).toEqual([1, 2]);
  });

  test("updates with every operator that services use", async () => {
    const items = await filled([{ _id: 1, n: 1, gone: 1, low: 5, high: 5, list: [1, 2, 3], set: ["a"], o: { k: 1 } }]);
    const result = await items.updateOne({ _id: 1 }, {
      $set: { "o.deep.er": "x", text: "t" },
      $unset: { gone: "" },
      $inc: { n: 2, fresh: -1 },
      $min: { low: 3 },
      $max: { high: 4 },
      $push: { list: { $each: [4, 5], $slice: -3 }, made: 1 },
      $addToSet: { set: { $each: ["a", "b"] } },
    } as Document);
    expect(result).toMatchObject({ matchedCount: 1, modifiedCount: 1, upsertedCount: 0, upsertedId: null });
    expect(await items.findOne({})).toEqual({
      _id: 1,
      n: 3,
      fresh: -1,
      low: 3,
      high: 5,
      list: [3, 4, 5],
      made: [1],
      set: ["a", "b"],
      o: { k: 1, deep: { er: "x" } },
      text: "t",
    });
    await items.updateOne({ _id: 1 }, {
      $pull: { list: { $gt: 3 }, set: "a" },
      $currentDate: { at: true },
    } as Document);
    const { list, set, at }: Document = (await items.findOne({})) ?? {};
    expect({ list, set }).toEqual({ list: [3], set: ["b"] });
    expect(Math.abs((at as Date).getTime() - store.now().getTime())).toBeLessThan(5_000);
  });

  test("tells bytes apart that are not text", async () => {
    const items = await filled([{ _id: 1, b: Buffer.from([0xff]) }], [{ key: { b: 1 } }]);
    expect((await items.updateOne({ _id: 1 }, { $set: { b: Buffer.from([0xfe]) } })).modifiedCount).toBe(1);
    expect(await ids(items, { b: Buffer.from([0xff]) })).toEqual([]);
    expect(await ids(items, { b: Buffer.from([0xfe]) })).toEqual([1]);
  });

  test("counts what an update matched apart from what it changed", async () => {
    const items = await filled([1, 2, 3].map((n) => ({ _id: n, n })));
    expect(await items.updateMany({ n: { $gte: 2 } }, { $set: { n: 2 } })).toMatchObject({
      matchedCount: 2,
      modifiedCount: 1,
    });
    expect(await items.updateOne({ n: 9 }, { $set: { n: 2 } })).toMatchObject({ matchedCount: 0, modifiedCount: 0 });
  });

  test("refuses an update that does not fit the document, and leaves it as it was", async () => {
    const items = await filled([{ _id: 1, text: "x", n: null }]);
    const unfit: Document[] = [
      { $inc: { text: 1 } },
      { $push: { text: 1 } },
      { $set: { "text.deep": 1 } },
      { $set: { a: 1 }, $inc: { a: 1 } },
      { $set: { _id: 2 } },
      { $wrong: { a: 1 } },
    ];
    for (const update of unfit) await expect(items.updateOne({ _id: 1 }, update)).rejects.toThrow();
    expect(await items.findOne({})).toEqual({ _id: 1, text: "x", n: null });
  });

  test("upserts with the fields that the filter names", async () => {
    const items = await collection();
    const upsert = { $inc: { n: 5 }, $setOnInsert: { made: true } };
    const filter = { _id: "c", "o.k": "v", n: { $gt: 3 } };
    expect(await items.updateOne({ _id: "a", kind: "k" }, upsert, { upsert: true })).toMatchObject({
      matchedCount: 0,
      upsertedCount: 1,
      upsertedId: "a",
    });
    await items.updateOne({ _id: "a" }, upsert, { upsert: true });
    expect(await items.findOne({ _id: "a" })).toEqual({ _id: "a", kind: "k", n: 10, made: true });
    await items.updateOne(filter, { $set: { x: 1 } }, { upsert: true });
    expect(await items.findOne({ _id: "c" })).toEqual({ _id: "c", o: { k: "v" }, x: 1 });
  });

  test("finds one and changes it, the first by the sort, and answers it before or after", async () => {
    const items = await filled([1, 2, 3].map((n) => ({ _id: n, n, big: "x" })));
    const sort = { n: -1 as const };
    expect(await items.findOneAndUpdate({}, { $set: { n: 0 } }, { sort })).toEqual({ _id: 3, n: 3, big: "x" });
    const after = { sort, returnDocument: "after" as const, projection: { big: 0 } };
    expect(await items.findOneAndUpdate({}, { $inc: { n: 5 } }, after)).toEqual({ _id: 2, n: 7 });
    expect(await items.findOneAndUpdate({ n: 99 }, { $inc: { n: 5 } })).toBeNull();
    const counter = { upsert: true, returnDocument: "after" as const };
    expect(await items.findOneAndUpdate({ _id: "c" }, { $inc: { n: 5 } }, counter)).toEqual({ _id: "c", n: 5 });
  });

  test("deletes one or all that match", async () => {
    const items = await filled([1, 2, 3, 4].map((n) => ({ _id: n, odd: n % 2 })));
    expect((await items.deleteOne({ odd: 1 })).deletedCount).toBe(1);
    expect((await items.deleteMany({ odd: 0 })).deletedCount).toBe(2);
    expect(await items.countDocuments({})).toBe(1);
  });

  test("writes in bulk, and tells which of the operations were refused", async () => {
    const items = await filled([
      { _id: 1, n: 1 },
      { _id: 2, n: 2 },
    ]);
    const result = await items.bulkWrite([
      { insertOne: { document: { _id: 3, n: 3 } } },
      { updateOne: { filter: { _id: 1 }, update: { $inc: { n: 10 } } } },
      { updateMany: { filter: { n: { $lt: 10 } }, update: { $set: { small: true } } } },
      { replaceOne: { filter: { _id: 2 }, replacement: { other: 1 } } },
      { updateOne: { filter: { _id: 9 }, update: { $set: { n: 9 } }, upsert: true } },
      { deleteOne: { filter: { _id: 3 } } },
      { deleteMany: { filter: { n: 77 } } },
    ]);
    expect(result).toEqual({ insertedCount: 1, matchedCount: 4, modifiedCount: 4, deletedCount: 1, upsertedCount: 1 });
    expect(await items.find({}, { sort: { _id: 1 } }).toArray()).toEqual([
      { _id: 1, n: 11 },
      { _id: 2, other: 1 },
      { _id: 9, n: 9 },
    ]);
    const refused = items.bulkWrite(
      [
        { insertOne: { document: { _id: 1 } } },
        { updateOne: { filter: { _id: 2 }, update: { $set: { other: 2 } } } },
        { insertOne: { document: { _id: 9 } } },
      ],
      { ordered: false },
    );
    await expect(refused).rejects.toMatchObject({
      writeErrors: [
        { index: 0, code: 11000, keyPattern: { _id: 1 } },
        { index: 2, code: 11000 },
      ],
    });
    expect(await items.findOne({ _id: 2 })).toEqual({ _id: 2, other: 2 });
  });

  test("adds up counters in bulk, those in a document within the document too, made where they are not there", async () => {
    const items = await filled([{ _id: "a:1", n: 1, runs: { "7": 1 } }]);
    const add = (_id: string) => ({
      updateOne: {
        filter: { _id },
        update: { $inc: { n: 2, "runs.7": 3, "runs.31": 1 }, $setOnInsert: { made: true } },
        upsert: true,
      },
    });
    await items.bulkWrite([add("a:1"), add("b:1"), add("b:1")], { ordered: false });
    expect(await items.findOne({ _id: "a:1" })).toEqual({ _id: "a:1", n: 3, runs: { "7": 4, "31": 1 } });
    expect(await items.findOne({ _id: "b:1" })).toEqual({ _id: "b:1", n: 4, runs: { "7": 6, "31": 2 }, made: true });
  });

  test("takes a lock where none is held, or what is held has run out", async () => {
    const items = await filled([{ _id: 1, empty: {} }]);
    const at = (ms: number) => new Date(1_800_000_000_000 + ms);
    const take = (now: number, token: string) => {
      const held = { "lock.until": { $gt: at(now), $lte: at(now + 20) } };
      const update = { $set: { lock: { token, until: at(now + 10) } } };
      return items.findOneAndUpdate({ _id: 1, $nor: [held] }, update, { returnDocument: "before" });
    };
    expect(await take(0, "first")).toEqual({ _id: 1, empty: {} });
    expect(await take(9, "second")).toBeNull();
    expect(await take(10, "third")).toMatchObject({ lock: { token: "first" } });
    expect(await items.updateOne({ _id: 1, "lock.token": "first" }, { $unset: { lock: "" } })).toMatchObject({
      matchedCount: 0,
    });
    expect(await items.updateOne({ _id: 1, empty: {} }, { $set: { found: true } })).toMatchObject({ matchedCount: 1 });
    expect(await items.updateOne({ _id: 1, lock: {} }, { $set: { found: true } })).toMatchObject({ matchedCount: 0 });
    expect(await ids(items, { _id: { $gt: 0 }, gone: { $exists: false } })).toEqual([1]);
  });

  test("changes documents by what they are, all of them or none", async () => {
    const items = await filled(
      [
        { _id: "a", n: 1, list: [1], unique: 1 },
        { _id: "b", n: 2, unique: 2 },
        { _id: "large", n: 3, bytes: Buffer.alloc(400_000, 7) },
      ],
      [{ key: { unique: 1 }, name: "unique", unique: true, partialFilterExpression: { unique: { $exists: true } } }],
    );
    const seen: [string, Item | null][] = [];
    await items.changeEach(["b", "c", "a", "d", "large"], (item, _id) => {
      seen.push([_id, item && { ...item }]);
      if (_id === "a") return null;
      if (item) item["n"] = 10 * (item["n"] as number);
      return _id === "d" ? null : (item ?? { _id, n: 30, unique: 3 });
    });
    expect(seen.map(([id]) => id)).toEqual(["b", "c", "a", "d", "large"]);
    expect(seen[0]).toEqual(["b", { _id: "b", n: 2, unique: 2 }]);
    expect(seen[1]).toEqual(["c", null]);
    expect(seen[2]).toEqual(["a", { _id: "a", n: 1, list: [1], unique: 1 }]);
    const after = [
      { _id: "a", n: 1, list: [1], unique: 1 },
      { _id: "b", n: 20, unique: 2 },
      { _id: "c", n: 30, unique: 3 },
    ];
    expect(await items.find({ _id: { $lt: "d" } }, { sort: { _id: 1 } }).toArray()).toEqual(after);
    expect(await items.findOne({ _id: "large" })).toMatchObject({ n: 30 });
    // By its index too.
    expect(await ids(items, { unique: 3 })).toEqual(["c"]);
    const clash = items.changeEach(["a", "b", "e"], (item, _id) => ({ ...item, _id, n: 0, unique: 4 }));
    await expect(clash).rejects.toMatchObject({ code: 11000 });
    const broken = items.changeEach(["a", "b"], (item, _id) => {
      if (_id === "b") throw new Error("broken");
      return { ...item, _id, n: 0 };
    });
    await expect(broken).rejects.toThrow("broken");
    expect(await items.find({ _id: { $lt: "d" } }, { sort: { _id: 1 } }).toArray()).toEqual(after);
    expect(await items.countDocuments({ _id: "e" })).toBe(0);
    await items.changeEach([], () => ({ _id: "f" }));
    const many = Array.from({ length: 1_001 }, (_, index) => String(index));
    await expect(items.changeEach(many, () => null)).rejects.toThrow("at most 1000 documents");
  });

  test("loses no change of a document that many change", async () => {
    const items = await filled([{ _id: "a", n: 0 }]);
    const add = () =>
      items.changeEach(["a", "b"], (item, _id) => ({ _id, n: ((item?.["n"] as number | undefined) ?? 0) + 1 }));
    const increments = () => items.updateOne({ _id: "a" }, { $inc: { n: 1 } });
    await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 ? add() : increments())));
    expect(await items.find({}, { sort: { _id: 1 } }).toArray()).toEqual([
      { _id: "a", n: 20 },
      { _id: "b", n: 10 },
    ]);
  });

  test("lets one of many that compete for a document win", async () => {
    const items = await filled([{ _id: 1, state: "free" }]);
    const taken = await Promise.all(
      Array.from({ length: 20 }, (_, n) => items.updateOne({ _id: 1, state: "free" }, { $set: { state: "taken", n } })),
    );
    expect(taken.filter((result) => result.modifiedCount === 1)).toHaveLength(1);
  });

  test("serves the claim of a queue from its partial index without sorting", async () => {
    const partialFilterExpression = { state: "WAITING" };
    const items = await filled(
      Array.from({ length: 50 }, (_, n) => ({
        _id: n,
        channel: `c${n % 2}`,
        state: n % 3 ? "WAITING" : "DONE",
        n: n % 5,
      })),
      [
        { name: "state", key: { state: 1 } },
        { name: "claim", key: { channel: 1, n: -1, _id: 1 }, partialFilterExpression },
      ],
    );
    const options = { sort: { n: -1 as const, _id: 1 as const }, limit: 3, hint: "claim" };
    const filter = { channel: "c1", state: "WAITING" };
    expect(await items.find(filter, options).toArray()).toMatchObject([{ _id: 19 }, { _id: 29 }, { _id: 49 }]);
    expect(await items.explain(filter, options)).toMatchObject({ index: "claim", sorted: false });
    expect(await items.explain({ _id: 3 })).toMatchObject({ index: "_id_", sorted: false });
    expect(await items.explain({ n: 3 }, { sort: { n: 1 } })).toMatchObject({ index: null });
    await expect(items.find({}, { hint: "none" }).toArray()).rejects.toThrow();
  });

  test("brings indexes up to date when a collection is declared anew", async () => {
    const name = fresh();
    const first: Collection<Item> = await store.collection(name, [{ name: "one", key: { a: 1 } }]);
    await first.insertMany([1, 2, 3].map((n) => ({ _id: n, a: 1, b: n })));
    const second: Collection<Item> = await store.collection(name, [{ name: "one", key: { b: 1 }, unique: true }]);
    expect(await second.explain({ b: 2 })).toMatchObject({ index: "one" });
    await expect(second.insertOne({ _id: 4, b: 1 })).rejects.toMatchObject({ keyPattern: { b: 1 } });
    const third: Collection<Item> = await store.collection(name);
    expect(await third.explain({ b: 2 })).toMatchObject({ index: "one" });
  });

  test("tells the time and that it is there", async () => {
    await store.ping();
    expect(Math.abs(store.now().getTime() - Date.now())).toBeLessThan(2_000);
  });
}

describe("the embedded store", () => conformance(() => undefined));
describeWith("mongodb", "MongoDB", () => {
  const address = () => {
    const url = new URL(serverUrl("mongodb"));
    url.pathname = `/conformance${process.pid}`;
    return url.href;
  };
  conformance(address);

  afterAll(async () => {
    const client = await MongoClient.connect(address());
    await client.db().dropDatabase();
    await client.close();
  });
});
