/** The embedded store's files in DATA_DIR: made, locked and opened, in the ways that make a commit survive a power cut. */
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { failedPrecondition, LongshoreError } from "../../errors.ts";
import { Connection } from "./connection.ts";
import { lockDirectory } from "./lock.ts";

const CACHE_KIB = 8 * 1024;
/** Pages of 4 KiB after which a commit also moves the log into the file. */
const CHECKPOINT_PAGES = 4_000;
const KEPT_LOG_BYTES = 64 * 1024 * 1024;

export class StoreFile {
  readonly path: string;
  readonly connection: Connection;
  readonly #lock: DatabaseSync;

  /** Throws FAILED_PRECONDITION that names DATA_DIR where the directory cannot be used or another process uses it. */
  constructor(directory: string) {
    this.path = join(directory, "longshore.db");
    let lock: DatabaseSync | undefined;
    try {
      // Others on the machine have no business in what clients store.
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      lock = lockDirectory(directory);
      this.connection = new Connection(this.path, { readOnly: false, cacheKiB: CACHE_KIB });
      this.connection.database.exec(`
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};
        PRAGMA journal_size_limit = ${KEPT_LOG_BYTES};
      `);
    } catch (error) {
      lock?.close();
      if (error instanceof LongshoreError) throw error;
      throw failedPrecondition(`DATA_DIR: ${directory} cannot be used: ${(error as Error).message}`);
    }
    this.#lock = lock;
  }

  /** Bytes of the write-ahead log. */
  logSize(): number {
    return statSync(`${this.path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Moves the log into the file, gives the lock back. */
  close(): void {
    this.connection.close();
    this.#lock.close();
  }
}
