import { expect, test } from "@jest/globals";
import { ReadAhead } from "../../../../services/queues/read-ahead.ts";
import type { Task } from "../../../../services/queues/task.ts";

const task = (id: number, bytes = 0) =>
  ({ _id: id, channel: "a", hash: "h", input: "x".repeat(bytes), output: "" }) as Task;
const tasks = (count: number, bytes = 0) => Array.from({ length: count }, (_, id) => task(id, bytes));
const ids = (taken: Task[] | undefined) => taken?.map(({ _id }) => _id);

test("what was read ahead is given out in its order, as long as there is enough of it", () => {
  const ahead = new ReadAhead();
  ahead.keep("a", tasks(5), 5);
  expect(ids(ahead.take("a", 2))).toEqual([0, 1]);
  expect(ids(ahead.take("a", 2))).toEqual([2, 3]);
  expect(ahead.take("a", 2)).toBeUndefined();
  expect(ahead.take("b", 1)).toBeUndefined();
});

test("as much is read ahead as was wanted of the last, twice, up to a bound", () => {
  const ahead = new ReadAhead();
  expect(ahead.size("a", 8)).toBe(8);
  ahead.keep("a", [], 8);
  expect(ahead.size("a", 8)).toBe(16);
  ahead.keep("a", tasks(8), 16);
  expect(ahead.size("a", 4)).toBe(16);
  ahead.take("a", 8);
  expect(ahead.size("a", 4)).toBe(32);
  ahead.keep("a", [], 100);
  expect(ahead.size("a", 4)).toBe(128);
});

test("what has been forgotten, or would take too much memory, is read anew", () => {
  const ahead = new ReadAhead();
  ahead.keep("a", tasks(2), 2);
  ahead.forget("a");
  expect(ahead.take("a", 1)).toBeUndefined();
  const large = 512 * 1024;
  for (let channel = 0; channel < 10; channel += 1) ahead.keep(`${channel}`, tasks(8, large), 8);
  const kept = Array.from({ length: 10 }, (_, channel) => ahead.take(`${channel}`, 8)).filter(Boolean);
  expect(kept).toHaveLength(7);
});
