/**
 * upload: URLs at which clients PUT objects without any other credential, uploads of large files in parts, and URLs to
 * download what is there. The other services know an upload by its key.
 */
import { randomUUID } from "node:crypto";
import type { Context, Service, ServiceSchema } from "moleculer";
import { configOf } from "../../lib/config.ts";
import { LongshoreError, failedPrecondition, invalidArgument, notFound } from "../../lib/errors.ts";
import { uploadOfPart } from "../../lib/objects/directory-multipart.ts";
import { DirectoryPresigner, OBJECTS_PATH, getTermsOf, putTermsOf } from "../../lib/objects/directory-presigner.ts";
import type { Multipart } from "../../lib/objects/multipart.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import { openObjects, openPresigned } from "../../lib/objects/open.ts";
import { objectsPlace } from "../../lib/objects/place.ts";
import type { GetTerms, PresignedRequest, Presigner } from "../../lib/objects/presigner.ts";
import { readPageSize } from "../../lib/page-size.ts";
import { readPageToken, writePageToken } from "../../lib/page-token.ts";
import { baseUrl } from "../../lib/public-url.ts";
import type { BodyTerms, StoredBody } from "../../lib/rest-options.ts";
import { rest } from "../../lib/rest-options.ts";
import { signingKey } from "../../lib/signing-key.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import type { WithDatastore } from "../../mixins/store.mixin.ts";
import { store } from "../../mixins/store.mixin.ts";
import { COMPLETE_TIMEOUT_MS, Completion, mismatch } from "./completion.ts";
import type { Params } from "./request.ts";
import { readAnnounced, readAnnouncedParts, readId, readPartNumber, readState } from "./request.ts";
import { restOf } from "./rest-action.ts";
import { Sweep } from "./sweep.ts";
import { UploadStore } from "./upload-store.ts";
import type { Upload } from "./upload.ts";
import { cut, fileNameOf, idOf, idOfStaged, keyOf, mediaTypeOf, sizeOfPart, stagedKeyOf } from "./upload.ts";
import { TYPES, json, preSignMessage, presignedMessage, uploadMessage } from "./wire.ts";

interface UploadService extends WithDatastore {
  objects: ObjectStore;
  /** Of the gateway's URLs. */
  directory: DirectoryPresigner;
  presigner: Presigner;
  multipart: Multipart;
  uploads: UploadStore;
  completion: Completion;
  sweep: Sweep;
  get(id: string, signal: AbortSignal): Promise<Upload>;
  awaiting(key: string): Promise<Upload>;
  presignGet(key: string, terms: GetTerms): Promise<PresignedRequest>;
}

type This = Service & UploadService;

/** What a request for an object at the gateway brings beside its body. */
type ObjectParams = Params & { key: string };

/** Told to all nodes when an upload has its object. */
export interface UploadCompleted {
  key: string;
  size: number;
  sha256: string;
  name: string;
}

const DAY_MS = 86_400_000;
/** So long may the parts of an upload take; the URL of each is good for UPLOAD_TTL. */
const PARTS_MS = DAY_MS;
const OTHER_METHODS = ["POST", "PATCH", "DELETE"];

