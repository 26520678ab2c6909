import { expect, test } from "@jest/globals";
import { fromJson } from "../../../../lib/protobuf/from-json.ts";
import { loadProto, readProto } from "../../../../lib/protobuf/proto-source.ts";

const type = loadProto(readProto("woxqaq/v1/progress.proto")).lookupType("woxqaq.v1.SubmitTaskRequest");

test("reads both names of a field, enums by name and number, and integers as numbers and text", () => {
  const read = (detail: object) => fromJson(type, { kind: 3, dgd: { rows: "18446744073709551615", ...detail } });
  const message = { kind: "TASK_KIND_DATA_GENERATE", dgd: { rows: "18446744073709551615", seed: "7" } };
  expect(read({ seed: 7 })).toEqual(message);
  expect(read({ seed: "7" })).toEqual(message);
  expect(fromJson(type, { timeZone: "UTC" })).toEqual({ time_zone: "UTC" });
  expect(fromJson(type, { time_zone: "UTC" })).toEqual({ time_zone: "UTC" });
  expect(fromJson(type, { ded: { eatt: { option: [{ table: "t", allField: true }] } } })).toEqual({
    ded: { eatt: { option: [{ table: "t", all_field: true }] } },
  });
  expect(fromJson(type, { did: { mapping: { a: "b" }, batchSize: 10 } })).toEqual({
    did: { mapping: { a: "b" }, batch_size: 10 },
  });
});

test("reads what a query says, level by level", () => {
  expect(fromJson(type, { "ded.ebs.statement": "SELECT 1", "ded.type": "EXPORT_TYPE_EXCEL", name: "n" })).toEqual({
    name: "n",
    ded: { ebs: { statement: "SELECT 1" }, type: "EXPORT_TYPE_EXCEL" },
  });
});

test.each([
  [{ nme: "x" }, "nme: is not a field"],
  [{ ded: { ebs: { sql: "" } } }, "ded.ebs.sql: is not a field"],
  [{ __proto__: 1, constructor: {} }, "constructor: is not a field"],
  [{ name: 5 }, "name: must be text"],
  [{ name: "\ud800" }, "name: must be valid Unicode"],
  [{ kind: "EXPORT" }, "kind: must be one of TASK_KIND_UNSPECIFIED"],
  [{ kind: 9 }, "kind: must be one of"],
  [{ ded: [] }, "ded: must be an object"],
  [{ ded: { eatt: { option: {} } } }, "ded.eatt.option: must be an array"],
  [{ ded: { eatt: { option: [{ fields: [1] }] } } }, "ded.eatt.option[0].fields[0]: must be text"],
  [{ ded: { eatt: { exportAll: "yes" } } }, "ded.eatt.exportAll: must be true or false"],
  [{ dgd: { rows: -1 } }, "dgd.rows: must be a whole number, 0 or more"],
  [{ dgd: { rows: "18446744073709551616" } }, "dgd.rows: must be a whole number, 0 or more"],
  [{ dgd: { rows: 2 ** 53 } }, "dgd.rows: must be a whole number, 0 or more"],
  [{ did: { batch_size: 2 ** 32 } }, "did.batch_size: must be a whole number, 0 or more"],
  [{ did: { mapping: { a: 1 } } }, 'did.mapping["a"]: must be text'],
  [{ time_zone: "a", timeZone: "b" }, "timeZone: is given by both of its names"],
  [{ ded: {}, did: {} }, "did: must not be given together with ded"],
  [{ ded: { ebs: {}, eatt: {} } }, "ded.eatt: must not be given together with ded.ebs"],
  [{ ded: {}, "ded.type": "x" }, "ded.type: must be one of"],
  [{ "ded.type": "x", ded: {} }, "ded: is given twice"],
  [{ name: "a", "name.b": "c" }, "name.b: is within a field that has a value itself"],
])("refuses %j: %s", (json, message) => {
  expect(() => fromJson(type, json)).toThrow(message);
});
