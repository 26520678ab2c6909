import { once } from "node:events";
import { readFile, readdir, rm, stat } from "node:fs/promises";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { ObjectsPlace } from "../lib/objects/open.ts";
import { isPresignedRight } from "./s3-signature.ts";
import { withTempDir } from "./temp-dir.ts";
import { waitFor } from "./wait-for.ts";

const BUCKET = "objects";
/** The only account that s3rver has. */
const ACCOUNT = "S3RVER";

/** What is used of s3rver, which has no types. */
interface S3rver {
  store: {
    putObject(object: { bucket: string; key: string }): Promise<{ size: number; md5: string }>;
    getResourcePath(bucket: string, key: string, resource: string): string;
  };
  configureBuckets(): Promise<void>;
  getMiddleware(): RequestListener;
}

const S3rver = createRequire(import.meta.url)("s3rver") as new (options: object) => S3rver;

export interface S3Server {
  place: Extract<ObjectsPlace, { kind: "s3" }>;
  /** Where the bucket's objects lie, each as `<key>._S3rver_object`. */
  root: string;
  /** Answers in place of the server; true if it did. */
  intercept: (req: IncomingMessage, res: ServerResponse) => boolean | Promise<boolean>;
  /** The ids of the uploads in parts that were begun and not ended. */
  uploads(): Promise<string[]>;
}

/** Runs `body` with an S3 that has an empty bucket. */
export async function withS3<T>(body: (server: S3Server) => Promise<T>): Promise<T> {
  return withTempDir(async (directory) => {
    const s3rver = new S3rver({ directory, silent: true, configureBuckets: [{ name: BUCKET }] });
    await s3rver.configureBuckets();
    answerWhenWritten(s3rver);
    const root = join(directory, BUCKET);
    const uploads = join(root, "._S3rver_uploads");
    const handle = s3rver.getMiddleware();
    const http = createServer((req, res) => void answer(req, res));
    async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
      if (await server.intercept(req, res)) return;
      if (!isPresignedRight(req, ACCOUNT)) return refuse(res, 403, "SignatureDoesNotMatch");
      const upload = new URL(req.url!, "http://s3").searchParams.get("uploadId");
      if (req.method === "DELETE" && upload) await abort(join(uploads, upload), res);
      else if (req.method === "GET" && upload) await listParts(join(uploads, upload), res);
      else handle(req, res);
    }
    await once(http.listen(0, "127.0.0.1"), "listening");
    const { port } = http.address() as AddressInfo;
    const server: S3Server = {
      place: {
        kind: "s3",
        endpoint: `http://127.0.0.1:${port}`,
        region: "us-east-1",
        bucket: BUCKET,
        accessKeyId: ACCOUNT,
        secretAccessKey: ACCOUNT,
      },
      root,
      intercept: () => false,
      uploads: () => readdir(uploads).catch(() => []),
    };
    try {
      return await body(server);
    } finally {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    }
  });
}

/** s3rver answers a put before all of it is in the file. */
function answerWhenWritten({ store }: S3rver): void {
  const putObject = store.putObject.bind(store);
  store.putObject = async (object) => {
    const put = await putObject(object);
    const path = store.getResourcePath(object.bucket, object.key, "object");
    await waitFor(async () => (await stat(path)).size === put.size);
    return put;
  };
}

/** s3rver does not know ListParts. */
async function listParts(upload: string, res: ServerResponse): Promise<void> {
  const names = await readdir(upload).catch(() => undefined);
  if (!names) return refuse(res, 404, "NoSuchUpload");
  const parts = names.filter((name) => /^\d+$/.test(name)).sort((one, other) => Number(one) - Number(other));
  const listed = parts.map(async (number) => {
    const { size } = await stat(join(upload, number));
    const etag = await readFile(join(upload, `${number}.md5`), "utf8");
    return `<Part><PartNumber>${number}</PartNumber><Size>${size}</Size><ETag>${etag}</ETag></Part>`;
  });
  res.writeHead(200, { "Content-Type": "application/xml" });
  res.end(`<ListPartsResult>${(await Promise.all(listed)).join("")}</ListPartsResult>`);
}

/** s3rver does not know AbortMultipartUpload. */
async function abort(upload: string, res: ServerResponse): Promise<void> {
  if (await stat(upload).catch(() => undefined)) {
    await rm(upload, { recursive: true });
    res.writeHead(204).end();
  } else {
    refuse(res, 404, "NoSuchUpload");
  }
}

function refuse(res: ServerResponse, status: number, code: string): void {
  res.writeHead(status, { "Content-Type": "application/xml" }).end(`<Error><Code>${code}</Code></Error>`);
}
