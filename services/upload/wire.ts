/** Uploads as the messages of longshore.v1 and woxqaq.v1, and those as protobuf JSON. */
import type protobuf from "protobufjs";
import type { PresignedRequest } from "../../lib/objects/presigner.ts";
import { toJson } from "../../lib/protobuf/json.ts";
import { loadProto, readProto } from "../../lib/protobuf/proto-source.ts";
import { timestampOf } from "../../lib/protobuf/timestamp.ts";
import type { Upload } from "./upload.ts";
import { keyOf } from "./upload.ts";

export type Message = Record<string, unknown>;

const uploads = loadProto(readProto("longshore/v1/uploads.proto"));
const upload = loadProto(readProto("woxqaq/v1/upload.proto"));

/** The messages that REST takes and answers. */
export const TYPES = {
  preSignRequest: upload.lookupType("woxqaq.v1.PreSignRequest"),
  preSign: upload.lookupType("woxqaq.v1.PreSignResponse"),
  createRequest: uploads.lookupType("longshore.v1.CreateUploadRequest"),
  listRequest: uploads.lookupType("longshore.v1.ListUploadsRequest"),
  getRequest: uploads.lookupType("longshore.v1.GetUploadRequest"),
  partRequest: uploads.lookupType("longshore.v1.PresignPartRequest"),
  upload: uploads.lookupType("longshore.v1.Upload"),
  list: uploads.lookupType("longshore.v1.ListUploadsResponse"),
  presigned: uploads.lookupType("longshore.v1.PresignedRequest"),
  empty: uploads.lookupType("google.protobuf.Empty"),
};

export function json(type: protobuf.Type, message: Message): object {
  return toJson(type, message);
}

export function preSignMessage(id: string, { url, method, headers, expiresAt }: PresignedRequest): Message {
  return { url, key: keyOf(id), method, headers, expire_time: expiresAt.toISOString() };
}

export function presignedMessage({ url, method, headers, expiresAt }: PresignedRequest): Message {
  return { url, method, headers, expire_time: timestampOf(expiresAt.toISOString()) };
}

export function uploadMessage(one: Upload): Message {
  const { _id: id, state, name, contentType, size, sha256, parts, claimedBy, completeTime } = one;
  return {
    id,
    key: keyOf(id),
    state,
    name,
    content_type: contentType,
    ...(size !== undefined && { size }),
    sha256: sha256 ?? "",
    part_count: parts?.count ?? 0,
    part_size: parts?.size ?? 0,
    claimed_by: claimedBy ?? "",
    create_time: timestampOf(one.createTime.toISOString()),
    expire_time: timestampOf(one.expireTime.toISOString()),
    ...(completeTime && { complete_time: timestampOf(completeTime.toISOString()) }),
  };
}
