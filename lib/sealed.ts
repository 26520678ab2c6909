/** Texts that only those who have a secret can read, or change unnoticed: AES-256-GCM. */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

/** What stands before a sealed text where a plain one may stand as well. */
export const SEALED = "sealed:";

const ALGORITHM = "aes-256-gcm";
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Answers the text sealed, in base64url; another time it is another. */
export function seal(text: string, secret: Buffer): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(ALGORITHM, keyOf(secret), iv);
  const sealed = [cipher.update(text, "utf8"), cipher.final()];
  return Buffer.concat([iv, cipher.getAuthTag(), ...sealed]).toString("base64url");
}

/** Throws where the text was sealed with another secret, or has been changed. */
export function unseal(sealed: string, secret: Buffer): string {
  const bytes = Buffer.from(sealed, "base64url");
  const decipher = createDecipheriv(ALGORITHM, keyOf(secret), bytes.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES), undefined, "utf8") + decipher.final("utf8");
}

/** By whichever of the secrets it was sealed with; undefined where by none of them. */
export function unsealWith(sealed: string, secrets: readonly Buffer[]): string | undefined {
  for (const secret of secrets) {
    try {
      return unseal(sealed, secret);
    } catch {
      // Sealed with another.
    }
  }
  return undefined;
}

/** The secret has other uses, each with a key of its own. */
function keyOf(secret: Buffer): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, "", "longshore sealed texts", 32));
}
