import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { Utf8Block, specialCharacters } from "../../../../lib/tabular/utf8-block.ts";

/** Where a block's first place ends. */
const ROOM = 288 * 1024;

/** What `write` leaves in a block. */
function written(write: (block: Utf8Block) => void): string {
  const block = new Utf8Block();
  write(block);
  return textOf(block.take());
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

describe("numbers", () => {
  const near = (center: number) => fc.integer({ min: -3, max: 3 }).map((offset) => center + offset);
  const number = fc.oneof(
    fc.double(),
    fc.integer(),
    fc.maxSafeInteger(),
    // Decimals, of which up to four are short.
    fc.tuple(fc.integer(), fc.integer({ min: 1, max: 6 })).map(([digits, places]) => digits / 10 ** places),
    fc.tuple(fc.integer({ min: -99, max: 99 }), fc.integer({ min: 1, max: 6 })).map(([k, places]) => k / 10 ** places),
    fc.integer().map((integer) => integer + 0.5),
    fc.tuple(fc.integer(), fc.constantFrom(2, 4, 8, 16, 3, 7)).map(([integer, part]) => integer / part),
    // The doubles beside short ones.
    fc.tuple(fc.integer(), fc.integer({ min: 0, max: 4 })).map(([digits, places]) => beside(digits / 10 ** places)),
    fc.constantFrom(2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53, 0, 1e21).chain(near),
    fc.constantFrom(2 ** 31, -(2 ** 31), 2 ** 32).chain((center) => near(center).map((value) => value / 1e4)),
    fc.constantFrom(-0, NaN, Infinity, -Infinity, 5e-324, -5e-324, 2.2250738585072014e-308, 1e-5, 1.5e-4, 0.00005),
    fc.double({ min: -2.3e-308, max: 2.3e-308 }),
  );
  const numbers = fc.array(number, { minLength: 1, maxLength: 500, size: "max" });

  test("are written as String has them", () => {
    fc.assert(
      fc.property(numbers, (values) => {
        const text = written((block) => {
          for (const value of values) {
            block.number(value);
            block.byte(0x0a);
          }
        });
        expect(text).toBe(values.map((value) => `${String(value)}\n`).join(""));
      }),
      { numRuns: 300 },
    );
  });

  test("are written short as String has them, or not at all", () => {
    fc.assert(
      fc.property(numbers, (values) => {
        const isShort: boolean[] = [];
        const text = written((block) => {
          for (const value of values) {
            isShort.push(block.shortNumber(value));
            block.byte(0x0a);
          }
        });
        expect(text).toBe(values.map((value, index) => (isShort[index] ? `${String(value)}\n` : "\n")).join(""));
      }),
      { numRuns: 300 },
    );
  });

  test.each([0, 7, -12.5, 2_147_483_647, -2_147_483_648, 214_748.3647, -214_748.3647, 0.0001])(
    "%p is short",
    (value) => {
      expect(new Utf8Block().shortNumber(value)).toBe(true);
    },
  );

  test.each([NaN, Infinity, 2 ** 31, 0.00001, 214_748.3648, 1 / 3, 5e-324])("%p is not short", (value) => {
    expect(new Utf8Block().shortNumber(value)).toBe(false);
  });

  function beside(value: number): number {
    const [bits] = new BigInt64Array(new Float64Array([value]).buffer);
    return new Float64Array(new BigInt64Array([bits! + 1n]).buffer)[0]!;
  }
});

describe("plain texts", () => {
  const SPECIAL = '"\\<\n';
  const special = specialCharacters(SPECIAL);
  const text = fc.oneof(
    fc.string({ unit: "binary-ascii", maxLength: 60 }),
    fc.string({ unit: "grapheme", maxLength: 60 }),
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 }).map((units) => String.fromCharCode(...units)),
    fc
      .array(fc.constantFrom("\u007f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "x"), {
        maxLength: 60,
      })
      .map((units) => units.join("")),
  );

  test("are written as UTF-8, between quotes when asked for, or not at all", () => {
    fc.assert(
      fc.property(text, fc.constantFrom("", "'", "|"), (text, quote) => {
        const block = new Utf8Block();
        block.text("before");
        const isPlain = block.plain(text, special, quote === "" ? undefined : quote.charCodeAt(0));
        block.text("after");
        const expected = Buffer.from(isPlain ? `before${quote}${text}${quote}after` : "beforeafter");
        expect(Buffer.compare(block.take(), expected)).toBe(0);
      }),
      { numRuns: 3_000 },
    );
  });

  test("are those without a special character or what XML and UTF-8 lack", () => {
    fc.assert(
      fc.property(text, (text) => {
        const short = text.slice(0, 48);
        const hasSpecial = /["\\<\n\ufffe\uffff\ud800-\udfff]/.test(short);
        expect(new Utf8Block().plain(short, special)).toBe(!hasSpecial);
      }),
      { numRuns: 3_000 },
    );
  });
});

