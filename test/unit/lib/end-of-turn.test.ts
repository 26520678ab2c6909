import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import { atEndOfTurn, endOfTurn } from "../../../lib/end-of-turn.ts";

test("what comes in goes through all stages in one turn, and stages of a turn come in their order", async () => {
  const seen: string[] = [];
  let turn = 0;
  const counting = setImmediate(function count() {
    turn += 1;
    if (turn < 10) setImmediate(count);
  });
  const note = (what: string) => seen.push(`${what} in turn ${turn}`);
  atEndOfTurn("store", () => note("stored"));
  atEndOfTurn("group", () => note("grouped"));
  await endOfTurn("gather");
  note("gathered");
  // Some steps later, as what is called answers.
  for (let step = 0; step < 5; step += 1) await Promise.resolve();
  atEndOfTurn("group", () => {
    note("grouped again");
    queueMicrotask(() => atEndOfTurn("store", () => note("stored again")));
  });
  await nextTurn();
  clearImmediate(counting);
  expect(seen).toEqual([
    "gathered in turn 1",
    "grouped in turn 1",
    "grouped again in turn 1",
    "stored in turn 1",
    "stored again in turn 1",
  ]);
});

test("a stage that has passed comes again in the next turn", async () => {
  const seen: string[] = [];
  await endOfTurn("store");
  const next = endOfTurn("gather").then(() => seen.push("gather"));
  const later = endOfTurn("store").then(() => seen.push("store"));
  expect(seen).toEqual([]);
  await Promise.all([next, later]);
  expect(seen).toEqual(["gather", "store"]);
});
