import { join } from "node:path";
import type { Config } from "../config.ts";
import type { ObjectsPlace } from "./open.ts";

/** Where a node with this configuration keeps its objects: in S3 where S3_ENDPOINT is set. */
export function objectsPlace(config: Config): ObjectsPlace {
  if (!config.s3Endpoint) return { kind: "directory", root: join(config.dataDir, "objects") };
  return {
    kind: "s3",
    endpoint: config.s3Endpoint,
    publicEndpoint: config.s3PublicEndpoint,
    region: config.s3Region ?? "us-east-1",
    // The configuration is refused where one of these is missing.
    bucket: config.s3Bucket!,
    accessKeyId: config.s3AccessKeyId!,
    secretAccessKey: config.s3SecretAccessKey!,
  };
}
