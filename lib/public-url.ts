import type { ServiceBroker } from "moleculer";
import { configOf } from "./config.ts";

/** What links begin with, without a slash at its end: PUBLIC_URL, or where this node's own gateway listens. */
export function baseUrl(broker: ServiceBroker): string {
  const { publicUrl, host, httpPort } = configOf(broker);
  if (publicUrl) return publicUrl.replace(/\/+$/, "");
  const gateway = broker.getLocalService("api-gateway") as { addresses?: { http: string } } | undefined;
  return gateway?.addresses?.http ?? `http://${host.includes(":") ? `[${host}]` : host}:${httpPort}`;
}
