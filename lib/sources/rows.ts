import { failedPrecondition, LongshoreError } from "../errors.ts";
import type { Column, Row } from "../tabular/table.ts";
import { parseJson } from "./json.ts";
import { RowShapeError, checkKeys, kindOf, readHeader, readRows } from "./object-rows.ts";
import type { RowSource } from "./row-source.ts";

/** Rows are handed on in portions, so that the reader can be stopped between them. */
const ROWS_PER_BATCH = 1000;

/** Opens rows that were sent with a request: the bytes of a JSON array of objects, the header first. */
export async function openRows(content: AsyncIterable<Uint8Array>, maxBytes: number): Promise<RowSource> {
  const text = await readText(content, maxBytes);
  const objects = explained(() => parseArray(text));
  const columns = explained(() => readHeader(objects[0], text, (root) => (root as unknown[])[0]));
  let pages = 0;
  return {
    columns,
    batches: inBatches(objects, columns, () => (pages = 1)),
    position: () => ({ pages, totalPages: 1, totalRows: objects.length - 1 }),
    close: async () => {},
  };
}

async function* inBatches(
  objects: readonly unknown[],
  columns: readonly Column[],
  onEnd: () => void,
): AsyncGenerator<readonly Row[]> {
  for (let from = 1; from < objects.length; from += ROWS_PER_BATCH) {
    const to = Math.min(from + ROWS_PER_BATCH, objects.length);
    yield explained(() => {
      checkKeys(objects, from, to, columns);
      return readRows(objects, from, to, columns);
    });
  }
  onEnd();
}

async function readText(content: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of content) {
    size += chunk.byteLength;
    if (size > maxBytes)
      throw new LongshoreError("RESOURCE_EXHAUSTED", `the rows sent are more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseArray(text: string): readonly unknown[] {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    throw new RowShapeError(`they are not JSON (${(error as Error).message.slice(0, 200)})`);
  }
  if (!Array.isArray(value)) throw new RowShapeError(`they must be an array of rows, and are ${kindOf(value)}`);
  return value;
}

function explained<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof RowShapeError ? failedPrecondition(`the rows sent: ${error.message}`) : error;
  }
}
