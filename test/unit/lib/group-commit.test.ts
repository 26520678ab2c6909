import { expect, test } from "@jest/globals";
import { GroupCommit } from "../../../lib/group-commit.ts";

const limits = { size: 3, parallel: 1, waiting: 10, overflow: () => new Error("full") };

test("what is added in one turn, or while a group is on its way, goes together, in order and no larger than allowed", async () => {
  const groups: number[][] = [];
  const group = new GroupCommit<number, number>(limits, (items) => {
    groups.push(items);
    return Promise.resolve(items.map((item) => ({ value: item * 2 })));
  });
  const answers = await Promise.all([1, 2, 3, 4, 5].map((item) => group.add(item)));
  expect(answers).toEqual([2, 4, 6, 8, 10]);
  expect(groups).toEqual([
    [1, 2, 3],
    [4, 5],
  ]);
});

test("one item's error is its own; a group that fails fails all of its items and none of the next", async () => {
  let broken = false;
  const group = new GroupCommit<number, number>(limits, (items) => {
    if (broken) return Promise.reject(new Error("no disk"));
    return Promise.resolve(items.map((item) => (item === 2 ? { error: new Error("two") } : { value: item })));
  });
  const some = await Promise.allSettled([1, 2].map((item) => group.add(item)));
  expect(some.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
  broken = true;
  await expect(Promise.all([group.add(1), group.add(3)])).rejects.toThrow("no disk");
  broken = false;
  await expect(group.add(4)).resolves.toBe(4);
});

test("more than may wait is refused at once", async () => {
  const group = new GroupCommit<number, number>({ ...limits, waiting: 2 }, (items) =>
    Promise.resolve(items.map((item) => ({ value: item }))),
  );
  const first = [group.add(1), group.add(2)];
  await expect(group.add(3)).rejects.toThrow("full");
  await expect(Promise.all(first)).resolves.toEqual([1, 2]);
});
