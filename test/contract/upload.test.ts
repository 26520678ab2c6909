/** Uploads from their URL to their end, whatever store their objects are in. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "@jest/globals";
import type { Config } from "../../lib/config.ts";
import { configOf } from "../../lib/config.ts";
import { openObjects } from "../../lib/objects/open.ts";
import { objectsPlace } from "../../lib/objects/place.ts";
import type { WithDatastore } from "../../mixins/store.mixin.ts";
import type { UploadCompleted } from "../../services/upload/upload.service.ts";
import type { TestNode } from "../node.ts";
import { startNode } from "../node.ts";
import type { S3Server } from "../s3-server.ts";
import { withS3 } from "../s3-server.ts";
import type { PreSigned, Upload } from "../upload-client.ts";
import { UploadClient, put } from "../upload-client.ts";
import { waitFor } from "../wait-for.ts";

const MIB = 1024 ** 2;

interface Stage {
  node: TestNode;
  client: UploadClient;
  /** What `upload.completed` has told. */
  completed: UploadCompleted[];
  s3?: S3Server;
}

type Body = (stage: Stage) => Promise<void>;

async function onNode(body: Body, config: Partial<Config> = {}, s3?: S3Server): Promise<void> {
  const node = await startNode({ services: ["api-gateway", "upload"], config });
  const completed: UploadCompleted[] = [];
  node.broker.createService({
    name: "listener",
    events: { "upload.completed": (ctx: { params: UploadCompleted }) => void completed.push(ctx.params) },
  });
  try {
    await body({ node, client: new UploadClient(node.http), completed, s3 });
  } finally {
    await node.stop();
  }
}

const stores = [
  { name: "a directory", withStage: (body: Body, config?: Partial<Config>) => onNode(body, config) },
  {
    name: "S3",
    withStage: (body: Body, config: Partial<Config> = {}) =>
      withS3((s3) => {
        const { endpoint, bucket, accessKeyId, secretAccessKey } = s3.place;
        const place = { s3Endpoint: endpoint, s3Bucket: bucket, s3AccessKeyId: accessKeyId };
        return onNode(body, { ...config, ...place, s3SecretAccessKey: secretAccessKey }, s3);
      }),
  },
];

const sha256 = (body: string | Buffer) => createHash("sha256").update(body).digest("hex");

/** The keys of all objects that there are. */
async function keysOf({ node }: Stage): Promise<string[]> {
  const keys: string[] = [];
  const objects = await openObjects(objectsPlace(configOf(node.broker)));
  for await (const { key } of objects.list("")) keys.push(key);
  return keys;
}

/** What time does, at once. */
async function sweep({ node }: Stage): Promise<void> {
  await (node.broker.getLocalService("upload") as unknown as { sweep: { round(): Promise<void> } }).sweep.round();
}

