/** The embedded store's files in DATA_DIR: made, locked and opened, in the ways that make a commit survive a power cut. */
import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { failedPrecondition, LongshoreError } from "../../errors.ts";
import { Connection } from "./connection.ts";
import { lockDirectory } from "./lock.ts";
import { LogFlush } from "./log-flush.ts";

const CACHE_KIB = 8 * 1024;
const KEPT_LOG_BYTES = 64 * 1024 * 1024;

export class StoreFile {
  readonly path: string;
  readonly connection: Connection;
  readonly #lock: DatabaseSync;
  #log: number | undefined;
  #flush: LogFlush | undefined;

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
        PRAGMA synchronous = NORMAL;
        PRAGMA wal_autocheckpoint = 0;
        PRAGMA journal_size_limit = ${KEPT_LOG_BYTES};
      `);
    } catch (error) {
      lock?.close();
      if (error instanceof LongshoreError) throw error;
      throw failedPrecondition(`DATA_DIR: ${directory} cannot be used: ${(error as Error).message}`);
    }
    this.#lock = lock;
  }

  /**
   * Resolves when all that was committed is on the disk. In this mode SQLite itself flushes the log only before it moves it
   * into the file, for it would do so on the event loop, however long that takes.
   */
  flush(): Promise<void> {
    return (this.#flush ??= new LogFlush((this.#log = this.#openLog()))).flush();
  }

  /** Moves the log into the file, gives the lock back. */
  close(): void {
    if (this.#log !== undefined) closeSync(this.#log);
    this.connection.close();
    this.#lock.close();
  }

  /** The log stays the same file for as long as the connection is open. */
  #openLog(): number {
    // Windows knows no flush of a directory, and needs none.
    if (process.platform !== "win32") {
      const directory = openSync(dirname(this.path), "r");
      fsyncSync(directory);
      closeSync(directory);
    }
    return openSync(`${this.path}-wal`, "r+");
  }
}
