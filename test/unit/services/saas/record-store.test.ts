/** What a store of records keeps, on the embedded store. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Datastore, Document } from "../../../../lib/datastore/datastore.ts";
import { openDatastore } from "../../../../lib/datastore/open.ts";
import type { Change } from "../../../../services/saas/change.ts";
import { Overlay } from "../../../../services/saas/overlay.ts";
import { RecordStore } from "../../../../services/saas/record-store.ts";
import type { LoadMark } from "../../../../services/saas/record.ts";

let directory: string;
let datastore: Datastore;
let records: RecordStore;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "longshore-"));
  datastore = await openDatastore({ dataDir: directory });
  records = await RecordStore.open(datastore);
});

afterAll(async () => {
  await datastore.close();
  rmSync(directory, { recursive: true });
});

/** Sets the first byte. */
function setTo(value: number): Change {
  return { clear: false, bytes: { columns: [0], values: Uint8Array.of(value) } };
}

async function valueOf(space: string, userid = "somebody"): Promise<number> {
  const [record] = await records.read({ space, app: "" }, [userid]);
  return record!.byte(0);
}

function write(space: string, value: number, mark?: LoadMark): Promise<void> {
  return records.write({ space, app: "" }, [{ userid: "somebody", change: setTo(value), mark }]);
}

test("an item of a load is applied once, and not after a later one", async () => {
  await write("marks", 1, { load: 1, position: 5 });
  await write("marks", 2);
  await write("marks", 3, { load: 1, position: 5 });
  await write("marks", 4, { load: 1, position: 4 });
  expect(await valueOf("marks")).toBe(2);
  await write("marks", 5, { load: 1, position: 6 });
  expect(await valueOf("marks")).toBe(5);
  await write("marks", 6, { load: 2, position: 0 });
  await write("marks", 7, { load: 1, position: 9 });
  expect(await valueOf("marks")).toBe(6);
});

test("what was written to columns is what is stored, also where a version was rolled back and came again", async () => {
  await records.writeColumns("rolled", setTo(1));
  expect(await valueOf("rolled")).toBe(1);
  const { version: v, packed: d } = new Overlay().with(setTo(2));
  const stored = await datastore.collection<Document & { _id: string }>("saas_records");
  await stored.updateOne({ _id: "rolled" }, { $set: { v, d } });
  expect(await valueOf("rolled")).toBe(2);
});

test("refuses more changes than may wait, and loses none of those that it took", async () => {
  const place = { space: "many", app: "" };
  const changes = Array.from({ length: 10_000 }, (_, index) => ({ userid: "somebody", change: setTo(index % 256) }));
  const taken = Array.from({ length: 20 }, () => records.write(place, changes));
  await expect(records.write(place, [{ userid: "other", change: setTo(1) }])).rejects.toMatchObject({
    type: "RESOURCE_EXHAUSTED",
  });
  await Promise.all(taken);
  expect(await valueOf("many")).toBe(9_999 % 256);
  await records.write(place, [{ userid: "other", change: setTo(1) }]);
  expect(await valueOf("many", "other")).toBe(1);
});
