import { afterEach, beforeEach, expect, test } from "@jest/globals";
import fs from "node:fs";
import { LogFlush } from "../../../../../lib/datastore/embedded/log-flush.ts";

const { fdatasync, fdatasyncSync } = fs;
/** What a flush on the event loop takes, in milliseconds of a clock that nothing else moves. */
let diskMs: number;
let now: number;
let flushes: { loop: number; pool: number };

beforeEach(() => {
  [diskMs, now, flushes] = [0.2, 0, { loop: 0, pool: 0 }];
  fs.fdatasyncSync = () => {
    flushes.loop += 1;
    now += diskMs;
  };
  fs.fdatasync = ((_file: number, done: (error: Error | null) => void) => {
    flushes.pool += 1;
    setImmediate(done, null);
  }) as typeof fdatasync;
});

afterEach(() => {
  Object.assign(fs, { fdatasync, fdatasyncSync });
});

async function flushed(log: LogFlush, times: number): Promise<typeof flushes> {
  flushes = { loop: 0, pool: 0 };
  for (let time = 0; time < times; time += 1) await log.flush();
  return flushes;
}

const opened = () => new LogFlush(0, () => now);

test("flushes on the event loop while the disk is quick, and a single stall does not change that", async () => {
  const log = opened();
  expect(await flushed(log, 1_000)).toEqual({ loop: 1_000, pool: 0 });
  for (let round = 0; round < 20; round += 1) {
    diskMs = 15;
    expect(await flushed(log, 1)).toEqual({ loop: 1, pool: 0 });
    diskMs = 0.2;
    expect(await flushed(log, 50)).toEqual({ loop: 50, pool: 0 });
  }
});

test("leaves a slow disk to the pool, and looks again when a hundred times as long has passed", async () => {
  const log = opened();
  diskMs = 5;
  expect(await flushed(log, 100)).toEqual({ loop: 13, pool: 87 });
  now += 499;
  expect(await flushed(log, 100)).toEqual({ loop: 0, pool: 100 });
  now += 1;
  expect(await flushed(log, 100)).toEqual({ loop: 1, pool: 99 });
  now += 500;
  diskMs = 0.2;
  expect(await flushed(log, 100)).toEqual({ loop: 100, pool: 0 });
});

test("a stall of 100 ms is enough", async () => {
  const log = opened();
  diskMs = 100;
  expect(await flushed(log, 10)).toEqual({ loop: 1, pool: 9 });
  now += 9_999;
  expect(await flushed(log, 10)).toEqual({ loop: 0, pool: 10 });
});

test("rejects where the flush fails, on the loop and in the pool", async () => {
  const log = opened();
  const failing = new Error("EIO: i/o error, fdatasync");
  diskMs = 100;
  await log.flush();
  fs.fdatasync = ((_file: number, done: (error: Error | null) => void) => {
    setImmediate(done, failing);
  }) as typeof fdatasync;
  await expect(log.flush()).rejects.toBe(failing);
  now += 10_000;
  fs.fdatasyncSync = () => {
    throw failing;
  };
  await expect(log.flush()).rejects.toBe(failing);
});
