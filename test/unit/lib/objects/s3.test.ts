import { createHash, randomBytes } from "node:crypto";
import { readdir, rename, utimes } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { hostname } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "@jest/globals";
import { openS3, sweepS3 } from "../../../../lib/objects/s3.ts";
import type { S3Server } from "../../../s3-server.ts";
import { withS3 } from "../../../s3-server.ts";
import { waitFor } from "../../../wait-for.ts";

const MIB = 1024 * 1024;
/** Larger than what is sent in one request. */
const LARGE = 9 * MIB;

async function* bytes(total: number, pulled: (size: number) => void = () => {}): AsyncGenerator<Uint8Array> {
  const chunk = randomBytes(MIB);
  for (let size = 0; size < total; size += MIB) {
    pulled(size + MIB);
    yield chunk;
  }
}

/** Sends two parts, then keeps silent. */
async function* stuck(): AsyncGenerator<Uint8Array> {
  yield* bytes(2 * LARGE);
  await new Promise(() => {});
}

const isPart = (req: IncomingMessage) => req.method === "PUT" && req.url!.includes("partNumber=");

function refuse(res: ServerResponse, status: number, code: string): true {
  res.writeHead(status, { "Content-Type": "application/xml" }).end(`<Error><Code>${code}</Code></Error>`);
  return true;
}

const markers = (server: S3Server) => readdir(join(server.root, ".incoming")).catch(() => []);

async function expectNothingLeft(server: S3Server): Promise<void> {
  expect(await server.uploads()).toEqual([]);
  expect(await markers(server)).toEqual([]);
}

/** Begins an upload that nobody ends, as an owner whose thread was ended by force leaves it. */
async function leaveUpload(server: S3Server, owner: string): Promise<void> {
  const before = (await server.uploads()).length;
  const store = await openS3(server.place, owner);
  void store.put(owner, stuck()).catch(() => undefined);
  await waitFor(async () => {
    const { length } = (await markers(server)).filter((name) => name.endsWith("_object"));
    return length > before && (await server.uploads()).length > before;
  });
}

/** Makes the markers say that another process, on whatever host, wrote them. */
async function renameMarkers(server: S3Server, owner: string, writer: string): Promise<void> {
  for (const name of await markers(server)) {
    if (!name.startsWith(`${owner}.`)) continue;
    const directory = join(server.root, ".incoming");
    await rename(join(directory, name), join(directory, `${owner}.${writer}${name.slice(name.indexOf("._S3rver"))}`));
  }
}

