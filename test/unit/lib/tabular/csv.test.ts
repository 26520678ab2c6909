import { describe, expect, test } from "@jest/globals";
import { parse } from "csv-parse/sync";
import fc from "fast-check";
import iconv from "iconv-lite";
import type { CsvOptions } from "../../../../lib/tabular/csv.ts";
import { writeCsv } from "../../../../lib/tabular/csv.ts";
import type { Column, Row } from "../../../../lib/tabular/table.ts";
import { exactNumber } from "../../../../lib/tabular/table.ts";
import { collect } from "../../../table-files.ts";

function columns(...titles: string[]): Column[] {
  return titles.map((title, index) => ({ key: `c${index}`, title }));
}

async function* oneBatch(rows: readonly Row[]): AsyncGenerator<readonly Row[]> {
  yield rows;
}

function csv(of: Column[], rows: Row[], options: Partial<CsvOptions> = {}): Promise<Buffer> {
  const all = { encoding: "utf8" as const, bom: false, formulaGuard: true, onUnmappable: () => {}, ...options };
  return collect(writeCsv(of, oneBatch(rows), all));
}

async function line(row: Row, options: Partial<CsvOptions> = {}): Promise<string> {
  const text = (await csv(columns(...row.map(() => "t")), [row], options)).toString();
  return text.slice(text.indexOf("\r\n") + 2, -2);
}

describe("CSV", () => {
  test("has a header row, CRLF, and quotes where RFC 4180 wants them", async () => {
    const text = await csv(columns("名称", 'a "b"'), [
      ["x,y", "two\nlines"],
      ["plain", null],
    ]);
    expect(text.toString()).toBe('名称,"a ""b"""\r\n"x,y","two\nlines"\r\nplain,\r\n');
  });

  test("writes each kind of cell without losing a digit", async () => {
    const exact = exactNumber("12345678901234567890.5");
    expect(await line([1, -1.5, 2n ** 70n, exact, true, false, null, undefined])).toBe(
      "1,-1.5,1180591620717411303424,12345678901234567890.5,true,false,,",
    );
    expect(await line([new Date(0), new Date(NaN), { a: [1n, exact] }])).toBe(
      '1970-01-01T00:00:00.000Z,,"{""a"":[1,12345678901234567890.5]}"',
    );
  });

  test.each(["=1+1", "+a", "-a", "@sum", "\ttab", "\rcr", "＝1", "＋a", "－a", "＠a", "-1+1", "=1"])(
    "neutralises %p, as a cell and as a title",
    async (text) => {
      const [[title], [cell]] = parse(await csv(columns(text), [[text]])) as [[string], [string]];
      expect([title, cell]).toEqual([`'${text}`, `'${text}`]);
    },
  );

  test.each(["-1", "+1.5", "-1e6", "-.5", "a=1", "'=1", " =1"])("leaves %p as it is", async (text) => {
    expect(await line([text])).toBe(text);
  });

  test("neither guards numbers, columns of numbers, nor anything when told not to", async () => {
    expect(await line([-5])).toBe("-5");
    const money: Column = { key: "m", title: "money", type: "number" };
    expect((await csv([money], [["-12,5"]])).toString()).toBe('money\r\n"-12,5"\r\n');
    expect(await line(["=1+1"], { formulaGuard: false })).toBe("=1+1");
  });

  test("begins with a BOM when told to", async () => {
    const bytes = await csv(columns("a"), [], { bom: true });
    expect(bytes).toEqual(Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0x0d, 0x0a]));
  });

  test("writes GBK and counts what it has no code for, question marks aside", async () => {
    let unmappable = 0;
    const options = { encoding: "gbk" as const, onUnmappable: (count: number) => (unmappable += count) };
    const bytes = await csv(columns("名称"), [["你好?"], ["😀 and \u0e01"]], options);
    expect(iconv.decode(bytes, "gbk")).toBe("名称\r\n你好?\r\n? and ?\r\n");
    expect(unmappable).toBe(2);
  });

  test("writes all of Unicode in GB18030", async () => {
    let unmappable = 0;
    const options = { encoding: "gb18030" as const, onUnmappable: (count: number) => (unmappable += count) };
    const bytes = await csv(columns("名称"), [["😀?ก"]], options);
    expect(iconv.decode(bytes, "gb18030")).toBe("名称\r\n😀?ก\r\n");
    expect(unmappable).toBe(0);
  });

  test("is read back as it was, whatever the texts hold", async () => {
    const table = fc.integer({ min: 1, max: 5 }).chain((width) => {
      const text = fc.oneof(
        fc.string({ unit: "grapheme" }),
        fc.constantFrom('"', ",", "\r\n", "\n", "'", "=", "", " "),
      );
      const row = fc.array(text, { minLength: width, maxLength: width });
      return fc.array(row, { minLength: 1, maxLength: 20 });
    });
    await fc.assert(
      fc.asyncProperty(table, async ([titles = [], ...rows]) => {
        const bytes = await csv(columns(...titles), rows, { formulaGuard: false });
        expect(parse(bytes, { record_delimiter: "\r\n", relax_column_count: false })).toEqual([titles, ...rows]);
      }),
    );
  });
});
