import { expect, test } from "@jest/globals";
import { writeJsonl } from "../../../../lib/tabular/jsonl.ts";
import { exactNumber } from "../../../../lib/tabular/table.ts";
import { collect } from "../../../table-files.ts";

test("JSONL has an object a line, by key, with every digit", async () => {
  const columns = [
    { key: "id", title: "No." },
    { key: 'a "b"', title: "A" },
  ];
  async function* batches() {
    yield [[exactNumber("12345678901234567890"), "two\nlines"]];
    yield [
      [null, { nested: [1n] }],
      [undefined, NaN],
      [true, new Date(0)],
    ];
  }
  expect((await collect(writeJsonl(columns, batches()))).toString()).toBe(
    '{"id":12345678901234567890,"a \\"b\\"":"two\\nlines"}\n' +
      '{"id":null,"a \\"b\\"":{"nested":[1]}}\n' +
      '{"id":null,"a \\"b\\"":null}\n' +
      '{"id":true,"a \\"b\\"":"1970-01-01T00:00:00.000Z"}\n',
  );
});
