import type { Config } from "./config.ts";
import { signingKey } from "./signing-key.ts";

/** The secrets that seal what is kept: the first seals, any may open; the signing key is the last of them, or the only one. */
export async function encryptionKeys(
  config: Pick<Config, "encryptionKeys" | "signingKey" | "dataDir">,
): Promise<readonly Buffer[]> {
  return [...(config.encryptionKeys ?? []).map((key) => Buffer.from(key)), await signingKey(config)];
}
