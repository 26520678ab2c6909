/** Signatures of presigned requests, which s3rver does not look at: docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
import { createHash, createHmac } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** Whether a request has the signature that its query claims; one that was not presigned has nothing to be wrong. */
export function isPresignedRight({ method, url = "", headers }: IncomingMessage, secret: string): boolean {
  const { pathname, searchParams } = new URL(url, "http://s3");
  const given = searchParams.get("X-Amz-Signature");
  if (given === null) return true;
  const [, date = "", region = "", service = ""] = searchParams.get("X-Amz-Credential")!.split("/");
  const names = searchParams.get("X-Amz-SignedHeaders")!;
  const query = [...searchParams]
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join("&");
  const signed = names.split(";").map((name) => `${name}:${String(headers[name] ?? "").trim()}\n`);
  const request = [method, pathname, query, signed.join(""), names, "UNSIGNED-PAYLOAD"].join("\n");
  const scope = `${date}/${region}/${service}/aws4_request`;
  const digest = createHash("sha256").update(request).digest("hex");
  const text = ["AWS4-HMAC-SHA256", searchParams.get("X-Amz-Date"), scope, digest].join("\n");
  const key = [date, region, service, "aws4_request"].reduce<Buffer>(hmac, Buffer.from(`AWS4${secret}`));
  return hmac(key, text).toString("hex") === given;
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
