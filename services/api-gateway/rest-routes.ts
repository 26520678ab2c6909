/** The REST routes that actions declare, as path patterns in the order in which they are tried. */
import type { RestOptions } from "../../lib/rest-options.ts";
import type { ErrorTemplate } from "../../mixins/grpc.mixin.ts";
import type { OfferedService } from "./offered-services.ts";

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
