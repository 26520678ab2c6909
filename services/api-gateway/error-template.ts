import type { ErrorView } from "../../lib/errors.ts";
import type { ErrorTemplate } from "../../mixins/grpc.mixin.ts";

/** Writes an error in a service's own form, with what `ErrorTemplate` says there may be in it. */
export function fillTemplate(
  template: ErrorTemplate,
  error: ErrorView,
  requestId: string,
  request: object = {},
): Record<string, unknown> {
  const facts: Record<string, string> = {
    $http: String(error.http),
    $httpText: String(error.http),
    $message: error.message,
    $type: error.type,
    $requestId: requestId,
  };
  return Object.fromEntries(
    Object.entries(template).map(([name, text]) => {
      if (text === "$http") return [name, error.http];
      const [, field] = /^\$request\.(\w+)$/.exec(text) ?? [];
      if (field) return [name, (request as Record<string, unknown>)[field]];
      return [name, text.replace(/\$[a-zA-Z]+/g, (variable) => facts[variable] ?? variable)];
    }),
  );
}