const upload: ServiceSchema<object, object, object, This> = {
  name: "upload",

  mixins: [
    store,
    grpc({ proto: "woxqaq/v1/upload.proto", service: "woxqaq.v1.UploadService" }),
    grpc({
      proto: "longshore/v1/uploads.proto",
      service: "longshore.v1.Uploads",
      methods: { PresignDownload: "presignUpload" },
    }),
  ],

  actions: {
    preSign: {
      async handler(this: This, { params }: Context<Params>) {
        const { uploadMaxBytes, uploadTtl } = configOf(this.broker);
        const announced = readAnnounced(params, uploadMaxBytes);
        const { _id: id, expireTime, size, sha256 } = await this.uploads.issue(announced, uploadTtl, randomUUID());
        return preSignMessage(id, await this.presigner.put(stagedKeyOf(id), { size, sha256 }, expireTime));
      },
    },

    createUpload: {
      async handler(this: This, { params }: Context<Params>) {
        const announced = readAnnouncedParts(params, configOf(this.broker).uploadMaxBytes);
        const id = randomUUID();
        const parts = { upload: await this.multipart.begin(keyOf(id)), ...cut(announced.size) };
        return uploadMessage(await this.uploads.issue(announced, PARTS_MS, id, parts));
      },
    },

    presignPart: {
      async handler(this: This, { params }: Context<Params>) {
        const id = readId(params);
        const { state, parts, size = 0, expireTime } = await find(this.uploads, id);
        if (!parts) throw failedPrecondition(`upload ${id} is not in parts`);
        const now = this.uploads.now().getTime();
        if (state !== "ISSUED" || expireTime.getTime() <= now) {
          throw failedPrecondition(
            `upload ${id} takes no more parts: it ${state === "ISSUED" ? "has expired" : "is completed"}`,
          );
        }
        const number = readPartNumber(params, parts.count);
        const part = { key: keyOf(id), upload: parts.upload, number, size: sizeOfPart(parts, size, number) };
        const until = Math.min(expireTime.getTime(), now + configOf(this.broker).uploadTtl);
        return presignedMessage(await this.multipart.presign(part, new Date(until)));
      },
    },

    completeUpload: {
      timeout: COMPLETE_TIMEOUT_MS,
      async handler(this: This, ctx: Context<Params>) {
        return uploadMessage(await this.completion.finish(readId(ctx.params), signalOf(ctx)));
      },
    },

    getUpload: {
      timeout: COMPLETE_TIMEOUT_MS,
      async handler(this: This, ctx: Context<Params>) {
        return uploadMessage(await this.get(readId(ctx.params), signalOf(ctx)));
      },
    },

    listUploads: {
      idempotent: true,
      async handler(this: This, { params }: Context<Params>) {
        const { page_token: token = "" } = params;
        if (typeof token !== "string") throw invalidArgument("page_token", "must be given once");
        const size = readPageSize(params["page_size"]);
        const state = readState(params);
        const [id, time] = (readPageToken("page_token", token, state ?? "") as [string, string] | undefined) ?? [];
        const after = id === undefined ? undefined : { id, createTime: new Date(time!) };
        const found = await this.uploads.page(state, size + 1, after);
        const page = found.slice(0, size);
        const last = found.length > size ? page.at(-1) : undefined;
        return {
          uploads: page.map(uploadMessage),
          next_page_token: last ? writePageToken(state ?? "", [last._id, last.createTime.toISOString()]) : "",
        };
      },
    },

    deleteUpload: {
      async handler(this: This, { params }: Context<Params>) {
        await this.completion.remove(await find(this.uploads, readId(params)));
        return {};
      },
    },

    presignUpload: {
      async handler(this: This, ctx: Context<Params>) {
        const one = await this.get(readId(ctx.params), signalOf(ctx));
        if (one.state !== "COMPLETED") throw failedPrecondition(`upload ${one._id} is not completed`);
        const terms = { fileName: fileNameOf(one), contentType: mediaTypeOf(one) };
        return presignedMessage(await this.presignGet(keyOf(one._id), terms));
      },
    },

    restPreSign: restOf("GET /v1/presign", "preSign", { request: TYPES.preSignRequest, answer: TYPES.preSign }),
    restCreateUpload: restOf("POST /v1/uploads", "createUpload", {
      request: TYPES.createRequest,
      answer: TYPES.upload,
    }),
    restListUploads: restOf("GET /v1/uploads", "listUploads", { request: TYPES.listRequest, answer: TYPES.list }),
    restGetUpload: restOf(
      "GET /v1/uploads/{id}",
      "getUpload",
      { request: TYPES.getRequest, answer: TYPES.upload },
      COMPLETE_TIMEOUT_MS,
    ),
    restDeleteUpload: restOf("DELETE /v1/uploads/{id}", "deleteUpload", {
      request: TYPES.getRequest,
      answer: TYPES.empty,
    }),
    restCompleteUpload: restOf(
      "POST /v1/uploads/{id}:complete",
      "completeUpload",
      { request: TYPES.getRequest, answer: TYPES.upload },
      COMPLETE_TIMEOUT_MS,
    ),
    restPresignUpload: restOf(
      "POST /v1/uploads/{id}:presign",
      "presignUpload",
      { request: TYPES.getRequest, answer: TYPES.presigned },
      COMPLETE_TIMEOUT_MS,
    ),
    restPresignPart: restOf("POST /v1/uploads/{id}/parts/{part_number}:presign", "presignPart", {
      request: TYPES.partRequest,
      answer: TYPES.presigned,
    }),

    /** What is known of an upload, for other services. One that was put at S3 is completed when it is first asked for. */
    get: {
      timeout: COMPLETE_TIMEOUT_MS,
      async handler(this: This, ctx: Context<{ key: string }>) {
        return describe(await this.get(readKey(ctx.params.key), signalOf(ctx)));
      },
    },

    /** Keeps a completed upload for a service, until that calls `release` or `delete`. FAILED_PRECONDITION where it is not there to be had. */
    claim: {
      timeout: COMPLETE_TIMEOUT_MS,
      async handler(this: This, ctx: Context<{ key: string; owner: string }>) {
        const id = readKey(ctx.params.key);
        const { state } = await this.get(id, signalOf(ctx));
        if (state !== "COMPLETED") throw failedPrecondition(`upload ${id} is not completed`);
        const claimed = await this.uploads.claim(id, ctx.params.owner);
        if (!claimed) throw failedPrecondition(`upload ${id} is claimed by another service, or is being removed`);
        return describe(claimed);
      },
    },

    /** Keeps a claimed upload only as long as one that nobody has claimed; also where it is not claimed any more. */
    release: {
      async handler(this: This, { params }: Context<{ key: string; owner: string }>) {
        await this.uploads.unclaim(readKey(params.key), params.owner);
      },
    },

    /** Removes an upload and its object; also where there is none any more. */
    delete: {
      async handler(this: This, { params }: Context<{ key: string }>) {
        const one = await this.uploads.find(readKey(params.key));
        if (one) await this.completion.remove(one);
      },
    },

    /** A URL to download an object, of whatever service, for DOWNLOAD_TTL. */
    presignDownload: {
      async handler(this: This, { params }: Context<{ key: string; fileName: string; contentType?: string }>) {
        const { key, fileName, contentType = "" } = params;
        const { url, expiresAt } = await this.presignGet(key, { fileName, contentType: mediaTypeOf({ contentType }) });
        return { url, expireTime: expiresAt.toISOString() };
      },
    },

    /** The PUT of a URL that the gateway serves, once its body is stored. */
    putObject: {
      rest: rest({
        path: `PUT ${OBJECTS_PATH}{key=**}`,
        body: "object",
        check: "upload.checkPut",
        headers: ["content-length", "content-encoding"],
      }),
      async handler(this: This, { params }: Context<ObjectParams & { object: StoredBody }>) {
        const { key, object } = params;
        const problem = mismatch(putTermsOf(params), object);
        if (problem) throw problem;
        const id = idOfStaged(key);
        if (id !== undefined) return json(TYPES.upload, uploadMessage(await this.completion.take(id, object)));
        await this.awaiting(key);
        await this.objects.move(object.key, key);
        return {};
      },
    },

    /** What is asked before a body is read: whether the URL is good, and the body can be what it is for. */
    checkPut: {
      async handler(this: This, ctx: Context<ObjectParams, { headers: Record<string, string> }>): Promise<BodyTerms> {
        const { key } = ctx.params;
        this.directory.verify(["PUT"], key, ctx.params);
        await this.awaiting(key);
        const { size } = putTermsOf(ctx.params);
        const { "content-length": length, "content-encoding": encoding = "identity" } = ctx.meta.headers;
        if (encoding !== "identity") {
          throw invalidArgument("content-encoding", `an upload is stored as it comes, and cannot be in ${encoding}`);
        }
        if (size !== undefined && length !== undefined && Number(length) !== size) {
          throw invalidArgument("content-length", `the URL is for ${size} bytes, not for ${length}`);
        }
        return { limit: size ?? configOf(this.broker).uploadMaxBytes };
      },
    },

    /** The GET of a URL that the gateway serves. */
    getObject: {
      rest: rest({ path: `GET ${OBJECTS_PATH}{key=**}`, response: "object" }),
      handler(this: This, { params }: Context<ObjectParams>) {
        this.directory.verify(["GET"], params.key, params);
        return { key: params.key, ...getTermsOf(params) };
      },
    },

    /** No URL is for another method: it is refused before its body is read. */
    refuseMethod: {
      rest: OTHER_METHODS.map((method) =>
        rest({ path: `${method} ${OBJECTS_PATH}{key=**}`, body: "object", check: "upload.refuseMethod" }),
      ) as never,
      handler(this: This, { params }: Context<ObjectParams>) {
        this.directory.verify([], params.key, params);
      },
    },
  },

  methods: {
    /** The upload, completed where it was put at S3 and nobody has seen that yet. */
    async get(this: This, id: string, signal: AbortSignal): Promise<Upload> {
      const one = await find(this.uploads, id);
      return (await this.completion.isStaged(one)) ? this.completion.finish(id, signal) : one;
    },

    /** The upload that an object may still be put for; PERMISSION_DENIED where there is none. */
    async awaiting(this: This, key: string): Promise<Upload> {
      const part = uploadOfPart(key);
      const one = await (part === undefined
        ? this.uploads.find(idOfStaged(key) ?? "")
        : this.uploads.findByParts(part));
      if (!one) throw new LongshoreError("PERMISSION_DENIED", "the upload that the URL is for is not there any more");
      if (one.state !== "ISSUED") throw new LongshoreError("PERMISSION_DENIED", "the URL has been used");
      return one;
    },

    async presignGet(this: This, key: string, terms: GetTerms): Promise<PresignedRequest> {
      if (!(await this.objects.head(key))) throw notFound(`there is no object ${key}`);
      return this.presigner.get(key, terms, new Date(Date.now() + configOf(this.broker).downloadTtl));
    },
  },

  async started(this: This) {
    const config = configOf(this.broker);
    const place = objectsPlace(config);
    this.objects = await openObjects(place);
    this.directory = new DirectoryPresigner(() => baseUrl(this.broker), await signingKey(config));
    Object.assign(this, await openPresigned(place, this.objects, this.directory));
    this.uploads = await UploadStore.open(this.datastore, config.uploadRetentionDays * DAY_MS);
    const { uploads, objects, multipart } = this;
    this.completion = new Completion({
      uploads,
      objects,
      multipart,
      maxBytes: config.uploadMaxBytes,
      completed: (one) => {
        const { key, size, sha256, name } = describe(one);
        this.broker.broadcast("upload.completed", { key, size, sha256, name }).catch((error: unknown) => {
          this.logger.warn(`nobody was told that upload ${key} is completed`, error);
        });
      },
    });
    const onError = (message: string, error: unknown) => this.logger.warn(message, error);
    this.sweep = new Sweep({ uploads, objects, completion: this.completion, onError });
    this.sweep.start();
  },

  async stopped(this: This) {
    await this.sweep?.stop();
  },
};

async function find(uploads: UploadStore, id: string): Promise<Upload> {
  const one = await uploads.find(id);
  if (!one) throw notFound(`there is no upload ${id}`);
  return one;
}

function readKey(key: string): string {
  const id = idOf(String(key));
  if (id === undefined) throw invalidArgument("key", "is not the key of an upload");
  return id;
}

/** As other services are told of it. */
function describe(one: Upload) {
  const { _id: id, name, size = 0, sha256 = "", state } = one;
  return { key: keyOf(id), name, size, sha256, contentType: mediaTypeOf(one), state };
}

export default upload;
