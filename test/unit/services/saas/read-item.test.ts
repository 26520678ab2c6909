import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { readChange } from "../../../../services/saas/change.ts";
import { BatchPacker, unpackBatch } from "../../../../services/saas/tasks/load-batch.ts";
import { readAny, readItem, readPlain } from "../../../../services/saas/tasks/read-item.ts";
import { lineOf, randomWrite } from "../../../saas-model.ts";

type Json = Record<string, unknown>;

const uint64 = fc.oneof(
  fc.nat({ max: 1_000 }),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
  fc.constantFrom<unknown>(
    0,
    -1,
    1.5,
    2 ** 53,
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "",
    "1e3",
    null,
    true,
  ),
);
const base64 = fc.oneof(
  fc.base64String({ maxLength: 24 }),
  fc.constantFrom<unknown>("AQ==", "AQ", "_-8=", "!", 1, null),
);
const number = fc.oneof(fc.nat({ max: 2 ** 32 - 1 }), fc.constantFrom<unknown>("7", -1, 2 ** 32, 0.5, null, "x"));
const boolean = fc.constantFrom<unknown>(true, false, "true", "no", 1, null);

/** An object with some of the fields, by either name, and now and then one that is none. */
function someOf(fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Json> {
  const names = Object.keys(fields);
  const entry = fc.constantFrom(...names).chain((name) => fields[name]!.map((value) => [name, value] as const));
  const any = fc.oneof({ weight: 30, arbitrary: entry }, { weight: 1, arbitrary: fc.constant(["more", 1] as const) });
  return fc.array(any, { maxLength: 4 }).map((entries) => Object.fromEntries(entries));
}

const flag = someOf({ flag: boolean, defaultFlag: boolean, default_flag: boolean, expire: number });
const bytes = someOf({ bytes: base64, index1: uint64, index_1: uint64, index2: uint64, index_2: uint64 });
const uint32s = someOf({ uint32s: fc.array(number, { maxLength: 3 }), index1: uint64, index_1: uint64 });
const flags = someOf({
  flagsWithExpire: fc.array(flag, { maxLength: 3 }),
  flags_with_expire: fc.array(flag),
  index1: uint64,
});
const odd = fc.constantFrom<unknown>(null, 1, "x", []);
const item = someOf({
  userid: fc.oneof(fc.string(), fc.constantFrom<unknown>("\ud800", 1, null)),
  writeBytes: fc.oneof(bytes, odd),
  write_bytes: bytes,
  writeUint32s: fc.oneof(uint32s, odd),
  write_uint32s: uint32s,
  writeFlagsWithExpire: fc.oneof(flags, odd),
  write_flags_with_expire: flags,
});

/** What it would write, or that it is refused. */
function outcome(read: (json: Json) => ReturnType<typeof readAny> | undefined, json: Json) {
  try {
    const found = read(json);
    if (!found) return undefined;
    const { bytes, ...change } = readChange(found, false);
    return { userid: found.userid, change, bytes: bytes && { columns: bytes.columns, values: [...bytes.values] } };
  } catch {
    return "refused";
  }
}

test("reads what is plain as protobuf JSON is read, and leaves the rest to that", () => {
  let plain = 0;
  fc.assert(
    fc.property(item, (generated) => {
      const json = JSON.parse(JSON.stringify(generated)) as Json;
      const found = outcome(readPlain, json);
      if (found === undefined) return;
      plain += 1;
      expect(found).toEqual(outcome(readAny, json));
    }),
    { numRuns: 2_000 },
  );
  expect(plain).toBeGreaterThan(200);
});

test("reads every write in its plain form, and packs it as it is", () => {
  fc.assert(
    fc.property(fc.array(randomWrite, { maxLength: 20 }), fc.nat(), (writes, first) => {
      const packer = new BatchPacker();
      const items = writes.map((write) => {
        const line = lineOf(`user ${write.user}`, write);
        expect(readPlain(JSON.parse(line) as Json)).toBeDefined();
        return readItem(line);
      });
      for (const [index, { userid, change }] of items.entries()) packer.add(userid, change, index * 3);
      const end = { file: 0, block: 0, offset: 0, line: 0, position: 0 };
      const batch = { userids: packer.userids, packed: packer.packed(), badLines: [], bad: 0, end };
      const unpacked = unpackBatch(batch, 7, first);
      expect(unpacked.map(({ mark }) => mark)).toEqual(
        items.map((_, index) => ({ load: 7, position: first + index * 3 })),
      );
      for (const [index, { userid, change }] of unpacked.entries()) {
        expect(userid).toBe(items[index]!.userid);
        const { bytes, uint32s, flags } = items[index]!.change;
        expect([...(change.bytes?.values ?? [])]).toEqual([...(bytes?.values ?? [])]);
        expect(change.bytes?.columns ?? []).toEqual(bytes?.columns);
        expect(change.uint32s ?? { columns: [], values: [] }).toEqual(uint32s);
        expect(change.flags ?? { columns: [], values: [] }).toEqual(flags);
      }
    }),
  );
});

const refused: [string, string][] = [
  ["", "line: is not JSON"],
  ["{", "line: is not JSON"],
  ["1", "line: is no object"],
  ["[]", "line: is no object"],
  ["null", "line: is no object"],
  ["{}", "userid: must not be empty"],
  ['{"userid": "\\ud800"}', "userid: must be valid Unicode"],
  ['{"userid": "\ufffd"}', "userid: must be valid UTF-8"],
  ['{"userid": "x", "__proto__": 1}', "__proto__: is not a field"],
  ['{"userid": "x", "writeBytes": {"bytes": "AQ==", "index1": 3}}', "write_bytes: has 1 values for 2 columns"],
  ['{"userid": "x", "writeBytes": {}, "write_bytes": {}}', "write_bytes: is given by both of its names"],
  [
    '{"userid": "x", "writeUint32s": {"uint32s": [1], "index1": "65536"}}',
    "write_uint32s.index_1: names a column beyond 15",
  ],
  [
    '{"userid": "x", "writeUint32s": {"uint32s": [4294967296], "index1": 1}}',
    "writeUint32s.uint32s[0]: must be a whole",
  ],
];
test.each(refused)("refuses %s", (line, message) => {
  expect(() => readItem(line)).toThrow(message);
});
