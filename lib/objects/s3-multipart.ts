/** S3's own multipart uploads. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  paginateListParts,
} from "@aws-sdk/client-s3";
import type { Multipart, PartOfUpload, PartsUpload, StoredPart } from "./multipart.ts";
import { checkKey } from "./object-store.ts";
import type { PresignedRequest } from "./presigner.ts";
import { S3Bucket, type S3Place } from "./s3-bucket.ts";
import type { S3Presigner } from "./s3-presigner.ts";

export class S3Multipart implements Multipart {
  readonly #bucket: S3Bucket;
  readonly #presigner: S3Presigner;

  constructor(place: S3Place, presigner: S3Presigner) {
    this.#bucket = new S3Bucket(place);
    this.#presigner = presigner;
  }

  async begin(key: string): Promise<string> {
    checkKey(key);
    const { UploadId = "" } = await this.#bucket.ask((client, Bucket) =>
      client.send(new CreateMultipartUploadCommand({ Bucket, Key: key })),
    );
    return UploadId;
  }

  presign(part: PartOfUpload, expiresAt: Date): Promise<PresignedRequest> {
    return this.#presigner.part(part, expiresAt);
  }

  parts({ key, upload }: PartsUpload): Promise<StoredPart[]> {
    return this.#bucket.ask(async (client, Bucket) => {
      const parts: StoredPart[] = [];
      for await (const { Parts = [] } of paginateListParts({ client }, { Bucket, Key: key, UploadId: upload })) {
        for (const { PartNumber = 0, Size = 0, ETag = "" } of Parts) {
          parts.push({ number: PartNumber, size: Size, etag: ETag });
        }
      }
      return parts;
    });
  }

  async complete({ key, upload }: PartsUpload, parts: StoredPart[], signal?: AbortSignal): Promise<void> {
    const MultipartUpload = { Parts: parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) };
    await this.#bucket.ask((client, Bucket) =>
      client.send(new CompleteMultipartUploadCommand({ Bucket, Key: key, UploadId: upload, MultipartUpload }), {
        abortSignal: signal,
      }),
    );
  }

  async abort({ key, upload }: PartsUpload): Promise<void> {
    await this.#bucket.ask((client, Bucket) =>
      client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: upload })).catch((error: Error) => {
        if (error.name !== "NoSuchUpload") throw error;
      }),
    );
  }
}