describe("a block", () => {
  const operation = fc.oneof(
    fc.record({ text: fc.string({ unit: "binary", maxLength: 30 }) }),
    fc.record({
      text: fc.tuple(fc.constantFrom("x", "文", "\ud800"), fc.nat(150_000)).map(([unit, count]) => unit.repeat(count)),
    }),
    fc.record({ plain: fc.string({ unit: "grapheme", maxLength: 50 }) }),
    fc.record({
      bytes: fc.oneof(
        fc.uint8Array(),
        fc.nat(400_000).map((length) => new Uint8Array(length).fill(7)),
      ),
    }),
    fc.record({ byte: fc.nat(255) }),
    fc.record({
      number: fc.oneof(
        fc.integer(),
        fc.integer().map((digits) => digits / 1e4),
        fc.double(),
      ),
    }),
    fc.record({ cut: fc.double({ min: 0, max: 1, noNaN: true }) }),
    fc.constant({ take: true }),
  );

  test("holds what was written, however long, less what was cut, until it is taken", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40, size: "max" }), (operations) => {
        const block = new Utf8Block();
        const taken: [Uint8Array, Buffer][] = [];
        let model = Buffer.alloc(0);
        const add = (bytes: Uint8Array) => (model = Buffer.concat([model, bytes]));
        for (const operation of operations) {
          if ("text" in operation) {
            block.text(operation.text);
            add(Buffer.from(operation.text));
          } else if ("plain" in operation) {
            if (block.plain(operation.plain, specialCharacters(""), 0x22)) add(Buffer.from(`"${operation.plain}"`));
          } else if ("bytes" in operation) {
            block.bytes(operation.bytes);
            add(operation.bytes);
          } else if ("byte" in operation) {
            block.byte(operation.byte);
            add(Uint8Array.of(operation.byte));
          } else if ("number" in operation) {
            block.number(operation.number);
            add(Buffer.from(String(operation.number)));
          } else if ("cut" in operation) {
            block.cut(Math.floor(operation.cut * block.length));
            model = model.subarray(0, block.length);
          } else {
            taken.push([block.take(), model]);
            model = Buffer.alloc(0);
          }
          expect(block.length).toBe(model.length);
          expect(block.isFull).toBe(model.length >= 256 * 1024);
        }
        taken.push([block.take(), model]);
        // What was taken earlier is not written to again.
        for (const [bytes, expected] of taken) expect(Buffer.compare(bytes, expected)).toBe(0);
        expect(block.length).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  test.each([
    ["a number", "-2147483648", (block: Utf8Block) => block.number(-2_147_483_648)],
    ["a decimal", "-214748.3647", (block: Utf8Block) => block.number(-214_748.3647)],
    ["a double", "-2.2250738585072014e-308", (block: Utf8Block) => block.number(-2.2250738585072014e-308)],
    [
      "a plain text",
      `"${"文".repeat(48)}"`,
      (block: Utf8Block) => block.plain("文".repeat(48), new Uint8Array(128), 0x22),
    ],
    ["a text", "文".repeat(48), (block: Utf8Block) => block.text("文".repeat(48))],
    ["bytes", "bytes", (block: Utf8Block) => block.bytes(Buffer.from("bytes"))],
    ["a byte", "b", (block: Utf8Block) => block.byte(0x62)],
  ])("grows for %s that does not fit in", (_, text, write) => {
    for (let left = 0; left < 150; left++) {
      const full = Buffer.alloc(ROOM - left, "r");
      const block = new Utf8Block();
      block.bytes(full);
      write(block);
      expect(Buffer.compare(block.take(), Buffer.concat([full, Buffer.from(text)]))).toBe(0);
    }
  });
});
