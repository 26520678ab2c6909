import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { decideRange } from "../../../../lib/objects/range.ts";

test.each([
  ["bytes=0-0", 10, { kind: "partial", start: 0, end: 0 }],
  ["bytes=2-5", 10, { kind: "partial", start: 2, end: 5 }],
  ["bytes=5-", 10, { kind: "partial", start: 5, end: 9 }],
  ["bytes=5-99", 10, { kind: "partial", start: 5, end: 9 }],
  ["bytes=-3", 10, { kind: "partial", start: 7, end: 9 }],
  ["bytes=-99", 10, { kind: "partial", start: 0, end: 9 }],
  ["bytes=10-", 10, { kind: "unsatisfiable" }],
  ["bytes=-0", 10, { kind: "unsatisfiable" }],
  ["bytes=0-", 0, { kind: "unsatisfiable" }],
  [undefined, 10, { kind: "full" }],
  ["bytes=5-2", 10, { kind: "full" }],
  ["bytes=0-1,4-5", 10, { kind: "full" }],
  ["bytes=-", 10, { kind: "full" }],
  ["rows=0-1", 10, { kind: "full" }],
])("decides on %p of %i bytes", (header, size, expected) => {
  expect(decideRange(header, size)).toEqual(expected);
});

test("never answers a range outside of the object", () => {
  const number = fc.oneof(fc.constant(""), fc.nat().map(String), fc.bigInt({ min: 0n }).map(String));
  fc.assert(
    fc.property(number, number, fc.nat(), (first, last, size) => {
      const decision = decideRange(`bytes=${first}-${last}`, size);
      if (decision.kind !== "partial") return;
      expect(decision.start).toBeGreaterThanOrEqual(0);
      expect(decision.end).toBeGreaterThanOrEqual(decision.start);
      expect(decision.end).toBeLessThan(size);
    }),
  );
});
