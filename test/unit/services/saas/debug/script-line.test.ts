import { expect, test } from "@jest/globals";
import { ScriptLine } from "../../../../../services/saas/debug/script-line.ts";

const { signal: never } = new AbortController();

function makeLine(options: { places?: number; maxWaiting?: number; waitMs?: number } = {}): ScriptLine {
  return new ScriptLine({ places: 1, maxWaiting: 10, waitMs: 60_000, ...options });
}

test("owners take turns, each in its own order", async () => {
  const line = makeLine();
  await line.enter("a", never);
  const order: string[] = [];
  const entered = ["a1", "a2", "a3", "b1", "c1", "b2"].map(async (name) => {
    await line.enter(name.slice(0, 1), never);
    order.push(name);
    line.leave();
  });
  line.leave();
  await Promise.all(entered);
  expect(order).toEqual(["a1", "b1", "c1", "a2", "b2", "a3"]);
});

test("so many go on at once as there are places, whoever gives up", async () => {
  const line = makeLine({ places: 2 });
  await line.enter("a", never);
  await line.enter("a", never);
  const leaving = new AbortController();
  const gone = line.enter("a", leaving.signal);
  const third = line.enter("b", never);
  leaving.abort(new Error("gone"));
  await expect(gone).rejects.toThrow("gone");
  line.leave();
  await third;
  line.leave();
  line.leave();
  await line.enter("c", never);
  await line.enter("c", never);
});

test("the line and the wait in it have an end", async () => {
  const line = makeLine({ maxWaiting: 1, waitMs: 20 });
  await line.enter("a", never);
  const waiting = line.enter("a", never);
  await expect(line.enter("b", never)).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
  await expect(waiting).rejects.toMatchObject({
    type: "RESOURCE_EXHAUSTED",
    message: "no script could be run within 0.02 s",
  });
});

test("nobody waits in a line that is closed", async () => {
  const line = makeLine();
  await line.enter("a", never);
  const waiting = line.enter("a", never);
  line.close();
  await expect(waiting).rejects.toMatchObject({ type: "UNAVAILABLE" });
  await expect(line.enter("a", never)).rejects.toMatchObject({ type: "UNAVAILABLE" });
});
