/** Removes documents whose time has passed, as the time-to-live indexes say. */
import type { Connection } from "./connection.ts";
import { encodeKey } from "./index-key.ts";
import type { Index, Table } from "./table.ts";

const BATCH = 500;

/** Removes up to a batch from the table; true where there may be more. Within a transaction. */
export function removeExpired(connection: Connection, table: Table, now: number): boolean {
  return table.indexes.map((index) => removeBatch(connection, table, index, now)).some((removed) => removed === BATCH);
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

/** True where any of the table's documents can expire. */
export function canExpire(table: Table): boolean {
  return table.indexes.some((index) => index.expireAfterSeconds !== undefined);
}
