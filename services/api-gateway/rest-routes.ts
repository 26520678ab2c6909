/** The REST routes that actions declare, as path patterns in the order in which they are tried. */
import type { ErrorTemplate } from "../../mixins/grpc.mixin.ts";
import type { OfferedService } from "./offered-services.ts";

/** What an action says of its REST path. */
export interface RestOptions {
  /** `POST /v1/queues/tasks/{ID}:cancel`; `{name=**}` takes the rest of a path, slashes included. */
  path: string;
  /**
   * What becomes of the body: `json` (the default) merges into the parameters; `bytes` is the parameter `body`, with
   * `contentType`; `object` goes to the object store, and the parameter `object` tells where: a `StoredBody`.
   */
  body?: "json" | "bytes" | "object";
  /** Bytes of the body at most; 4 MiB by default. */
  limit?: number;
  /** With `object`: full name of an action that is asked before the body is read, and refuses by throwing. */
  check?: string;
  /** Headers that the action needs, in lower case: it finds those that are there in `ctx.meta.headers`. */
  headers?: string[];
  /**
   * What the answer is: `json` (the default; a Buffer goes out as it is); `object`: the action names a `ServedObject`;
   * `events`: it is pulled for pages of server-sent events, as for a server stream of gRPC.
   */
  response?: "json" | "object" | "events";
}

declare module "moleculer-web" {
  // What an action may say in its `rest`: the type that moleculer-web gives it knows nothing of ours.
  interface RestSchema {
    body?: RestOptions["body"];
    limit?: number;
    check?: string;
    headers?: string[];
    response?: RestOptions["response"];
  }
}

export type RestDeclaration = string | RestOptions;

export interface RestRoute {
  method: string;
  /** For path-to-regexp. */
  pattern: string;
  action: string;
  options: RestOptions;
  errors?: ErrorTemplate;
}

/** Every route of a service; a GET answers HEAD too. */
export function restRoutes({ actions, restErrors }: OfferedService): RestRoute[] {
  return actions.flatMap(({ name, rest }) =>
    rest.flatMap((declaration) => {
      const options = typeof declaration === "string" ? { path: declaration } : declaration;
      const [method = "", path = ""] = options.path.split(" ");
      const methods = method === "GET" ? ["GET", "HEAD"] : [method];
      return methods.map((one) => ({
        method: one,
        pattern: toPattern(path),
        action: name,
        options,
        errors: restErrors,
      }));
    }),
  );
}

/** A path template as path-to-regexp writes it. */
export function toPattern(template: string): string {
  return template.replace(/\{(\w+)(=\*\*)?\}|[{}()[\]+?!:*\\]/g, (found, name?: string, rest?: string) => {
    if (name === undefined) return `\\${found}`;
    return rest ? `*${name}` : `:${name}`;
  });
}

/** Sorts what says more before what says less: words before variables, variables before a rest, longer before shorter. */
export function bySpecificity(a: RestRoute, b: RestRoute): number {
  const left = a.pattern.split("/");
  const right = b.pattern.split("/");
  for (let index = 0; index < Math.min(left.length, right.length); index++) {
    const difference = vagueness(left[index]!) - vagueness(right[index]!);
    if (difference !== 0) return difference;
  }
  return right.length - left.length;
}

function vagueness(segment: string): number {
  const kind = segment.startsWith("*") ? 4 : segment.startsWith(":") ? 2 : 0;
  // `{ID}:cancel` is tried before `{ID}`.
  return segment.includes("\\:") ? kind - 1 : kind;
}