describe("an object that is sent in parts", () => {
  test("is read back whole, and leaves no upload and no marker", () =>
    withS3(async (server) => {
      const store = await openS3(server.place);
      const hash = createHash("sha256");
      async function* odd() {
        for (const size of [1, 5 * MIB, 12 * MIB, 7]) {
          const chunk = randomBytes(size);
          hash.update(chunk);
          yield chunk;
        }
      }
      const put = await store.put("large", odd());
      expect(put).toMatchObject({ size: 17 * MIB + 8, sha256: hash.digest("hex") });
      const { stream, info } = await store.get("large");
      expect(
        createHash("sha256")
          .update(await buffer(stream))
          .digest("hex"),
      ).toBe(put.sha256);
      expect(info).toMatchObject({ size: put.size, etag: put.etag });
      await expectNothingLeft(server);
    }));

  test("is as well where it is exactly as long as a part", () =>
    withS3(async (server) => {
      const store = await openS3(server.place);
      await store.put("a", bytes(8 * MIB));
      expect(await store.head("a")).toMatchObject({ size: 8 * MIB });
    }));

  test("is pulled from its source no faster than parts are taken", () =>
    withS3(async (server) => {
      const store = await openS3(server.place);
      const held: (() => void)[] = [];
      let release = false;
      server.intercept = async (req) => {
        if (isPart(req) && !release) await new Promise<void>((resolve) => held.push(resolve));
        return false;
      };
      let pulled = 0;
      const put = store.put(
        "large",
        bytes(64 * MIB, (size) => (pulled = size)),
      );
      await waitFor(() => held.length === 3);
      const atOnce = pulled;
      release = true;
      for (const go of held) go();
      await put;
      expect(atOnce).toBeLessThanOrEqual(33 * MIB);
      expect(pulled).toBe(64 * MIB);
    }));

  test("is not stored when the signal aborts while parts are under way", () =>
    withS3(async (server) => {
      const store = await openS3(server.place);
      const controller = new AbortController();
      server.intercept = (req) => {
        if (!isPart(req)) return false;
        controller.abort(new Error("enough"));
        // Never answered: only an abort of the request itself ends it.
        return true;
      };
      await expect(store.put("large", stuck(), { signal: controller.signal })).rejects.toThrow("enough");
      expect(await store.head("large")).toBeUndefined();
      await expectNothingLeft(server);
    }));

  test("is not stored when its source breaks or is too large", () =>
    withS3(async (server) => {
      const store = await openS3(server.place);
      async function* broken() {
        yield* bytes(LARGE);
        throw new Error("the source broke");
      }
      await expect(store.put("large", broken())).rejects.toThrow("the source broke");
      const tooLarge = store.put("large", bytes(2 * LARGE), { maxBytes: LARGE });
      await expect(tooLarge).rejects.toMatchObject({ type: "RESOURCE_EXHAUSTED" });
      expect(await store.head("large")).toBeUndefined();
      await expectNothingLeft(server);
    }));

  test("is not stored when a part fails, though the source keeps silent; the source is ended", () =>
    withS3(async (server) => {
      const store = await openS3(server.place);
      server.intercept = (req, res) => isPart(req) && refuse(res, 400, "InvalidPart");
      let ended = false;
      const endless = {
        [Symbol.asyncIterator]() {
          const inner = stuck();
          return { next: () => inner.next(), return: async () => ((ended = true), { done: true, value: undefined }) };
        },
      } as AsyncIterable<Uint8Array>;
      await expect(store.put("large", endless)).rejects.toMatchObject({ type: "UNAVAILABLE" });
      expect(ended).toBe(true);
      expect(await store.head("large")).toBeUndefined();
      await expectNothingLeft(server);
    }));

  test("is not stored when S3 cannot put the parts together", () =>
    withS3(async (server) => {
      const store = await openS3(server.place);
      const isEnd = ({ method, url }: IncomingMessage) => method === "POST" && url!.includes("uploadId=");
      server.intercept = (req, res) => isEnd(req) && refuse(res, 400, "InvalidPart");
      await expect(store.put("large", bytes(LARGE))).rejects.toThrow("InvalidPart, HTTP 400");
      await expectNothingLeft(server);
    }));
});

describe("uploads that nobody ends", () => {
  test("of one owner are swept, and no others", () =>
    withS3(async (server) => {
      await leaveUpload(server, "job-1");
      await leaveUpload(server, "job-12");
      await sweepS3(server.place, "job-1");
      expect(await server.uploads()).toHaveLength(1);
      expect((await markers(server)).every((name) => name.startsWith("job-12."))).toBe(true);
    }));

  test("are swept at opening where their process is dead or they are a week old, and no others", () =>
    withS3(async (server) => {
      const old = "old";
      for (const owner of ["dead", "alive", "elsewhere", old]) await leaveUpload(server, owner);
      // No Linux has a pid so high.
      await renameMarkers(server, "dead", `${2 ** 30}.1.${hostname()}`);
      await renameMarkers(server, "elsewhere", "1.1.another.host");
      await renameMarkers(server, old, "1.1.another.host");
      const longAgo = new Date(Date.now() - 8 * 86_400_000);
      for (const name of await markers(server)) {
        if (name.startsWith(`${old}.`)) await utimes(join(server.root, ".incoming", name), longAgo, longAgo);
      }
      await openS3(server.place);
      expect(await server.uploads()).toHaveLength(2);
      const owners = new Set((await markers(server)).map((name) => name.split(".")[0]));
      expect([...owners].sort()).toEqual(["alive", "elsewhere"]);
    }));
});

