import { expect, test } from "@jest/globals";
import { CallScope } from "../../../lib/call-scope.ts";
import { LongshoreError } from "../../../lib/errors.ts";
import { Waits } from "../../../lib/waits.ts";
import { waitFor } from "../../wait-for.ts";

const LONG = 60_000;

test("who waits looks at once, and again when it is told", async () => {
  const waits = new Waits();
  let looks = 0;
  let ended = false;
  const waiting = waits.until("a", LONG, new CallScope(), async () => (looks++, ended));
  await waitFor(() => looks === 1);
  waits.wake(["b"]);
  waits.wake(["a"]);
  await waitFor(() => looks === 2);
  ended = true;
  waits.wake(["a"]);
  await waiting;
  expect(waits.hashes).toEqual([]);
});

test("what is told while it looks is not missed", async () => {
  const waits = new Waits();
  const seen = Promise.withResolvers<boolean>();
  let looks = 0;
  const waiting = waits.until("a", LONG, new CallScope(), () => (looks++ === 0 ? seen.promise : Promise.resolve(true)));
  waits.wake(["a"]);
  seen.resolve(false);
  await waiting;
  expect(looks).toBe(2);
});

test("at the end of its time, and when its call is given up, it looks a last time", async () => {
  const waits = new Waits();
  let looks = 0;
  const look = async () => (looks++, false);
  await waits.until("a", 1, new CallScope(), look);
  expect(looks).toBe(2);
  const call = new CallScope();
  const waiting = waits.until("a", LONG, call, look);
  call.abort(new LongshoreError("CANCELLED", "the client is gone"));
  await waiting;
  expect(looks).toBe(4);
  await waits.until("a", LONG, call, look);
  expect(looks).toBe(5);
  expect(waits.hashes).toEqual([]);
});

test("when the node is to stop nobody waits any longer, and who comes only for a moment", async () => {
  const waits = new Waits();
  let looks = 0;
  const look = async () => (looks++, false);
  const waiting = waits.until("a", LONG, new CallScope(), look);
  await waitFor(() => looks === 1);
  waits.close();
  await waiting;
  expect(looks).toBe(2);
  await waits.until("a", LONG, new CallScope(), look);
  expect(looks).toBe(4);
});

test("where looking fails nobody waits any more", async () => {
  const waits = new Waits();
  const failing = waits.until("a", LONG, new CallScope(), () => Promise.reject(new Error("away")));
  await expect(failing).rejects.toThrow("away");
  expect(waits.hashes).toEqual([]);
});
