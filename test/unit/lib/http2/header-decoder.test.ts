import { once } from "node:events";
import type { ClientHttp2Session, OutgoingHttpHeaders } from "node:http2";
import { connect, sensitiveHeaders } from "node:http2";
import type { Duplex } from "node:stream";
import { duplexPair } from "node:stream";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { headerBlock } from "../../../../lib/http2/header-block.ts";
import type { Field } from "../../../../lib/http2/header-decoder.ts";
import { HeaderDecoder } from "../../../../lib/http2/header-decoder.ts";
import { ErrorCode, Flag, FrameType, Setting } from "../../../../lib/http2/protocol.ts";
import { STATIC_TABLE } from "../../../../lib/http2/static-table.ts";
import { FrameReader, settings } from "../../../http2-frames.ts";

type Pair = readonly [name: string, value: string];

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(" ", ""), "hex");
}

function pairs(fields: readonly Field[] | undefined): Pair[] | undefined {
  return fields?.map(({ name, value }): Pair => [name, value]);
}

function newDecoder(maxListBytes = 100_000): HeaderDecoder {
  return new HeaderDecoder(maxListBytes);
}

function decode(block: Buffer | string, decoder = newDecoder()): Pair[] | undefined {
  return pairs(decoder.decode(typeof block === "string" ? hex(block) : block));
}

/** That the block is malformed, and in what way. */
function expectMalformed(block: Buffer | string, message: RegExp, decoder = newDecoder()): void {
  let thrown: unknown;
  try {
    decode(block, decoder);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toMatchObject({ code: ErrorCode.COMPRESSION_ERROR, message: expect.stringMatching(message) });
}

/** A literal that enters the table. */
function entry(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(0x40), headerBlock([[name, value]]).subarray(1)]);
}

/** The index of the newest entry, as a field. */
const NEWEST = Buffer.of(0x80 | (STATIC_TABLE.length + 1));

const TABLE_TO_256 = "3fe101";
const WWW = "www.example.com";
const FIRST: Pair[] = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", WWW],
];
const SECOND: Pair[] = [...FIRST, ["cache-control", "no-cache"]];
const THIRD: Pair[] = [
  [":method", "GET"],
  [":scheme", "https"],
  [":path", "/index.html"],
  [":authority", WWW],
  ["custom-key", "custom-value"],
];
const LOCATION: Pair = ["location", "https://www.example.com"];
const AT_21: Pair = ["date", "Mon, 21 Oct 2013 20:13:21 GMT"];
const AT_22: Pair = ["date", "Mon, 21 Oct 2013 20:13:22 GMT"];
const COOKIE: Pair = ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"];
const PRIVATE: Pair = ["cache-control", "private"];
const RESPONSES: Pair[][] = [
  [[":status", "302"], PRIVATE, AT_21, LOCATION],
  [[":status", "307"], PRIVATE, AT_21, LOCATION],
  [[":status", "200"], PRIVATE, AT_22, LOCATION, ["content-encoding", "gzip"], COOKIE],
];

