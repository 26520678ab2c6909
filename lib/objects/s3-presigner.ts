/** URLs of S3 itself, by the SDK's presigner. */
import { GetObjectCommand, PutObjectCommand, UploadPartCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { contentDisposition } from "./content-disposition.ts";
import type { PartOfUpload } from "./multipart.ts";
import { checkKey } from "./object-store.ts";
import type { GetTerms, PresignedRequest, Presigner, PutTerms } from "./presigner.ts";
import { S3Bucket, type S3Place } from "./s3-bucket.ts";

/** S3 takes no URL that is good for longer. */
const MAX_SECONDS = 7 * 86_400;
const SHA256_HEADER = "x-amz-checksum-sha256";

export class S3Presigner implements Presigner {
  readonly #bucket: S3Bucket;

  constructor(place: S3Place) {
    this.#bucket = new S3Bucket({ ...place, endpoint: place.publicEndpoint ?? place.endpoint });
  }

  /** A checksum has to be sent as a header: S3 need not look at one that is in the query. */
  put(key: string, { size, sha256 }: PutTerms, expiresAt: Date): Promise<PresignedRequest> {
    const checksum = sha256 === undefined ? undefined : Buffer.from(sha256, "hex").toString("base64");
    const body = { Key: key, ContentLength: size, ChecksumSHA256: checksum };
    const headers: Record<string, string> = checksum === undefined ? {} : { [SHA256_HEADER]: checksum };
    return this.#presign("PUT", key, (Bucket) => new PutObjectCommand({ Bucket, ...body }), expiresAt, headers);
  }

  get(key: string, { fileName, contentType }: GetTerms, expiresAt: Date): Promise<PresignedRequest> {
    const response = {
      ResponseContentDisposition: contentDisposition(fileName),
      ResponseContentType: contentType,
    };
    return this.#presign("GET", key, (Bucket) => new GetObjectCommand({ Bucket, Key: key, ...response }), expiresAt);
  }

  /** A PUT of one part. */
  part({ key, upload, number, size }: PartOfUpload, expiresAt: Date): Promise<PresignedRequest> {
    const part = { Key: key, UploadId: upload, PartNumber: number, ContentLength: size };
    return this.#presign("PUT", key, (Bucket) => new UploadPartCommand({ Bucket, ...part }), expiresAt);
  }

  async #presign(
    method: "GET" | "PUT",
    key: string,
    command: (bucket: string) => PutObjectCommand | GetObjectCommand | UploadPartCommand,
    expiresAt: Date,
    headers: Record<string, string> = {},
  ): Promise<PresignedRequest> {
    checkKey(key);
    const now = Date.now();
    const expiresIn = Math.min(Math.max(1, Math.ceil((expiresAt.getTime() - now) / 1_000)), MAX_SECONDS);
    const options = { expiresIn, unhoistableHeaders: new Set(Object.keys(headers)) };
    const url = await this.#bucket.ask((client, Bucket) =>
      // Of all commands it takes only those whose types it can tell apart.
      getSignedUrl(client, command(Bucket) as GetObjectCommand, options),
    );
    return { url, method, headers, expiresAt: new Date(Math.min(expiresAt.getTime(), now + MAX_SECONDS * 1_000)) };
  }
}
