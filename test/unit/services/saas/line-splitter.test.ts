import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { LineSplitter } from "../../../../services/saas/tasks/line-splitter.ts";

const MAX = 20;

/** Lines as they are told, with where in the whole the next one begins. */
function split(content: Buffer, cuts: readonly number[]): [string | undefined, number][] {
  const splitter = new LineSplitter(MAX);
  const lines: [string | undefined, number][] = [];
  const places = [0, ...cuts.map((cut) => cut % (content.length + 1)).sort((a, b) => a - b), content.length];
  for (const [index, to] of places.slice(1).entries()) {
    const from = places[index]!;
    // The memory of a chunk is used again.
    const chunk = Buffer.from(content.subarray(from, to));
    splitter.push(chunk, (line, next) => lines.push([line, from + next]));
    chunk.fill(0);
  }
  splitter.end((line) => lines.push([line, content.length]));
  return lines;
}

test("tells of the same lines however the file comes", () => {
  const line = fc.oneof(
    fc.constantFrom("", "a", "é€😀", "x".repeat(MAX), "y".repeat(MAX + 1)),
    fc.string({ maxLength: 30 }),
  );
  const lines = fc.array(line.map((text) => text.replaceAll("\n", " ")));
  fc.assert(
    fc.property(lines, fc.boolean(), fc.array(fc.nat({ max: 500 })), (texts, isEnded, cuts) => {
      const content = Buffer.from(texts.join("\n") + (isEnded && texts.length > 0 ? "\n" : ""));
      const parts = content.toString().split("\n");
      if (parts.at(-1) === "") parts.pop();
      let at = 0;
      const expected = parts.map((text) => {
        const length = Buffer.byteLength(text);
        at = Math.min(content.length, at + length + 1);
        return [length > MAX ? undefined : text, at];
      });
      expect(split(content, cuts)).toEqual(expected);
    }),
  );
});

test("does not hold a line that is too long", () => {
  const splitter = new LineSplitter(MAX);
  const before = process.memoryUsage().arrayBuffers;
  const chunk = Buffer.alloc(1024 * 1024, "x");
  for (let index = 0; index < 100; index += 1) splitter.push(chunk, () => undefined);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10 * 1024 * 1024);
  const lines: (string | undefined)[] = [];
  splitter.push(Buffer.from("x\ngood\n"), (line) => lines.push(line));
  expect(lines).toEqual([undefined, "good"]);
});