describe("the examples of RFC 7541", () => {
  test.each<[string, string, Pair]>([
    ["C.2.1", "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", ["custom-key", "custom-header"]],
    ["C.2.2", "040c 2f73 616d 706c 652f 7061 7468", [":path", "/sample/path"]],
    ["C.2.3", "1008 7061 7373 776f 7264 0673 6563 7265 74", ["password", "secret"]],
    ["C.2.4", "82", [":method", "GET"]],
  ])("%s, one field", (_, block, field) => {
    expect(decode(block)).toEqual([field]);
  });

  test("C.2: only the literal with indexing enters the table", () => {
    const decoder = newDecoder();
    for (const block of ["040c 2f73 616d 706c 652f 7061 7468", "1008 7061 7373 776f 7264 0673 6563 7265 74"]) {
      decode(block, decoder);
    }
    decode("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", decoder);
    expect(decode("be", decoder)).toEqual([["custom-key", "custom-header"]]);
    expectMalformed("bf", /index 63/, decoder);
  });

  test.each([
    [
      "C.3, requests as they are",
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      ],
    ],
    [
      "C.4, requests in Huffman code",
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      ],
    ],
  ])("%s", (_, blocks) => {
    const decoder = newDecoder();
    expect(blocks.map((block) => decode(block, decoder))).toEqual([FIRST, SECOND, THIRD]);
  });

  test.each([
    [
      "C.5, responses as they are",
      [
        `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
        "4803 3330 37c1 c0bf",
        `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
         2076 6572 7369 6f6e 3d31`,
      ],
    ],
    [
      "C.6, responses in Huffman code",
      [
        `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
         8f0b 97c8 e9ae 82ae 43d3`,
        "4883 640e ffc1 c0bf",
        `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
      ],
    ],
  ])("%s, in a table of 256 bytes that drops its oldest fields", (_, blocks) => {
    const decoder = newDecoder();
    const [first, ...rest] = blocks.map((block) => hex(block.replaceAll("\n", "")));
    expect(decode(Buffer.concat([hex(TABLE_TO_256), first!]), decoder)).toEqual(RESPONSES[0]);
    expect(rest.map((block) => decode(block, decoder))).toEqual(RESPONSES.slice(1));
    expect(decode("bebfc0", decoder)).toEqual([COOKIE, ["content-encoding", "gzip"], AT_22]);
    expectMalformed("c1", /index 65/, decoder);
  });
});

describe("a number", () => {
  test("C.1: ends in its first byte, or goes on after that", () => {
    expectMalformed("ca", /index 74/);
    expectMalformed("ff9a0a", /index 1433/);
    expectMalformed("ffba09", /index 1337/);
    expectMalformed("ff00", /index 127/);
    // The table's size, in 5 bits.
    const decoder = newDecoder();
    decode("3f9a0a", decoder);
    const fitting: Pair = ["a", "x".repeat(1_337 - 32 - 1)];
    decode(entry(...fitting), decoder);
    expect(decode(NEWEST, decoder)).toEqual([fitting]);
    decode(entry("ab", fitting[1]), decoder);
    expectMalformed(NEWEST, /index 62/, decoder);
  });

  test("may be 2 ** 24 and not more", () => {
    expectMalformed("ff81ffff07", /index 16777216/);
    expectMalformed("ff82ffff07", /number is too large/);
  });

  test("that does not end is refused before the block ends", () => {
    expectMalformed(Buffer.concat([hex("ff"), Buffer.alloc(1_000_000, 0x80)]), /number is too large/);
    expectMalformed(Buffer.concat([hex("ff"), Buffer.alloc(1_000_000, 0xff)]), /number is too large/);
  });
});

describe("the table", () => {
  test("drops the oldest fields where a new one does not fit", () => {
    const decoder = newDecoder();
    // 32 bytes of each beyond its name and value: two fit.
    const fields = ["a", "b", "c"].map((name): Pair => [name, name.repeat(2_000)]);
    for (const [name, value] of fields) decode(entry(name, value), decoder);
    expect(decode("bebf", decoder)).toEqual([fields[2], fields[1]]);
    expectMalformed("c0", /index 64/, decoder);
  });

  test("holds exactly 4,096 bytes", () => {
    const decoder = newDecoder();
    const fitting: Pair = ["a", "x".repeat(4_096 - 32 - 1)];
    decode(entry(...fitting), decoder);
    expect(decode(NEWEST, decoder)).toEqual([fitting]);
    decode(entry("a", `${fitting[1]}x`), decoder);
    expectMalformed(NEWEST, /index 62/, decoder);
  });

  test("takes a name from a field that the new one drops", () => {
    const decoder = newDecoder();
    const name = "n".repeat(2_500);
    decode(entry(name, ""), decoder);
    const value = headerBlock([["", "v".repeat(1_500)]]).subarray(2);
    const block = Buffer.concat([Buffer.of(0x40 | (STATIC_TABLE.length + 1)), value]);
    expect(decode(block, decoder)).toEqual([[name, "v".repeat(1_500)]]);
    expect(decode(NEWEST, decoder)).toEqual([[name, "v".repeat(1_500)]]);
    expectMalformed("bf", /index 63/, decoder);
  });

  test("is empty after its size was 0, and takes fields again when it is larger", () => {
    const decoder = newDecoder();
    decode(entry("a", "1"), decoder);
    decode("20", decoder);
    expectMalformed(NEWEST, /index 62/, decoder);
    decode(entry("a", "2"), decoder);
    expectMalformed(NEWEST, /index 62/, decoder);
    // To 0 and back to 4,096 at the beginning of one block.
    expect(decode(Buffer.concat([hex("203fe11f"), entry("a", "3")]), decoder)).toEqual([["a", "3"]]);
    expect(decode(NEWEST, decoder)).toEqual([["a", "3"]]);
  });

  test("must not be larger than we said, nor change its size among the fields", () => {
    expectMalformed("3fe21f", /table of 4097 bytes/);
    expectMalformed("8220", /among the fields/);
    const small = newDecoder(10);
    expectMalformed("8220", /among the fields/, small);
  });
});

