/** The secret that download links are signed with. */
import { randomBytes } from "node:crypto";
import { link, mkdir, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "./config.ts";
import { failedPrecondition } from "./errors.ts";

const BYTES = 32;

/**
 * SIGNING_KEY, or the key in DATA_DIR/signing.key, which the first who asks makes. Throws FAILED_PRECONDITION naming
 * DATA_DIR where that cannot be read or written.
 */
export async function signingKey(config: Pick<Config, "signingKey" | "dataDir">): Promise<Buffer> {
  if (config.signingKey) return Buffer.from(config.signingKey);
  const file = join(config.dataDir, "signing.key");
  try {
    return (await readKey(file)) ?? (await makeKey(config.dataDir, file));
  } catch (error) {
    throw failedPrecondition(`DATA_DIR ${config.dataDir} cannot hold the signing key: ${(error as Error).message}`);
  }
}

async function readKey(file: string): Promise<Buffer | undefined> {
  const key = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (key && key.length !== BYTES) throw new Error(`${file} is not a key of ours; it should hold ${BYTES} bytes`);
  return key;
}

/** Written aside and linked into place: nobody reads half a key, and of two nodes that start at once one wins. */
async function makeKey(dataDir: string, file: string): Promise<Buffer> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const draft = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  const handle = await open(draft, "wx", 0o600);
  try {
    await handle.writeFile(randomBytes(BYTES));
    await handle.sync();
    await link(draft, file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  } finally {
    await handle.close();
    await rm(draft, { force: true });
  }
  return readFile(file);
}
