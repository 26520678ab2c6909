import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs, { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { setImmediate as nextTurn, setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Collection, Datastore, Document, IndexDescription } from "../../../../lib/datastore/datastore.ts";
import { openEmbedded } from "../../../../lib/datastore/embedded.ts";
import { Background } from "../../../../lib/datastore/embedded/background.ts";

interface Item extends Document {
  _id: number | string;
}

const WRITER = fileURLToPath(new URL("./writer-process.ts", import.meta.url));

let directory: string;
let store: Datastore | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "longshore-"));
});

afterEach(async () => {
  await store?.close();
  store = undefined;
  rmSync(directory, { recursive: true });
});

async function opened(indexes?: IndexDescription[]): Promise<Collection<Item>> {
  store = await openEmbedded(directory);
  return store.collection<Item>("items", indexes);
}

/** Has one flush take longer than the event loop waits for: those that follow go to the pool. */
async function slowDisk(items: Collection<Item>): Promise<void> {
  const { fdatasyncSync } = fs;
  fs.fdatasyncSync = (log) => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    fdatasyncSync(log);
  };
  try {
    await items.insertOne({ _id: "slow" });
    await items.deleteOne({ _id: "slow" });
  } finally {
    fs.fdatasyncSync = fdatasyncSync;
  }
}

const numbered = (count: number, fields: (index: number) => Document = () => ({})): Item[] =>
  Array.from({ length: count }, (_, index) => ({ _id: index, ...fields(index) }));

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(50);
}

