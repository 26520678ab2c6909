/** google.longrunning.Operation as a message of gRPC, and as protobuf JSON. */
import { ERROR_DOMAIN, packError } from "../../lib/protobuf/google-rpc.ts";
import { toJson } from "../../lib/protobuf/json.ts";
import type { Kinds } from "./kinds.ts";
import type { Operation, OperationError, TypedMessage } from "./operation.ts";

const TYPE_URL = "type.googleapis.com/";

/** As the gateway takes it for gRPC. */
export function operationMessage({ name, done, metadata, error, response }: Operation, kinds: Kinds): object {
  return {
    name,
    done,
    metadata: packed(metadata, kinds),
    ...(error && { error: { code: error.code, message: error.message, details: [packError(infoOf(error, name))] } }),
    ...(response && { response: packed(response, kinds) }),
  };
}

/** As REST answers it. */
export function operationJson({ name, done, metadata, error, response }: Operation, kinds: Kinds): object {
  return {
    name,
    metadata: unpacked(metadata, kinds),
    done,
    ...(error && {
      error: {
        code: error.code,
        message: error.message,
        details: [{ "@type": `${TYPE_URL}google.rpc.ErrorInfo`, ...infoOf(error, name) }],
      },
    }),
    ...(response && { response: unpacked(response, kinds) }),
  };
}

function infoOf({ reason }: OperationError, name: string) {
  return { reason, domain: ERROR_DOMAIN, metadata: { name } };
}

function packed({ type, value }: TypedMessage, kinds: Kinds): object {
  const codec = kinds.type(type);
  return { type_url: TYPE_URL + type, value: codec.encode(codec.fromObject(value)).finish() };
}

function unpacked({ type, value }: TypedMessage, kinds: Kinds): object {
  return { "@type": TYPE_URL + type, ...toJson(kinds.type(type), value) };
}
