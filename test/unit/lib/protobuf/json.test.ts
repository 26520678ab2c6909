import { expect, test } from "@jest/globals";
import { toJson } from "../../../../lib/protobuf/json.ts";
import { loadProto } from "../../../../lib/protobuf/proto-source.ts";
import { structJson } from "../../../../lib/protobuf/struct.ts";
import { timestampOf } from "../../../../lib/protobuf/timestamp.ts";

const root = loadProto({
  "all.proto": `
    syntax = "proto3";
    package t;
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/struct.proto";
    enum Size { SMALL = 0; VERY_LARGE = 1; }
    message All {
      string some_text = 1;
      int64 big = 2;
      uint64 unsigned_big = 3;
      bytes raw = 4;
      Size size = 5;
      repeated Size sizes = 6;
      map<string, int64> counts = 7;
      All inner = 8;
      oneof choice { string one = 9; int32 other = 10; }
      optional bool maybe = 11;
      google.protobuf.Timestamp at = 12;
      google.protobuf.Duration took = 13;
      double ratio = 14;
      repeated All more = 15;
      bool flag = 16;
    }
  `,
});
const all = root.lookupType("t.All");

test("what is given is told in the form of protobuf JSON", () => {
  const message = {
    some_text: "x",
    big: "-9223372036854775808",
    unsigned_big: "18446744073709551615",
    raw: Buffer.from([0, 255]),
    size: "VERY_LARGE",
    sizes: ["SMALL", 1, 7],
    counts: { a: 5 },
    inner: { some_text: "in" },
    other: 0,
    maybe: false,
    at: { seconds: 1_700_000_000, nanos: 5_000_000 },
    took: { seconds: -1, nanos: -500_000_000 },
    ratio: Infinity,
    more: [{}],
    flag: true,
  };
  const { inner, more, ...json } = toJson(all, message);
  expect(json).toEqual({
    someText: "x",
    big: "-9223372036854775808",
    unsignedBig: "18446744073709551615",
    raw: "AP8=",
    size: "VERY_LARGE",
    sizes: ["SMALL", "VERY_LARGE", 7],
    counts: { a: "5" },
    other: 0,
    maybe: false,
    at: "2023-11-14T22:13:20.005Z",
    took: "-1.500s",
    ratio: "Infinity",
    flag: true,
  });
  expect(inner).toMatchObject({ someText: "in", big: "0" });
  expect(more).toEqual([toJson(all, {})]);
});

test("what is not given has its default value, unless that would say that it is there", () => {
  expect(toJson(all, {})).toEqual({
    someText: "",
    big: "0",
    unsignedBig: "0",
    raw: "",
    size: "SMALL",
    sizes: [],
    counts: {},
    ratio: 0,
    more: [],
    flag: false,
  });
});

test("times keep their milliseconds, also before 1970", () => {
  for (const text of ["2026-01-02T03:04:05.678Z", "1969-12-31T23:59:59.250Z", "2026-01-02T03:04:05Z"]) {
    expect(toJson(all, { at: timestampOf(text) })["at"]).toBe(text);
  }
});

test("a Struct is the JSON that it stands for", () => {
  const type = root.lookupType("google.protobuf.Struct");
  const value = { a: 1, b: "x", c: null, d: [true, { e: [] }], f: {} };
  const field = (one: unknown): object => {
    if (one === null) return { null_value: 0 };
    if (Array.isArray(one)) return { list_value: { values: one.map(field) } };
    if (typeof one === "object") return { struct_value: { fields: mapped(one) } };
    return { [`${typeof one === "boolean" ? "bool" : typeof one}_value`]: one };
  };
  const mapped = (object: object) => Object.fromEntries(Object.entries(object).map(([key, one]) => [key, field(one)]));
  const bytes = type.encode(type.fromObject({ fields: mapped(value) })).finish();
  expect(structJson(type.toObject(type.decode(bytes), { oneofs: true }))).toEqual(value);
});
