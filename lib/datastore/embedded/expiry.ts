/** Removes documents whose time has passed, as the time-to-live indexes say. */
import type { Connection } from "./connection.ts";
import { encodeKey } from "./index-key.ts";
import type { Index, Table } from "./table.ts";

/** Few enough for the event loop. */
const BATCH = 200;

/** Removes up to a batch from each index of the tables; true where there may be more. Throws what fails the storage. */
export function removeAllExpired(connection: Connection, tables: Iterable<Table>, now: number): boolean {
  let more = false;
  for (const table of tables) {
    for (const index of table.indexes) {
      if (index.expireAfterSeconds !== undefined && removeBatch(connection, table, index, now) === BATCH) more = true;
    }
  }
  return more;
}

function removeBatch(connection: Connection, table: Table, index: Index, now: number): number {
  const [path] = Object.keys(index.key);
  // A wild column still holds the keys of all single dates.
  const column = table.columns.find((one) => one.path === path)?.name;
  if (index.expireAfterSeconds === undefined || column === undefined) return 0;
  const oldest = encodeKey(new Date(-8.64e15));
  const limit = encodeKey(new Date(now - index.expireAfterSeconds * 1_000));
  if (oldest === undefined || limit === undefined) return 0;
  const within = [`${column} >= ?`, `${column} <= ?`, ...(index.where ? [index.where] : [])].join(" AND ");
  const sql = `DELETE FROM ${table.name} WHERE rowid IN (SELECT rowid FROM ${table.name} WHERE ${within} LIMIT ${BATCH})`;
  return connection.run(sql, [oldest, limit]);
}
