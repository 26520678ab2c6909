/** Writes numbered documents, one after the other and in groups, and prints how many are acknowledged. */
import { openEmbedded } from "../../../../lib/datastore/embedded.ts";

const [directory = "", from = "0"] = process.argv.slice(2);
const store = await openEmbedded(directory);
const items = await store.collection<{ _id: number; text: string }>("items", [{ name: "text", key: { text: 1 } }]);
const text = "x".repeat(500);
let next = Number(from);
for (;;) {
  const group = Array.from({ length: 1 + (next % 7) }, () => ({ _id: next++, text: text + next }));
  await Promise.all(group.map((document) => items.insertOne(document)));
  process.stdout.write(`${next}\n`);
}
