import { S3Client, type S3ServiceException } from "@aws-sdk/client-s3";
import { LongshoreError, notFound, unavailable } from "../errors.ts";
import { maskUrls } from "../secrets.ts";

/** A bucket, how to reach it and who asks. */
export interface S3Place {
  endpoint: string;
  /** How clients reach it, where that is another way. */
  publicEndpoint?: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
}

const CONNECT_TIMEOUT = 3_000;
/** Until the answer begins; a part of an object has to get there within it. */
const ANSWER_TIMEOUT = 120_000;
/** Longer than a client of the gateway may stall: a download at the client's pace leaves the connection idle. */
const IDLE_TIMEOUT = 150_000;
/** The SDK's 50 would let as many slow downloads hold up everything else. */
const SOCKETS = 500;

/** A bucket to send commands to, whose errors are Longshore's. */
export class S3Bucket {
  readonly #client: S3Client;
  readonly #place: S3Place;

  constructor(place: S3Place) {
    const { endpoint, region, accessKeyId, secretAccessKey } = place;
    this.#place = place;
    this.#client = new S3Client({
      endpoint,
      region,
      credentials: { accessKeyId, secretAccessKey },
      // What is not Amazon's seldom has a host name for each bucket, and may not know Amazon's newer checksums.
      forcePathStyle: true,
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      requestHandler: {
        connectionTimeout: CONNECT_TIMEOUT,
        requestTimeout: ANSWER_TIMEOUT,
        throwOnRequestTimeout: true,
        socketTimeout: IDLE_TIMEOUT,
        httpAgent: { maxSockets: SOCKETS },
        httpsAgent: { maxSockets: SOCKETS },
      },
    });
  }

  /**
   * Runs a request; its errors become NOT_FOUND for an object that is not there, PERMISSION_DENIED, RESOURCE_EXHAUSTED
   * for a full store and UNAVAILABLE for the rest, with the SDK's own as the cause.
   */
  async ask<T>(request: (client: S3Client, bucket: string) => Promise<T>): Promise<T> {
    try {
      return await request(this.#client, this.#place.bucket);
    } catch (error) {
      throw this.#explain(error as S3ServiceException & NodeJS.ErrnoException);
    }
  }

  /** Where it is, in the words of the settings. */
  toString(): string {
    const { endpoint, region, bucket } = this.#place;
    return `S3_BUCKET ${bucket}, S3_ENDPOINT ${maskUrls(endpoint)}, S3_REGION ${region}`;
  }

  /** Of the SDK's error only the code: its message may quote what was sent. */
  #explain(error: S3ServiceException & NodeJS.ErrnoException): LongshoreError {
    const status = error.$metadata?.httpStatusCode;
    // An answer to HEAD has no body to name the problem.
    const name = error.name === "Unknown" ? undefined : (error.code ?? error.name);
    const code = [name, status && `HTTP ${status}`].filter(Boolean).join(", ");
    if (error.name === "NoSuchKey" || error.name === "NotFound") return notFound(`${this}: there is no such object`);
    if (status === 401 || status === 403) {
      const message = `${this}: S3_ACCESS_KEY_ID may not do this, or its secret is wrong (${code})`;
      return new LongshoreError("PERMISSION_DENIED", message, {}, { cause: error });
    }
    if (status === 507) {
      const message = `${this}: no room left (${code})`;
      return new LongshoreError("RESOURCE_EXHAUSTED", message, { reason: "DISK_FULL" }, { cause: error });
    }
    const problem = status ? "refused the request" : "no answer";
    return unavailable(`${this}: ${problem} (${code})`, error);
  }
}
