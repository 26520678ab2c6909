/**
 * One process at a time has the store open. The lock is the kernel's, on a small SQLite file, and so goes with the process
 * however that ends; the pid beside it only tells who holds it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { failedPrecondition } from "../../errors.ts";
import { sqliteCode } from "./connection.ts";

const BUSY = 5;

/** Takes the lock of a directory; closing what it answers gives it back. */
export function lockDirectory(directory: string): DatabaseSync {
  const pidFile = join(directory, "longshore.pid");
  const lock = new DatabaseSync(join(directory, "longshore.lock"));
  try {
    lock.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA journal_mode = DELETE");
    // In this mode the first write takes the lock until the file is closed.
    lock.exec("PRAGMA user_version = 1");
  } catch (error) {
    lock.close();
    if (((sqliteCode(error) ?? 0) & 0xff) !== BUSY) throw error;
    throw failedPrecondition(`DATA_DIR: ${directory} is in use by the process ${readPid(pidFile)}`);
  }
  writeFileSync(pidFile, `${process.pid}\n`);
  return lock;
}

function readPid(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return "that is just starting";
  }
}