describe("durability", () => {
  test("keeps documents and indexes from one opening to the next", async () => {
    const first = await opened([{ name: "a", key: { a: 1 } }]);
    await first.insertMany(numbered(10, (index) => ({ a: index })));
    await store?.close();
    const second = await opened();
    expect(await second.findOne({ a: 7 })).toEqual({ _id: 7, a: 7 });
    expect((await second.explain({ a: 7 })).index).toBe("a");
  });

  test("does what was asked before it is closed", async () => {
    const items = await opened();
    const inserted = items.insertMany(numbered(1_000));
    await store?.close();
    await inserted;
    await expect(items.insertOne({ _id: "late" })).rejects.toMatchObject({ type: "UNAVAILABLE" });
    expect(await (await opened()).countDocuments({})).toBe(1_000);
  });

  test("acknowledges a write when it is on the disk, not before, and shows it to nobody until then", async () => {
    const items = await opened();
    await items.insertOne({ _id: 0 });
    const { fdatasync } = fs;
    const flushes: (() => void)[] = [];
    await slowDisk(items);
    fs.fdatasync = ((log: number, done: (error: Error | null) => void) => {
      flushes.push(() => fdatasync(log, done));
    }) as typeof fdatasync;
    try {
      let acknowledged = false;
      const written = items.insertOne({ _id: 1 }).then(() => (acknowledged = true));
      await until(() => Promise.resolve(flushes.length === 1));
      const read = items.countDocuments({});
      let seen: number | undefined;
      void read.then((count) => (seen = count));
      for (let turn = 0; turn < 100; turn += 1) await nextTurn();
      expect([acknowledged, seen]).toEqual([false, undefined]);
      flushes[0]?.();
      await written;
      expect(await read).toBe(2);
    } finally {
      fs.fdatasync = fdatasync;
    }
  });

  test("refuses everything once a flush has failed: nobody knows what is on the disk then", async () => {
    const items = await opened();
    const { fdatasyncSync } = fs;
    fs.fdatasyncSync = () => {
      throw new Error("EIO: i/o error, fdatasync");
    };
    try {
      await expect(items.insertOne({ _id: 1 })).rejects.toMatchObject({
        type: "UNAVAILABLE",
        message: expect.stringMatching(/DATA_DIR: .*EIO/),
      });
    } finally {
      fs.fdatasyncSync = fdatasyncSync;
    }
    await expect(items.insertOne({ _id: 2 })).rejects.toMatchObject({ type: "UNAVAILABLE" });
    await expect(store?.ping()).rejects.toMatchObject({ type: "UNAVAILABLE" });
  });

  test("loses no acknowledged write when the process is killed", async () => {
    let acknowledged = 0;
    for (let round = 0; round < 4; round += 1) {
      const child = spawn(process.execPath, [WRITER, directory, String(acknowledged)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const exited = once(child, "exit");
      const goal = acknowledged + 300 * (round + 1);
      for await (const line of createInterface(child.stdout)) {
        acknowledged = Number(line);
        if (acknowledged >= goal) child.kill("SIGKILL");
      }
      expect((await exited)[1]).toBe("SIGKILL");
      const items = await opened();
      const ids = (await items.find({}, { sort: { _id: 1 } }).toArray()).map(({ _id }) => Number(_id));
      expect(ids.slice(0, acknowledged)).toEqual(Array.from({ length: acknowledged }, (_, index) => index));
      acknowledged = ids.length;
      await store?.close();
      store = undefined;
    }
  });

  const whereMounting = canMount() || process.env.CI ? test : test.skip;

  whereMounting("rejects writes while the disk is full, and takes them when there is room again", async () => {
    mountSmallDisk(directory);
    try {
      const items = await opened([{ name: "n", key: { n: 1 } }]);
      await items.insertMany(numbered(10, (index) => ({ n: index })));
      const filler = join(directory, "filler");
      expect(() => writeFileSync(filler, Buffer.alloc(64 * 1024 * 1024))).toThrow("ENOSPC");
      const text = "x".repeat(200_000);
      const refused = await Promise.allSettled([
        items.insertOne({ _id: "big", text, n: [1] }),
        items.insertOne({ _id: "bigger", text: text + text }),
        items.findOne({ n: 3 }),
      ]);
      expect(refused).toMatchObject([
        { status: "rejected", reason: { type: "RESOURCE_EXHAUSTED", message: expect.stringContaining("DATA_DIR") } },
        { status: "rejected", reason: { type: "RESOURCE_EXHAUSTED" } },
        { status: "fulfilled", value: { _id: 3, n: 3 } },
      ]);
      rmSync(filler);
      await items.insertOne({ _id: "later", text });
      expect(await items.countDocuments({})).toBe(11);
      expect((await items.explain({ n: 3 })).index).toBe("n");
      await store?.close();
      expect(await (await opened()).countDocuments({})).toBe(11);
    } finally {
      await store?.close();
      store = undefined;
      execFileSync("umount", [directory]);
    }
  });
});

function mountSmallDisk(path: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", path], { stdio: "ignore" });
}

/** Only root may, and not in every container. */
function canMount(): boolean {
  const path = mkdtempSync(join(tmpdir(), "longshore-"));
  try {
    mountSmallDisk(path);
    execFileSync("umount", [path]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(path, { recursive: true });
  }
}

describe("the directory", () => {
  test("is refused to a second process, with the pid of the first", async () => {
    const child = spawn(process.execPath, [WRITER, directory, "0"], { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(child, "exit");
    await once(child.stdout, "data");
    await expect(openEmbedded(directory)).rejects.toMatchObject({
      type: "FAILED_PRECONDITION",
      message: expect.stringMatching(new RegExp(`DATA_DIR: .*${child.pid}`)),
    });
    child.kill("SIGKILL");
    await exited;
    await opened();
  });

  test("is refused to a second opening in the same process, and the first goes on", async () => {
    const items = await opened();
    await expect(openEmbedded(directory)).rejects.toMatchObject({ message: expect.stringContaining(`${process.pid}`) });
    await expect(openEmbedded(directory)).rejects.toMatchObject({ type: "FAILED_PRECONDITION" });
    await items.insertOne({ _id: 1 });
  });

  test("is named where it cannot be written", async () => {
    const file = join(directory, "file");
    writeFileSync(file, "");
    await expect(openEmbedded(join(file, "data"))).rejects.toMatchObject({
      type: "FAILED_PRECONDITION",
      message: expect.stringContaining(`DATA_DIR: ${file}`),
    });
  });

  test("is named where it holds something else than a store", async () => {
    writeFileSync(
      join(directory, "longshore.db"),
      "not a database at all, but long enough to be taken for one\n".repeat(99),
    );
    await expect(openEmbedded(directory)).rejects.toMatchObject({
      type: "FAILED_PRECONDITION",
      message: expect.stringContaining("DATA_DIR"),
    });
  });
});

describe("a group", () => {
  test("leaves the event loop free while it writes", async () => {
    const items = await opened();
    await items.insertMany(numbered(60_000));
    const histogram = monitorEventLoopDelay({ resolution: 1 });
    histogram.enable();
    const started = performance.now();
    await items.updateMany({}, { $set: { a: 1 } });
    const busy = performance.now() - started;
    histogram.disable();
    expect(histogram.max / 1e6).toBeLessThan(busy / 2);
  });

  test("commits writes that wait together at once", async () => {
    const items = await opened();
    const log = join(directory, "longshore.db-wal");
    const before = statSync(log).size;
    await Promise.all(numbered(500).map((item) => items.insertOne(item)));
    // Each commit adds the pages that it changes, of 4 KiB each and two at least.
    expect(statSync(log).size - before).toBeLessThan(500 * 4_096);
    expect(await items.countDocuments({})).toBe(500);
  });

  test("undoes a refused write alone, not those of its group", async () => {
    const items = await opened([
      { name: "u", key: { u: 1 }, unique: true, partialFilterExpression: { u: { $gt: 0 } } },
    ]);
    await items.insertMany([
      { _id: 1, u: 1 },
      { _id: 2, u: 0 },
      { _id: 3, u: 0 },
    ]);
    const outcomes = await Promise.allSettled([
      items.insertOne({ _id: 4, u: 4 }),
      items.updateMany({ u: 0 }, { $set: { u: 5, changed: true } }),
      items.insertOne({ _id: 6, u: 6 }),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(await items.countDocuments({})).toBe(5);
    expect(await items.countDocuments({ changed: true })).toBe(0);
  });

  test("refuses a document that is too large, and keeps one that is nearly so", async () => {
    const items = await opened();
    const text = "x".repeat(16 * 1024 * 1024 - 1_000);
    await expect(items.insertOne({ _id: 1, text: text + text })).rejects.toThrow("16 MiB");
    await expect(items.insertOne({ _id: 1, text: `${text}${"x".repeat(1_000)}` })).rejects.toThrow("16 MiB");
    await items.bulkWrite([
      { insertOne: { document: { _id: 1, text } } },
      { insertOne: { document: { _id: 2, text } } },
    ]);
    expect((await items.find({}).toArray()).map((item) => (item.text as string).length)).toEqual([
      text.length,
      text.length,
    ]);
  });

  test("refuses more requests than it may hold", async () => {
    const items = await opened();
    const asked = Array.from({ length: 50_001 }, () => items.countDocuments({}));
    const outcomes = await Promise.allSettled(asked);
    expect(outcomes.filter(({ status }) => status === "rejected")).toMatchObject([
      { reason: { type: "RESOURCE_EXHAUSTED" } },
    ]);
  });
});

describe("the background thread", () => {
  test("does a long write in its turn", async () => {
    const items = await opened([{ name: "a", key: { a: 1 } }]);
    await items.insertMany(numbered(5_000));
    const outcomes = await Promise.all([
      items.insertOne({ _id: "before" }),
      items.updateMany({}, { $set: { a: 1 } }),
      items.updateOne({ _id: 7 }, { $set: { a: 2 } }),
      items.insertOne({ _id: "after" }),
      items.countDocuments({ a: 1 }),
    ]);
    expect(outcomes.map((outcome) => (typeof outcome === "object" ? outcome.modifiedCount : outcome))).toEqual([
      undefined,
      5_001,
      1,
      undefined,
      5_000,
    ]);
  });

  test("takes over what is too large for the loop, and refuses what is to be refused", async () => {
    const items = await opened([
      { name: "u", key: { u: 1 }, unique: true, partialFilterExpression: { u: { $gt: 0 } } },
    ]);
    const text = "x".repeat(3 * 1024 * 1024);
    const refused = items.insertMany(
      [
        { _id: 1, u: 1, text },
        { _id: 2, u: 1, text },
        { _id: 3, u: 3, text },
      ],
      { ordered: false },
    );
    await expect(refused).rejects.toMatchObject({ code: 11000, writeErrors: [{ index: 1, keyValue: { u: 1 } }] });
    expect(await items.countDocuments({ u: { $gt: 0 } })).toBe(2);
  });

  test("marks a path that holds an array now, for the loop's writes and readings too", async () => {
    const items = await opened([{ name: "tag", key: { tag: 1 } }]);
    await items.insertMany(numbered(5_000));
    await items.updateMany({}, { $set: { tag: ["a"] } });
    expect((await items.explain({ tag: "a" })).index).toBeNull();
    expect(await items.findOne({ tag: "a", _id: 3 })).toEqual({ _id: 3, tag: ["a"] });
  });

  test("may die: its requests are UNAVAILABLE, nothing is half done, and the next ones have another thread", async () => {
    const items = await opened();
    await items.insertMany(numbered(30_000));
    let waiting: Promise<unknown> = Promise.resolve();
    const worker = await workerOf(() => (waiting = items.updateMany({}, { $set: { a: 1 } })));
    waiting.catch(() => undefined);
    await worker?.terminate();
    await expect(waiting).rejects.toMatchObject({ type: "UNAVAILABLE" });
    expect(await items.countDocuments({ a: 1 })).toBe(0);
    expect(await items.updateMany({}, { $set: { a: 1 } })).toMatchObject({ modifiedCount: 30_000 });
  });

  test("refuses more requests than may wait for it, and all once it is closed", async () => {
    await opened();
    const background = new Background(join(directory, "longshore.db"));
    const ping = () => background.request({ operation: "ping", collection: "items", documents: [] });
    const outcomes = await Promise.allSettled(Array.from({ length: 1_001 }, ping));
    expect(outcomes.filter(({ status }) => status === "rejected")).toMatchObject([
      { reason: { type: "RESOURCE_EXHAUSTED" } },
    ]);
    await background.close();
    await expect(ping()).rejects.toMatchObject({ type: "UNAVAILABLE" });
  });

  test("keeps the log short however much is written, also in one go", async () => {
    const items = await opened();
    const text = "x".repeat(1_000);
    const log = join(directory, "longshore.db-wal");
    for (let from = 0; from < 100_000; from += 500) {
      await items.insertMany(
        numbered(500, () => ({ text })).map((item) => ({ ...item, _id: from + Number(item._id) })),
      );
    }
    // 140 MB have gone through it; it begins anew at 16 MiB, and a little more is written while that is being moved.
    expect(statSync(log).size).toBeLessThan(48 * 1024 * 1024);
    await store?.close();
    expect(await (await opened()).countDocuments({})).toBe(100_000);
  });
});

/** The worker that the request is posted to, as soon as it is. */
async function workerOf(request: () => Promise<unknown>): Promise<Worker | undefined> {
  const { postMessage } = Worker.prototype;
  const workers: Worker[] = [];
  Worker.prototype.postMessage = function (this: Worker, ...message) {
    workers.push(this);
    postMessage.apply(this, message);
  };
  void request();
  await until(() => Promise.resolve(workers.length > 0));
  Worker.prototype.postMessage = postMessage;
  return workers[0];
}

describe("a long reading", () => {
  test("sees the documents of its beginning, and holds no writer up", async () => {
    const items = await opened();
    await items.insertMany(numbered(5_000));
    let seen = 0;
    for await (const item of items.find({})) {
      if (seen === 0) await items.deleteMany({});
      seen += item._id === seen ? 1 : 0;
    }
    expect(seen).toBe(5_000);
    expect(await items.countDocuments({})).toBe(0);
  });

  test("is refused where too many are open, and taken when one is closed", async () => {
    const items = await opened();
    await items.insertMany(numbered(1_500));
    const readings = Array.from({ length: 32 }, () => items.find({})[Symbol.asyncIterator]());
    for (const reading of readings) await reading.next();
    await expect(items.find({}).toArray()).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
    await readings[0]?.return?.();
    expect(await items.find({}).toArray()).toHaveLength(1_500);
    for (const reading of readings) await reading.return?.();
  });
});

describe("indexes", () => {
  const claim: IndexDescription = {
    name: "claim",
    key: { channel: 1, priority: -1, readyAt: 1, _id: 1 },
    partialFilterExpression: { state: "WAITING" },
  };

  test("serve a claim among 100,000 documents without sorting", async () => {
    const items = await opened([claim, { name: "channel", key: { channel: 1 } }, { name: "state", key: { state: 1 } }]);
    for (let from = 0; from < 100_000; from += 10_000) {
      const documents = numbered(10_000, (index) => ({
        channel: `c${index % 3}`,
        state: index % 10 ? "WAITING" : "DONE",
        priority: index % 4,
        readyAt: new Date(index),
      }));
      await items.insertMany(documents.map((item) => ({ ...item, _id: from + Number(item._id) })));
    }
    const options = { sort: { priority: -1, readyAt: 1, _id: 1 } as const, limit: 5 };
    const filter = { channel: "c1", state: "WAITING" };
    expect(await items.explain(filter, options)).toEqual({
      index: "claim",
      sorted: false,
      detail: expect.stringMatching(/^SEARCH \S+ USING INDEX index:items:claim \(k\d=\?\)$/),
    });
    const claimed = await items.find(filter, options).toArray();
    expect(claimed.map(({ _id }) => _id)).toEqual([7, 10_007, 20_007, 30_007, 40_007]);
  });

  test("are not used for a path that has held an array, also after a new start", async () => {
    const items = await opened([{ name: "tag", key: { tag: 1 } }]);
    await items.insertOne({ _id: 1, tag: "a" });
    expect((await items.explain({ tag: "a" })).index).toBe("tag");
    await items.insertOne({ _id: 2, tag: ["a", "b"] });
    await store?.close();
    const again = await opened([{ name: "tag", key: { tag: 1 } }]);
    expect((await again.explain({ tag: "a" })).index).toBeNull();
    expect(await again.countDocuments({ tag: "a" })).toBe(2);
  });

  test("are not used for an array even where the first write that brought one was undone", async () => {
    const indexes: IndexDescription[] = [
      { name: "tag", key: { tag: 1 } },
      { name: "u", key: { u: 1 }, unique: true, partialFilterExpression: { u: { $gt: 0 } } },
    ];
    const items = await opened(indexes);
    await items.insertMany(numbered(3));
    await expect(items.updateMany({}, { $set: { tag: ["a"], u: 1 } })).rejects.toMatchObject({ code: 11000 });
    await items.updateOne({ _id: 1 }, { $set: { tag: ["a"] } });
    await store?.close();
    const again = await opened(indexes);
    expect(await again.find({ tag: "a" }).toArray()).toHaveLength(1);
  });

  test("are filled, changed and dropped as they are declared", async () => {
    const plain = await opened();
    await plain.insertMany(numbered(1_200, (index) => ({ a: index, b: -index })));
    const first = await store?.collection<Item>("items", [{ name: "one", key: { a: 1 } }]);
    expect(await first?.explain({ a: 1_100 })).toMatchObject({ index: "one" });
    expect(await first?.findOne({ a: 1_100 })).toMatchObject({ _id: 1_100 });
    const second = await store?.collection<Item>("items", [{ name: "two", key: { b: -1 } }]);
    expect(await second?.explain({ a: 1 })).toMatchObject({ index: null });
    expect(await second?.explain({ b: -3 })).toMatchObject({ index: "two" });
    expect(await second?.findOne({ b: -3 })).toMatchObject({ _id: 3 });
  });

  test("that cannot be made are refused with their name, and leave the collection as it was", async () => {
    const items = await opened([{ name: "a", key: { a: 1 } }]);
    await items.insertMany([
      { _id: 1, a: 1 },
      { _id: 2, a: 1 },
    ]);
    await expect(store?.collection("items", [{ name: "sole", key: { a: 1 }, unique: true }])).rejects.toMatchObject({
      code: 11000,
      message: expect.stringContaining("sole"),
    });
    await expect(store?.collection("items", [{ name: "text", key: { a: "text" } }])).rejects.toThrow("text");
    await expect(store?.collection("no;name")).rejects.toMatchObject({ type: "INVALID_ARGUMENT" });
    expect((await items.explain({ a: 1 })).index).toBe("a");
  });

  test("that are unique refuse arrays, which they could not tell apart", async () => {
    const items = await opened([{ name: "u", key: { u: 1 }, unique: true }]);
    await expect(items.insertOne({ _id: 1, u: [1, 2] })).rejects.toThrow("u: no array");
    await items.insertOne({ _id: 1, u: 1 });
  });

  test("remove documents whose time has passed, of dates only", async () => {
    const items = await opened([{ name: "expiry", key: { at: 1 }, expireAfterSeconds: 60 }]);
    const ago = (seconds: number) => new Date(Date.now() - seconds * 1_000);
    await items.insertMany(numbered(1_200, () => ({ at: ago(61) })));
    await items.insertMany([{ _id: "young", at: ago(1) }, { _id: "number", at: 5 }, { _id: "none" }]);
    await until(async () => (await items.countDocuments({})) <= 3);
    expect((await items.find({}).toArray()).map(({ _id }) => _id).sort()).toEqual(["none", "number", "young"]);
  });
});