describe.each(stores)("an upload to $name", ({ withStage }) => {
  test("is told of, downloaded whole and by ranges under its name, and deleted", () =>
    withStage(async (stage) => {
      const { client, completed } = stage;
      const name = "季度 报表.csv";
      const upload = await client.upload("hello", {
        name,
        contentType: "text/csv",
        sha256: sha256("hello"),
        size: "5",
      });
      const { key } = upload;
      expect(upload).toMatchObject({
        state: "COMPLETED",
        name,
        contentType: "text/csv",
        size: "5",
        sha256: sha256("hello"),
      });
      await waitFor(() => completed.length === 1);
      expect(completed).toEqual([{ key, size: 5, sha256: sha256("hello"), name }]);

      const whole = await client.download(upload);
      expect(await whole.text()).toBe("hello");
      const etag = whole.headers.get("etag")!;
      expect(whole.headers.get("content-type")).toBe("text/csv");
      expect(whole.headers.get("content-disposition")).toContain(`filename*=UTF-8''${encodeURIComponent(name)}`);
      const part = await client.download(upload, { range: "bytes=1-3", "if-range": etag });
      expect([part.status, await part.text(), part.headers.get("content-range")]).toEqual([206, "ell", "bytes 1-3/5"]);
      expect((await client.download(upload, { range: "bytes=9-" })).status).toBe(416);

      expect(await keysOf(stage)).toEqual([key]);
      await client.call("DELETE", `/v1/${key}`);
      expect(await keysOf(stage)).toEqual([]);
      expect((await client.refused("GET", `/v1/${key}`)).status).toBe(404);
    }));

  test("in parts is put together once all of them are there", () =>
    withStage(async (stage) => {
      const { client, completed } = stage;
      const body = Buffer.alloc(17 * MIB, "large ");
      const announced = { name: "large.bin", size: body.length, sha256: sha256(body) };
      const upload = await client.call<Upload>("POST", "/v1/uploads", announced);
      expect(upload).toMatchObject({
        state: "ISSUED",
        partCount: 3,
        partSize: String(8 * MIB),
        size: String(body.length),
      });
      const { id } = upload;
      const putPart = async (number: number) => {
        const { url } = await client.call<PreSigned>("POST", `/v1/uploads/${id}/parts/${number}:presign`);
        const bytes = body.subarray((number - 1) * 8 * MIB, number * 8 * MIB);
        expect((await put(url, bytes)).status).toBe(200);
      };
      await putPart(3);
      await putPart(1);
      const refusal = await client.refused("POST", `/v1/uploads/${id}:complete`);
      expect(refusal).toMatchObject({ status: 400, message: expect.stringMatching(/missing or too short: 2$/) });
      await putPart(2);
      const done = await client.call<Upload>("POST", `/v1/uploads/${id}:complete`);
      expect(done).toMatchObject({ state: "COMPLETED", sha256: sha256(body), size: String(body.length) });
      expect(await client.call("POST", `/v1/uploads/${id}:complete`)).toEqual(done);
      expect(await keysOf(stage)).toEqual([upload.key]);
      expect(sha256(Buffer.from(await (await client.download(done)).arrayBuffer()))).toBe(sha256(body));
      expect((await client.refused("POST", `/v1/uploads/${id}/parts/1:presign`)).message).toContain("is completed");
      await waitFor(() => completed.length === 1);
    }));

  test("in parts of another digest than was announced is refused, and nothing is left", () =>
    withStage(async (stage) => {
      const { client } = stage;
      const announced = { size: 5, sha256: sha256("other") };
      const { id, key } = await client.call<Upload>("POST", "/v1/uploads", announced);
      const { url } = await client.call<PreSigned>("POST", `/v1/uploads/${id}/parts/1:presign`);
      expect((await put(url, "hello")).status).toBe(200);
      const refusal = await client.refused("POST", `/v1/${key}:complete`);
      expect(refusal).toMatchObject({ status: 400, message: expect.stringMatching(/^sha256: /) });
      expect(await keysOf(stage)).toEqual([]);
      expect(await client.get(key)).toMatchObject({ state: "ISSUED" });
    }));

  test("that nobody puts, or nobody claims, is removed in time; one that is claimed stays", () =>
    withStage(
      async (stage) => {
        const { client, node } = stage;
        const upload = await client.upload("kept");
        const claim = { key: upload.key, owner: "progress" };
        expect(await node.broker.call("upload.claim", claim)).toMatchObject({ key: upload.key, state: "COMPLETED" });
        await node.broker.call("upload.claim", claim);
        await expect(node.broker.call("upload.claim", { ...claim, owner: "other" })).rejects.toMatchObject({
          type: "FAILED_PRECONDITION",
        });
        const unclaimed = await client.upload("gone");
        const waiting = await client.preSign();
        const parts = await client.call<Upload>("POST", "/v1/uploads", { size: 3 });
        const { url } = await client.call<PreSigned>("POST", `/v1/uploads/${parts.id}/parts/1:presign`);
        await put(url, "abc");
        await sweep(stage);
        expect((await client.refused("GET", `/v1/${unclaimed.key}`)).status).toBe(404);
        expect(await client.get(upload.key)).toMatchObject({ claimedBy: "progress" });
        expect(await client.get(waiting.key)).toMatchObject({ state: "ISSUED" });

        await passTime(node, 26 * 3_600_000);
        await sweep(stage);
        expect((await client.refused("GET", `/v1/${waiting.key}`)).status).toBe(404);
        expect((await client.refused("GET", `/v1/${parts.key}`)).status).toBe(404);
        expect(await keysOf(stage)).toEqual([upload.key]);
        if (stage.s3) expect(await stage.s3.uploads()).toEqual([]);
        const released = await client.upload("released");
        const other = { key: released.key, owner: "progress" };
        await node.broker.call("upload.claim", other);
        await node.broker.call("upload.release", { ...other, owner: "export" });
        await sweep(stage);
        expect(await client.get(released.key)).toMatchObject({ claimedBy: "progress" });
        await node.broker.call("upload.release", other);
        await sweep(stage);
        expect((await client.refused("GET", `/v1/${released.key}`)).status).toBe(404);
        await node.broker.call("upload.delete", { key: upload.key });
        await node.broker.call("upload.delete", { key: upload.key });
        expect(await keysOf(stage)).toEqual([]);
      },
      { uploadRetentionDays: 0 },
    ));

  test("and any other object is presigned for other services", () =>
    withStage(async ({ client, node }) => {
      const { key } = await client.upload("hello", { name: "a.txt" });
      expect(await node.broker.call("upload.get", { key })).toMatchObject({
        key,
        name: "a.txt",
        size: 5,
        state: "COMPLETED",
      });
      const objects = await openObjects(objectsPlace(configOf(node.broker)));
      await objects.put("exports/x.zip", Readable.from([Buffer.from("zip")]));
      const params = { key: "exports/x.zip", fileName: "报表.zip", contentType: "application/zip" };
      const { url, expireTime } = await node.broker.call<{ url: string; expireTime: string }, object>(
        "upload.presignDownload",
        params,
      );
      expect(Date.parse(expireTime)).toBeGreaterThan(Date.now());
      const response = await fetch(url);
      expect([await response.text(), response.headers.get("content-type")]).toEqual(["zip", "application/zip"]);
      await expect(node.broker.call("upload.presignDownload", { ...params, key: "exports/y" })).rejects.toMatchObject({
        type: "NOT_FOUND",
      });
      await expect(node.broker.call("upload.get", { key: "exports/x.zip" })).rejects.toMatchObject({
        data: { field: "key" },
      });
    }));
});