/** s3rver cannot continue a list on this Node. */
function answerPages(pages: string[][]): S3Server["intercept"] {
  return ({ url }, res) => {
    const { searchParams } = new URL(url!, "http://s3");
    if (!searchParams.has("list-type")) return false;
    const number = Number(searchParams.get("continuation-token") ?? 0);
    const contents = pages[number]!.map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`);
    const next = number + 1 < pages.length ? `<NextContinuationToken>${number + 1}</NextContinuationToken>` : "";
    const truncated = `<IsTruncated>${next !== ""}</IsTruncated>`;
    res.writeHead(200, { "Content-Type": "application/xml" });
    res.end(`<ListBucketResult>${truncated}${next}${contents.join("")}</ListBucketResult>`);
    return true;
  };
}

test("a list is read page by page to its end, without what is unfinished", () =>
  withS3(async (server) => {
    const store = await openS3(server.place);
    server.intercept = answerPages([[".incoming/put.1.2.host", "a"], ["b", "c"], ["d"]]);
    const keys: string[] = [];
    for await (const { key } of store.list("")) keys.push(key);
    expect(keys).toEqual(["a", "b", "c", "d"]);
  }));

test("there is no telling how much room is left", () =>
  withS3(async ({ place }) => {
    expect(await (await openS3(place)).freeBytes()).toBe(Infinity);
  }));

describe("an S3 that cannot be opened is named by its settings", () => {
  const settings = ({ bucket, endpoint }: S3Server["place"]) =>
    `S3_BUCKET ${bucket}, S3_ENDPOINT ${endpoint}, S3_REGION us-east-1: `;

  test("where nobody listens", async () => {
    const place = await withS3((server) => Promise.resolve(server.place));
    const message = expect.stringContaining(`${settings(place)}no answer`);
    await expect(openS3(place)).rejects.toMatchObject({ type: "UNAVAILABLE", message });
  });

  test("where nothing is answered", () =>
    withS3(async (server) => {
      server.intercept = () => true;
      const began = performance.now();
      const message = expect.stringContaining(`${settings(server.place)}no answer`);
      await expect(openS3(server.place)).rejects.toMatchObject({ type: "UNAVAILABLE", message });
      expect(performance.now() - began).toBeLessThan(6_000);
    }));

  test("where the bucket is not there", () =>
    withS3(async (server) => {
      const place = { ...server.place, bucket: "other" };
      const message = `${settings(place)}there is no such bucket`;
      await expect(openS3(place)).rejects.toMatchObject({ type: "FAILED_PRECONDITION", message });
    }));

  test("where the secret is wrong", () =>
    withS3(async (server) => {
      // s3rver does not look at it; S3's answer to HEAD has no body.
      server.intercept = (_, res) => Boolean(res.writeHead(403).end());
      const message = `${settings(server.place)}S3_ACCESS_KEY_ID may not do this, or its secret is wrong (HTTP 403)`;
      await expect(openS3(server.place)).rejects.toMatchObject({ type: "PERMISSION_DENIED", message });
    }));
});

test.each([
  [507, "XMinioStorageFull", "RESOURCE_EXHAUSTED"],
  [403, "AccessDenied", "PERMISSION_DENIED"],
  [400, "InvalidRequest", "UNAVAILABLE"],
])("an answer of %i %s is %s", (status, code, type) =>
  withS3(async (server) => {
    const store = await openS3(server.place);
    server.intercept = (_, res) => refuse(res, status, code);
    await expect(store.put("a", bytes(MIB))).rejects.toMatchObject({
      type,
      message: expect.stringContaining(`(${code}, HTTP ${status})`),
    });
  }),
);

test("a hiccup of S3 is not noticed", () =>
  withS3(async (server) => {
    const store = await openS3(server.place);
    let failures = 1;
    server.intercept = (_, res) => failures-- > 0 && refuse(res, 503, "SlowDown");
    await store.put("a", bytes(MIB));
    expect(await store.head("a")).toMatchObject({ size: MIB });
  }));