describe("a malformed block", () => {
  test("has an index that no field has", () => {
    expectMalformed("80", /index 0/);
    expectMalformed("be", /index 62/);
    expectMalformed("7f00 0161", /index 63/);
    expectMalformed("0f2f 0161", /index 62/);
    expectMalformed(Buffer.concat([entry("a", "b"), hex("bf")]), /index 63/);
  });

  test.each(["40", "4001", "400161", "40016101", "0f", "0003 6162", "ff", "ff80", "3f", "0085 f1e3c2", "007f"])(
    "is cut off: %s",
    (block) => {
      expectMalformed(block, /cut off/);
    },
  );

  test("is refused wherever a good one is cut off within a field", () => {
    const block = headerBlock([["custom-key", "custom-header"]]);
    for (let end = 1; end < block.length; end += 1) expectMalformed(block.subarray(0, end), /cut off/);
  });

  test.each([
    ["the end of the string in it", "0084 ffff ffff 00"],
    ["the end of the string after a character", "0085 1fff ffff ff 00"],
    ["more padding than 7 bits", "0082 1fff 00"],
    ["nothing but padding, and too much of it", "0081 ff 00"],
    ["padding of zeros", "0081 18 00"],
    ["padding that is not all ones", "0081 1d 00"],
    ["a character that is cut off after 8 ones", "0082 fffe 00"],
  ])("has a string in Huffman code with %s", (_, block) => {
    expectMalformed(block, /not in Huffman code/);
  });

  test("may have padding of 0 to 7 ones", () => {
    expect(decode("0081 1f 00")).toEqual([["a", ""]]);
    // 8 characters of 5 bits fill their bytes.
    expect(decode("0085 18c6318c63 00")).toEqual([["aaaaaaaa", ""]]);
    expect(decode("0080 80")).toEqual([["", ""]]);
    // A code of 25 bits, and 7 of padding.
    const long = decode("0084 fffffd7f 00")!;
    expect(long).toHaveLength(1);
    expect(long[0]![0]).toHaveLength(1);
  });
});

/** The codes of RFC 7541, appendix B, that no other test comes to: those of the octets that no field may have. */
const CONTROL_CODES: [code: number, bits: number][] = [
  [0x1ff8, 13],
  [0x7fffd8, 23],
  ...range(0xfffffe2, 7).map((code): [number, number] => [code, 28]),
  [0xffffea, 24],
  [0x3ffffffc, 30],
  [0xfffffe9, 28],
  [0xfffffea, 28],
  [0x3ffffffd, 30],
  ...range(0xfffffeb, 8).map((code): [number, number] => [code, 28]),
  [0x3ffffffe, 30],
  ...range(0xffffff3, 9).map((code): [number, number] => [code, 28]),
];

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

