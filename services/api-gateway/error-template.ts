import type { ErrorView } from "../../lib/errors.ts";
import type { ErrorTemplate } from "../../mixins/grpc.mixin.ts";

/** Writes an error in a service's own form; a `$http` that stands alone stays a number. */
export function fillTemplate(template: ErrorTemplate, error: ErrorView, requestId: string): Record<string, unknown> {
  const facts: Record<string, string> = {
    $http: String(error.http),
    $message: error.message,
    $type: error.type,
    $requestId: requestId,
  };
  return Object.fromEntries(
    Object.entries(template).map(([name, text]) => [
      name,
      text === "$http" ? error.http : text.replace(/\$[a-zA-Z]+/g, (variable) => facts[variable] ?? variable),
    ]),
  );
}
