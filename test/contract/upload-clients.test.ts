/** Uploads over gRPC and REST, on one node and on several. */
import { createHash } from "node:crypto";
import type { ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Message } from "../grpc-client.ts";
import { TestClient } from "../grpc-client.ts";
import type { Cluster } from "../topologies.ts";
import { onSmallestAndLargest } from "../topologies.ts";
import type { Upload } from "../upload-client.ts";
import { UploadClient, put, refusalOf } from "../upload-client.ts";
import { waitFor } from "../wait-for.ts";

const sha256 = (body: string) => createHash("sha256").update(body).digest("hex");

onSmallestAndLargest("uploads", (start) => {
  let cluster: Cluster;
  let client: UploadClient;
  let uploadService: TestClient;
  let uploads: TestClient;

  beforeAll(async () => {
    cluster = await start();
    const [{ http, grpc }] = cluster.gateways;
    client = new UploadClient(http);
    uploadService = new TestClient("woxqaq/v1/upload.proto", "woxqaq.v1.UploadService", grpc);
    uploads = new TestClient("longshore/v1/uploads.proto", "longshore.v1.Uploads", grpc);
    // A gateway learns of the services of other nodes a moment after it is ready.
    await waitFor(async () => (await fetch(`${http}/v1/uploads`)).status === 200);
  });

  afterAll(async () => {
    uploadService?.close();
    uploads?.close();
    await cluster?.stop();
  });

  /** Through the gateway that is asked, whichever node made the URL. */
  const here = (url: unknown) => {
    const { pathname, search } = new URL(String(url));
    return cluster.gateways[0].http + pathname + search;
  };
  const refusal = async (name: string, request: Message): Promise<ServiceError> =>
    uploads.unary(name, request).then(
      () => Promise.reject(new Error("it was not refused")),
      (error: ServiceError) => error,
    );

  test("are presigned by the document's RPC, put, and got", async () => {
    const { message } = await uploadService.unary("PreSign", {});
    expect(message).toMatchObject({ key: expect.stringMatching(/^uploads\/[\w-]{36}$/), method: "PUT", headers: {} });
    const left = Date.parse(String(message["expire_time"])) - Date.now();
    expect(left).toBeGreaterThan(590_000);
    expect(left).toBeLessThan(605_000);
    expect((await put(here(message["url"]), "hello")).status).toBe(200);
    expect((await refusalOf(await put(here(message["url"]), "hello"))).status).toBe(403);
    const id = String(message["key"]).replace("uploads/", "");
    const got = await uploads.unary("GetUpload", { id });
    expect(got.message).toMatchObject({ id, state: "COMPLETED", size: "5", sha256: sha256("hello") });
    const presigned = await uploads.unary("PresignDownload", { id });
    expect(await (await fetch(here(presigned.message["url"]))).text()).toBe("hello");
    await uploads.unary("DeleteUpload", { id });
    expect(await refusal("GetUpload", { id })).toMatchObject({ code: status.NOT_FOUND });
  });

  test("in parts are made by RPCs alone", async () => {
    const created = await uploads.unary("CreateUpload", { size: 5, name: "a" });
    const { id } = created.message;
    const { message } = await uploads.unary("PresignPart", { id, part_number: 1 });
    expect((await put(here(message["url"]), "hello")).status).toBe(200);
    const done = await uploads.unary("CompleteUpload", { id });
    expect(done.message).toMatchObject({ state: "COMPLETED", sha256: sha256("hello"), part_count: 1 });
  });

  test("are listed by pages, the last made first, all or by their state", async () => {
    const made: string[] = [];
    for (let index = 0; index < 5; index += 1) made.unshift((await client.preSign()).key);
    const keys: string[] = [];
    let token = "";
    do {
      const query = new URLSearchParams({ pageSize: "2", pageToken: token, state: "ISSUED" });
      const page = await client.call<{ uploads: Upload[]; nextPageToken: string }>(
        "GET",
        `/v1/uploads?${query.toString()}`,
      );
      expect(page.uploads.length).toBeLessThanOrEqual(2);
      keys.push(...page.uploads.map(({ key }) => key));
      token = page.nextPageToken;
    } while (token);
    expect(keys).toEqual(made);
    const { message } = await uploads.unary("ListUploads", { page_size: 1, state: "COMPLETED" });
    expect(message["uploads"]).toMatchObject([{ state: "COMPLETED" }]);
    const other = { page_size: 1, page_token: message["next_page_token"] || "AAAA" };
    expect(await refusal("ListUploads", other)).toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  test.each([
    ["size=-1", /^size: /],
    ["size=1.5", /^size: /],
    ["size=5368709121", /^size: must be at most 5368709120/],
    ["sha256=abc", /^sha256: /],
    ["contentType=csv", /^content_type: /],
    ["content_type=a%0Ab", /^content_type: /],
    ["name=a%0Db", /^name: /],
    ["name=a&name=b", /^name: /],
    [`name=${"x".repeat(256)}`, /^name: must be at most 255/],
  ])("are not presigned for %s", async (query, message) => {
    const refused = await client.refused("GET", `/v1/presign?${query}`);
    expect(refused).toEqual({ status: 400, message: expect.stringMatching(message) });
  });

  test("name what is wrong with a request for parts, a page or an id", async () => {
    expect((await client.refused("POST", "/v1/uploads", {})).message).toMatch(/^size: must be given/);
    expect((await client.refused("GET", "/v1/uploads?pageSize=x")).message).toMatch(/^pageSize: /);
    expect((await client.refused("GET", "/v1/uploads?state=DONE")).message).toMatch(/^state: /);
    expect((await client.refused("GET", "/v1/uploads/none")).status).toBe(404);
    const { key } = await client.preSign();
    expect((await client.refused("POST", `/v1/${key}/parts/1:presign`)).message).toContain("is not in parts");
    expect((await client.refused("POST", `/v1/${key}:complete`)).message).toContain("nothing has been put");
    expect((await client.refused("POST", `/v1/${key}:presign`)).message).toContain("is not completed");
  });
});