test("the Huffman codes of the octets below a space are those of the RFC", () => {
  const decoded = CONTROL_CODES.map(([code, bits]) => {
    const bytes = Math.ceil(bits / 8);
    const padded = ((BigInt(code) + 1n) << BigInt(8 * bytes - bits)) - 1n;
    return decode(`00 8${bytes} ${padded.toString(16).padStart(2 * bytes, "0")} 00`);
  });
  expect(decoded).toEqual(range(0, 32).map((octet) => [[String.fromCharCode(octet), ""]]));
});

describe("a list that is larger than it may be", () => {
  test("is not given out, and what it did to the table stays", () => {
    const decoder = newDecoder(200);
    const block = Buffer.concat([entry("kept", "v"), entry("large", "x".repeat(300)), entry("last", "w")]);
    expect(decode(block, decoder)).toBeUndefined();
    expect(decode("bec0", decoder)).toEqual([
      ["last", "w"],
      ["kept", "v"],
    ]);
  });

  test("is one of more bytes than the limit, 32 counted of each field beyond its name and value", () => {
    const field: Pair = ["name", "x".repeat(64)];
    expect(decode(headerBlock([field, field]), newDecoder(200))).toEqual([field, field]);
    expect(decode(headerBlock([field, field]), newDecoder(199))).toBeUndefined();
  });

  test("takes no more than its bytes, however much they refer to", () => {
    const large: Pair = ["bomb", "x".repeat(4_000)];
    const bomb = Buffer.concat([entry(...large), Buffer.alloc(10_000, NEWEST)]);
    const decoder = newDecoder(16_384);
    expect(decode(bomb, decoder)).toBeUndefined();
    expect(decode(NEWEST, decoder)).toEqual([large]);
    const fields = newDecoder(Infinity).decode(bomb)!;
    expect(fields).toHaveLength(10_001);
    expect(new Set(fields).size).toBe(1);
  });
});

describe("a block that comes again", () => {
  const block = headerBlock([["x-a", "1"]]);

  test("gives the same object", () => {
    const decoder = newDecoder();
    const fields = decoder.decode(block);
    expect(decoder.decode(Buffer.from(block))).toBe(fields);
    expect(decoder.decode(block)).toBe(fields);
    expect(pairs(fields)).toEqual([["x-a", "1"]]);
  });

  test("is kept apart from the bytes in which it came", () => {
    const decoder = newDecoder();
    const bytes = Buffer.from(block);
    decoder.decode(bytes);
    bytes[bytes.length - 1] = "2".charCodeAt(0);
    expect(decode(bytes, decoder)).toEqual([["x-a", "2"]]);
  });

  test("gives the fields of the table as it is now, once that has changed", () => {
    const decoder = newDecoder();
    decode(entry("a", "old"), decoder);
    const old = decoder.decode(NEWEST);
    expect(decoder.decode(NEWEST)).toBe(old);
    decode(entry("a", "new"), decoder);
    expect(decode(NEWEST, decoder)).toEqual([["a", "new"]]);
    decode("20", decoder);
    expectMalformed(NEWEST, /index 62/, decoder);
  });

  test("enters the table each time where it does", () => {
    const decoder = newDecoder();
    const twice = entry("a", "b");
    expect(decoder.decode(twice)).not.toBe(decoder.decode(twice));
    expect(decode("bebf", decoder)).toEqual([
      ["a", "b"],
      ["a", "b"],
    ]);
  });

  test("of too large a list that changes the table is not mistaken for an earlier one", () => {
    const decoder = newDecoder(100);
    decode(entry("a", "old"), decoder);
    decode(NEWEST, decoder);
    expect(decode(entry("a", "x".repeat(100)), decoder)).toBeUndefined();
    decode(entry("a", "new"), decoder);
    expect(decode(NEWEST, decoder)).toEqual([["a", "new"]]);
  });
});

/** Node's own client, of which only the header blocks are looked at. */
class Encoder {
  readonly #session: ClientHttp2Session;
  readonly #far: Duplex;
  readonly #frames = new FrameReader({ preface: true });

