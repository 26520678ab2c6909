import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs `body` with a directory of its own, and removes it whatever happens. */
export async function withTempDir<T>(body: (path: string) => Promise<T>): Promise<T> {
  const path = await mkdtemp(join(tmpdir(), "longshore-test-"));
  try {
    return await body(path);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}
