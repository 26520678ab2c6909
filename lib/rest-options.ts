/** What a service declares of its REST paths; the gateway finds it in the registry. */

/** What an action says of its REST path. */
export interface RestOptions {
  /** `POST /v1/queues/tasks/{ID}:cancel`; `{name=**}` takes the rest of a path, slashes included. */
  path: string;
  /**
   * What becomes of the body: `json` (the default) merges into the parameters; `bytes` is the parameter `body`, with
   * `contentType`; `object` goes to the object store, and the parameter `object` tells where: a `StoredBody`.
   */
  body?: "json" | "bytes" | "object";
  /**
   * With `bytes` or `object`: a body that is too large or cannot be read is not refused, but told to the action as the parameter
   * `bodyError`, a `BodyError`, in the place of `body` or `object`; with `object` also one that the check has refused.
   */
  bodyErrors?: "pass";
  /** With `object`: what comes as gzip is stored as it came; its size and checksums are of what it unfolds to. */
  keepEncoding?: true;
  /** Bytes of the body at most; 4 MiB by default. */
  limit?: number;
  /**
   * With `object`: full name of an action that is asked before the body is read, and refuses by throwing. It may answer
   * `BodyTerms`.
   */
  check?: string;
  /** Headers that the action needs, in lower case: it finds those that are there in `ctx.meta.headers`. */
  headers?: string[];
  /**
   * What the answer is: `json` (the default; a Buffer goes out as it is); `object`: the action names a `ServedObject`;
   * `events`: it is pulled for pages of server-sent events, as for a server stream of gRPC.
   */
  response?: "json" | "object" | "events";
}

/** Why there is no body. */
export interface BodyError {
  /** HTTP status that it would be refused with. */
  status: number;
  message: string;
  /** Of the check that has refused it: the reason in its error. */
  reason?: string;
}

/** What a `check` says of the body that may come. */
export interface BodyTerms {
  /** Bytes at most, in the place of the path's `limit`. */
  limit?: number;
}

/** What an action learns of a body that was stored; from then on the object is the action's. */
export interface StoredBody {
  key: string;
  size: number;
  sha256: string;
  contentType: string;
  /** `gzip` where the body came compressed; it is stored as it was before, unless the path keeps the encoding. */
  contentEncoding?: string;
}

/** For the `rest` of an action, where a path alone does not say enough: moleculer-web's type knows nothing of the rest. */
export function rest(options: RestOptions): { path?: string } {
  return options;
}