  constructor() {
    const [near, far] = duplexPair();
    this.#far = far;
    far.on("data", (chunk: Buffer) => this.#frames.push(chunk));
    this.#session = connect("http://localhost", { createConnection: () => near });
    this.#session.on("error", () => undefined);
    far.write(settings({}));
  }

  /** The block of a request with these fields; with `tableBytes` after the table was made that large. */
  async encode(fields: Pair[], tableBytes?: number): Promise<Buffer> {
    if (tableBytes !== undefined) {
      this.#far.write(settings({ [Setting.HEADER_TABLE_SIZE]: tableBytes }));
      await once(this.#session, "remoteSettings");
    }
    const headers: OutgoingHttpHeaders = { ":path": "/a/path" };
    for (const [name, value] of fields) headers[name] = [...((headers[name] as string[]) ?? []), value];
    const request = this.#session.request(
      { ...headers, [sensitiveHeaders]: fields.slice(0, 1).map(([name]) => name) },
      { endStream: true },
    );
    request.on("error", () => undefined);
    const parts: Buffer[] = [];
    for (;;) {
      const { type, flags, payload } = await this.#frames.next(
        ({ type: kind }) => kind === FrameType.HEADERS || kind === FrameType.CONTINUATION,
      );
      parts.push(payload.subarray(type === FrameType.HEADERS && flags & Flag.PRIORITY ? 5 : 0));
      if (flags & Flag.END_HEADERS) return Buffer.concat(parts);
    }
  }

  close(): void {
    this.#session.destroy();
    this.#far.destroy();
  }
}

test("every octet that a field may have is read as another encoder has coded it", async () => {
  const encoder = new Encoder();
  // Between characters of short codes, so that Huffman's are the shorter ones.
  const values = range(0x20, 0x100 - 0x20).map((octet) => `aaaaaaaaaaa${String.fromCharCode(octet)}oooooooooo`);
  const block = await encoder.encode(values.map((value): Pair => ["x-octet", value]));
  encoder.close();
  expect(block.includes("aaaaaaaaaaa")).toBe(false);
  const decoded = decode(block)!.filter(([name]) => name === "x-octet");
  expect(decoded.map(([, value]) => value)).toEqual(values);
});

test("what another encoder has written comes out as it went in, whatever the fields and the size of the table", async () => {
  const name = fc
    .string({ unit: fc.constantFrom(..."abcxyz019-_."), minLength: 1, maxLength: 12 })
    .map((text) => `x-${text}`);
  const value = fc.oneof(
    fc.string({ unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)), maxLength: 60 }),
    fc.constantFrom("", "application/grpc", "a".repeat(200)),
    fc.integer().map(String),
  );
  const fields = fc.array(fc.tuple(name, value), { maxLength: 12 });
  const tableBytes = fc.option(fc.constantFrom(0, 60, 300, 4_096), { nil: undefined, freq: 4 });
  const known = fc.uniqueArray(fc.tuple(name, value), { minLength: 3, maxLength: 6, selector: ([text]) => text });
  await fc.assert(
    fc.asyncProperty(
      known,
      fc.array(fc.tuple(fields, tableBytes), { minLength: 1, maxLength: 8 }),
      async (often, lists) => {
        const encoder = new Encoder();
        const decoder = newDecoder();
        try {
          for (const [some, bytes] of lists) {
            // Some of the fields come again and again, as in calls they do, so that the table is used.
            const all = [...often, ...some];
            const decoded = decode(await encoder.encode(all, bytes), decoder)!;
            const byName = (list: Pair[]): Map<string, string[]> =>
              new Map(
                [...Map.groupBy(list, ([key]) => key)].map(([key, group]) => [key, group.map(([, text]) => text)]),
              );
            expect(byName(decoded.filter(([key]) => !key.startsWith(":")))).toEqual(byName(all));
            expect(decoded.filter(([key]) => key.startsWith(":"))).toContainEqual([":path", "/a/path"]);
          }
        } finally {
          encoder.close();
        }
      },
    ),
    { numRuns: 60 },
  );
});
