import { expect, test } from "@jest/globals";
import { serialize } from "bson";
import fc from "fast-check";
import type { Change } from "../../../../services/saas/change.ts";
import { readChange } from "../../../../services/saas/change.ts";
import { Overlay } from "../../../../services/saas/overlay.ts";
import { RECORD_BYTES, UserRecord } from "../../../../services/saas/record.ts";
import { RecordsRead } from "../../../../services/saas/records-read.ts";
import { encodeAnswer, messageOf } from "../../../../services/saas/wire.ts";
import { decode } from "../../../saas-client.ts";
import type { RandomWrite } from "../../../saas-model.ts";
import { randomWrite } from "../../../saas-model.ts";

const NOW = 1_800_000_000;

function changeOf({ clear, bytes, uint32s, flags }: RandomWrite): Change {
  return {
    clear,
    bytes: { columns: [...bytes.keys()], values: Uint8Array.from(bytes.values()) },
    uint32s: { columns: [...uint32s.keys()], values: [...uint32s.values()] },
    flags: { columns: [...flags.keys()], values: [...flags.values()] },
  };
}

test("takes less than 400 bytes as a document, whatever is in it", () => {
  const document = { _id: `space-1/${"a".repeat(18)}/${"u".repeat(64)}`, v: 2 ** 31, d: Buffer.alloc(RECORD_BYTES) };
  expect(serialize(document).length).toBeLessThan(400);
});

test("refuses a form that it does not know", () => {
  expect(() => new UserRecord(Buffer.alloc(RECORD_BYTES))).toThrow("a form that is not known");
  expect(() => new UserRecord(Buffer.alloc(3, 1))).toThrow("a form that is not known");
});

test("reads the bits of both halves in ascending order", () => {
  const write_bytes = { bytes: Uint8Array.of(1, 2, 3, 4), index_1: { low: 1, high: -(2 ** 31) }, index_2: 2 ** 40 + 1 };
  expect(readChange({ write_bytes }, false).bytes!.columns).toEqual([0, 63, 64, 104]);
});

test("a record brought up in any steps is what it would be had it been written at once", () => {
  const steps = fc.array(fc.record({ write: randomWrite, brought: fc.boolean() }), { maxLength: 8 });
  fc.assert(
    fc.property(steps, (writes) => {
      const direct = new UserRecord();
      const record = new UserRecord();
      let overlay = new Overlay();
      for (const { write, brought } of writes) {
        const change = changeOf(write);
        direct.apply(change);
        overlay = overlay.with(change);
        if (brought) overlay.bring(record);
      }
      new Overlay(overlay.version, overlay.packed).bring(record);
      direct.overlayVersion = record.overlayVersion;
      expect(record.packed).toEqual(direct.packed);
      expect(record.overlayVersion).toBe(writes.length);
    }),
  );
});

test("an overlay leaves alone the record that is further than it", () => {
  const older = new Overlay().with({ clear: true });
  const record = new UserRecord();
  record.overlayVersion = 2;
  record.setByte(0, 7);
  older.bring(record);
  expect([record.byte(0), record.overlayVersion]).toEqual([7, 2]);
});

test("writes the bytes of an answer as the message says them", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(randomWrite, fc.nat({ max: 2 ** 32 - 1 })), { maxLength: 100 }), (writes) => {
      const records = writes.map(([write, time]) => {
        const record = new UserRecord();
        record.apply(changeOf(write));
        record.modifyTime = time;
        return record;
      });
      const read = new RecordsRead(records, NOW);
      expect(decode(read.encode())).toEqual(decode(encodeAnswer(messageOf(read), "protobuf")));
    }),
    { numRuns: 50 },
  );
});
