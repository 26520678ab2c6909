import { describe, expect, test } from "@jest/globals";
import type { Document } from "../../../../../lib/datastore/datastore.ts";
import { deserialize, serialize } from "../../../../../lib/datastore/embedded/documents.ts";
import { KeyedUpdate } from "../../../../../lib/datastore/embedded/keyed-update.ts";
import { shapeOperations } from "../../../../../lib/datastore/embedded/shapes.ts";
import type { Shape } from "../../../../../lib/datastore/embedded/shapes.ts";

const columns = ["state", "c.d", "attempts"].map((path, index) => ({
  path,
  parts: path.split("."),
  name: `k${index}`,
  wild: false,
}));

function applied(filter: Document, update: Document, document: Document, kind = "updateOne") {
  const shaped = shapeOperations([{ [kind]: { filter, update } }]);
  const keyed = KeyedUpdate.of(JSON.parse(shaped?.shapes[0] ?? "") as Shape, columns);
  if (!keyed?.take(shaped?.values ?? [], 0)) return undefined;
  const outcome = keyed.apply(serialize(document));
  return outcome === "changed" ? { document: deserialize(keyed.document), ...keyed.changedKeys } : outcome;
}

const running = { _id: 1, state: "RUNNING", token: "t", attempts: 1, holder: "h", input: "é" };

describe("a keyed update", () => {
  test("sets, removes and adds, and says which keys changed", () => {
    const update = {
      $set: { state: "SUCCESS", endTime: new Date(5) },
      $inc: { attempts: 1 },
      $unset: { token: "", no: "" },
    };
    const after = applied({ _id: 1, state: "RUNNING", token: "t", prior: null }, update, running);
    expect(after).toMatchObject({
      document: { _id: 1, state: "SUCCESS", attempts: 2, holder: "h", input: "é", endTime: new Date(5) },
      columns: 0b101,
    });
    expect(after).toHaveProperty("keys.0", "SUCCESS");
    expect(after).toHaveProperty("keys.2", 2);
    expect(after).not.toHaveProperty(["document", "token"]);
  });

  test("changes nothing where the conditions do not hold, or all is so already", () => {
    const update = { $set: { holder: "h" } };
    expect(applied({ _id: 1, state: "READY" }, update, running)).toBe("unmatched");
    expect(applied({ _id: 1, prior: 3 }, update, running)).toBe("unmatched");
    expect(applied({ _id: 1, attempts: 1 }, update, running)).toBe("unchanged");
    expect(applied({ _id: { $in: [1, 2] } }, { $inc: { large: 1 } }, { _id: 1, large: 1e300 }, "updateMany")).toBe(
      "unchanged",
    );
  });

  test("is unsure of arrays that are compared, and of what is no number", () => {
    expect(applied({ _id: 1, state: null }, { $set: { a: 1 } }, { _id: 1, state: [null] })).toBe("unsure");
    expect(applied({ _id: 1 }, { $inc: { attempts: 1 } }, { _id: 1, attempts: "1" })).toBe("unsure");
  });

  test("leaves other updates to the general way", () => {
    const others: [Document, Document][] = [
      [{ state: "READY" }, { $set: { a: 1 } }],
      [{ _id: 1, attempts: { $gt: 1 } }, { $set: { a: 1 } }],
      [{ _id: { $in: [1] } }, { $set: { a: 1 } }],
      [{ _id: 1, "c.d": 1 }, { $set: { a: 1 } }],
      [{ _id: 1 }, { $set: { "a.b": 1 } }],
      [{ _id: 1 }, { $set: { c: 1 } }],
      [{ _id: 1 }, { $set: { _id: 2 } }],
      [{ _id: 1 }, { $set: { a: 1 }, $unset: { a: "" } }],
      [{ _id: 1 }, { $set: { state: ["a"] } }],
      [{ _id: 1 }, { $inc: { attempts: "1" } }],
      [{ _id: 1 }, { $push: { a: 1 } }],
      [{ _id: [1] }, { $set: { a: 1 } }],
      [{ _id: 1 }, { $set: { text: "x".repeat(400_000) } }],
    ];
    for (const [filter, update] of others) expect(applied(filter, update, running)).toBeUndefined();
  });
});
