/** Both adapters, and a plain reading of the filter, find and change the same of random documents. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { find } from "mingo";
import { MongoClient } from "mongodb";
import type { Collection, Datastore, Document, IndexDescription } from "../../lib/datastore/datastore.ts";
import { openDatastore } from "../../lib/datastore/open.ts";
import * as arbitrary from "../datastore-arbitraries.ts";
import { shown } from "../datastore-arbitraries.ts";
import { describeWith, serverUrl } from "../servers.ts";

interface Item extends Document {
  _id: number | string;
}
type Sort = Record<string, 1 | -1>;

let directory: string;
let embedded: Datastore;
const fresh = () => `p${randomBytes(6).toString("hex")}`;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "longshore-"));
  embedded = await openDatastore({ dataDir: directory });
});

afterAll(async () => {
  await embedded.close();
  rmSync(directory, { recursive: true });
});

async function filled(store: Datastore, documents: Document[], indexes = [] as Document[]) {
  const collection = await store.collection<Item>(fresh(), indexes as never);
  await collection.insertMany(documents as Item[]);
  return collection;
}

function refusals({ writeErrors }: { writeErrors: { index: number; code: number }[] }) {
  return writeErrors.map(({ index, code }) => [index, code]);
}

async function found(collection: Collection<Item>, filter: Document, sort: Sort): Promise<string> {
  const items = await collection.find(filter, { sort }).toArray();
  return shown(items);
}

describe("the embedded store", () => {
  const queries = fc.array(fc.tuple(arbitrary.filter, arbitrary.sort), { minLength: 5, maxLength: 5 });

  test("finds with any indexes what it finds with none", async () => {
    await fc.assert(
      fc.asyncProperty(arbitrary.documents, arbitrary.indexes, queries, async (documents, indexes, all) => {
        const plain = await filled(embedded, documents);
        const indexed = await filled(embedded, documents, indexes);
        for (const [filter, sort] of all) {
          expect(await found(indexed, filter, sort)).toBe(await found(plain, filter, sort));
          expect(await indexed.countDocuments(filter)).toBe(await plain.countDocuments(filter));
        }
      }),
      { numRuns: 150 },
    );
  });

  test("keeps its indexes true while documents change", async () => {
    const updates = fc.array(fc.tuple(arbitrary.filter, arbitrary.update), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(
        arbitrary.documents,
        arbitrary.indexes,
        updates,
        queries,
        async (documents, indexes, changes, all) => {
          const plain = await filled(embedded, documents);
          const indexed = await filled(embedded, documents, indexes);
          for (const [filter, update] of changes) {
            const outcomes = [plain, indexed].map((items) =>
              items.updateMany(filter, update).then(shown, () => "refused"),
            );
            const [expected, actual] = await Promise.all(outcomes);
            expect(actual).toBe(expected);
          }
          for (const [filter, sort] of all) {
            expect(await found(indexed, filter, sort)).toBe(await found(plain, filter, sort));
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test("changes documents by their IDs as it does those that it must look for", async () => {
    const bulks = fc.array(fc.array(arbitrary.keyed, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 4 });
    const unique: IndexDescription = { name: "u", key: { b: 1, _id: 1 }, unique: true };
    await fc.assert(
      fc.asyncProperty(
        arbitrary.documents,
        fc.oneof(arbitrary.indexes, fc.constant<IndexDescription[]>([unique])),
        bulks,
        queries,
        async (documents, indexes, all, questions) => {
          // The unique index refuses arrays, in which documents may come.
          const [byId, byLooking] = await Promise.all(
            [0, 1].map(async () => {
              const items = await embedded.collection<Item>(fresh(), indexes);
              await items.insertMany(documents as Item[], { ordered: false }).catch(() => undefined);
              return items;
            }),
          );
          for (const bulk of all) {
            const write = async (items: Collection<Item> | undefined, filterOf: (filter: Document) => Document) => {
              const operations = bulk.map(({ kind, filter, update }) => ({
                [kind]: { filter: filterOf(filter), update },
              }));
              const done = items?.bulkWrite(operations as never, { ordered: false });
              return shown(await done?.catch(refusals));
            };
            const expected = await write(byLooking, (filter) => ({ $and: [filter] }));
            expect(await write(byId, (filter) => filter)).toBe(expected);
          }
          for (const [filter, sort] of [[{}, { _id: 1 } as Sort] as const, ...questions]) {
            const expected = await found(byLooking as Collection<Item>, filter, sort);
            expect(await found(byId as Collection<Item>, filter, sort)).toBe(expected);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test("agrees with mingo where mingo agrees with MongoDB", async () => {
    const simple = fc.constantFrom(-1, 0, 1, 2.5, "a", "ab", "b", true, false);
    const condition = fc.oneof(
      simple,
      fc.record({ $ne: simple }),
      fc.record({ $gte: simple }),
      fc.record({ $lt: simple }),
      fc.record({ $in: fc.array(simple, { maxLength: 4 }) }),
      fc.record({ $nin: fc.array(simple, { maxLength: 4 }) }),
    );
    const filter = fc.record({ a: condition, b: condition }, { requiredKeys: ["a"] });
    const documents = fc.array(fc.record({ a: simple, b: simple }), { maxLength: 15 });
    await fc.assert(
      fc.asyncProperty(documents, filter, arbitrary.indexes, async (contents, wanted, indexes) => {
        const numbered = contents.map((fields, index) => ({ _id: index, ...fields }));
        const items = await filled(embedded, numbered, indexes);
        const expected = find<Document>(numbered, wanted).sort({ a: 1, _id: 1 }).all();
        expect(await found(items, wanted, { a: 1, _id: 1 })).toBe(shown(expected));
      }),
      { numRuns: 150 },
    );
  });
});

describeWith("mongodb", "the embedded store beside MongoDB", () => {
  let mongodb: Datastore;
  const address = () => {
    const url = new URL(serverUrl("mongodb"));
    url.pathname = `/properties${process.pid}`;
    return url.href;
  };

  beforeAll(async () => {
    mongodb = await openDatastore({ mongodbUri: address(), dataDir: "" });
  });

  afterAll(async () => {
    await mongodb.close();
    const client = await MongoClient.connect(address());
    await client.db().dropDatabase();
    await client.close();
  });

  test("finds the same, in the same order", async () => {
    const queries = fc.array(fc.tuple(arbitrary.filter, arbitrary.sort), { minLength: 20, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(arbitrary.documents, arbitrary.indexes, queries, async (documents, indexes, all) => {
        fc.pre(documents.length > 0);
        const ours = await filled(embedded, documents, indexes);
        const theirs = await filled(mongodb, documents);
        for (const [filter, sort] of all) {
          const expected = await found(theirs, filter, sort).catch((error: Error) => error.message);
          // MongoDB refuses to sort by two paths that hold arrays; the embedded store does sort.
          if (!expected.includes("parallel arrays")) expect(await found(ours, filter, sort)).toBe(expected);
        }
      }),
      { numRuns: 40 },
    );
  });

  test("changes the same, to the same", async () => {
    const updates = fc.array(fc.tuple(arbitrary.filter, arbitrary.update, fc.boolean()), {
      minLength: 4,
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(arbitrary.documents, arbitrary.indexes, updates, async (documents, indexes, changes) => {
        fc.pre(documents.length > 0);
        // NaN that $inc leaves NaN is a change to MongoDB, and none to the embedded store.
        fc.pre(!changes.some(([, update]) => "$inc" in update) || !holdsNaN([documents, changes]));
        const ours = await filled(embedded, documents, indexes);
        const theirs = await filled(mongodb, documents);
        for (const [filter, update, many] of changes) {
          const change = (items: Collection<Item>) => {
            const done = many
              ? items.updateMany(filter, update)
              : items.findOneAndUpdate(filter, update, { sort: { _id: 1 }, returnDocument: "after" });
            return (done as Promise<unknown>).then(shown, () => "refused");
          };
          const expected = await change(theirs);
          expect(await change(ours)).toBe(expected);
          // Of an update of many that is refused, MongoDB keeps what it had done before.
          if (expected === "refused") return;
          expect(await found(ours, {}, { _id: 1 })).toBe(await found(theirs, {}, { _id: 1 }));
        }
      }),
      { numRuns: 60 },
    );
  });
});

function holdsNaN(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return Number.isNaN(value);
  return Object.values(value).some(holdsNaN);
}