/** Moves what is due in the datastore so much nearer. */
async function passTime({ broker }: TestNode, ms: number): Promise<void> {
  const { datastore } = broker.getLocalService("upload") as unknown as WithDatastore;
  const uploads = await datastore.collection<{ _id: string; removeAt?: Date }>("uploads");
  for (const { _id, removeAt } of await uploads.find({ removeAt: { $exists: true } }).toArray()) {
    await uploads.updateOne({ _id }, { $set: { removeAt: new Date(removeAt!.getTime() - ms) } });
  }
}

describe("an upload that is put at S3 itself", () => {
  const [, s3] = stores;
  const inS3 = (body: (stage: Stage & { s3: S3Server }) => Promise<void>, config?: Partial<Config>) =>
    s3!.withStage((stage) => body({ ...stage, s3: stage.s3! }), config);

  test("is seen by a sweep where nobody asks for it", () =>
    inS3(async (stage) => {
      const { url, key } = await stage.client.preSign();
      expect((await put(url, "hello")).status).toBe(200);
      await sweep(stage);
      await waitFor(() => stage.completed.length === 1);
      expect(stage.completed).toEqual([{ key, size: 5, sha256: sha256("hello"), name: "" }]);
      expect(await keysOf(stage)).toEqual([key]);
    }));

  test("does not change where its URL is used again, and what came by it is removed", () =>
    inS3(async (stage) => {
      const { url, key } = await stage.client.preSign();
      await put(url, "first");
      const upload = await stage.client.get(key);
      // What was staged is removed after the answer, and s3rver fails where an object goes that is being put.
      await waitFor(async () => isDeepStrictEqual(await keysOf(stage), [key]));
      expect((await put(url, "second")).status).toBe(200);
      expect(await stage.client.get(key)).toEqual(upload);
      expect(await (await stage.client.download(upload)).text()).toBe("first");
      await sweep(stage);
      expect(await keysOf(stage)).toEqual([key]);
    }));

  test("cannot be put by another method, at another key or with another size than its URL is for", () =>
    inS3(async (stage) => {
      const { url } = await stage.client.preSign({ size: "5" });
      expect((await fetch(url)).status).toBe(403);
      expect((await put(url.replace("staged", "uploads"), "hello")).status).toBe(403);
      expect((await put(url, "longer")).status).toBe(403);
      expect(await keysOf(stage)).toEqual([]);
    }));

  test("is refused where it is not what was announced, and its URL can be used again", () =>
    inS3(async (stage) => {
      // s3rver takes any body, where S3 itself compares the header with it.
      const { url, key, headers } = await stage.client.preSign({ sha256: sha256("good") });
      expect(headers).toEqual({ "x-amz-checksum-sha256": Buffer.from(sha256("good"), "hex").toString("base64") });
      expect((await put(url, "good")).status).toBe(403);
      await put(url, "evil", headers);
      const refusal = await stage.client.refused("POST", `/v1/${key}:complete`);
      expect(refusal).toMatchObject({ status: 400, message: expect.stringMatching(/^sha256: /) });
      expect(await keysOf(stage)).toEqual([]);
      await put(url, "good", headers);
      expect(await stage.client.get(key)).toMatchObject({ state: "COMPLETED" });
    }));

  test("is removed where it is larger than it may be", () =>
    inS3(
      async (stage) => {
        const { url, key } = await stage.client.preSign();
        await put(url, Buffer.alloc(MIB + 1));
        const message = expect.stringContaining(`had ${MIB + 1} bytes, and may have ${MIB}`);
        expect(await stage.client.refused("GET", `/v1/${key}`)).toEqual({ status: 429, message });
        expect(await keysOf(stage)).toEqual([]);
      },
      { uploadMaxBytes: MIB },
    ));

  test("completes once where many ask for it at once", () =>
    inS3(async (stage) => {
      const { client } = stage;
      const { url, key } = await client.preSign();
      await put(url, "hello");
      await Promise.all(Array.from({ length: 10 }, () => client.get(key).catch(() => undefined)));
      expect(await client.get(key)).toMatchObject({ state: "COMPLETED", sha256: sha256("hello") });
      expect(stage.completed).toHaveLength(1);
    }));
});
