/** Documents that are read by their ids, changed by whoever asks, and written in their places. */
import { deserialize, serialize } from "./documents.ts";
import type { Changing } from "./wire.ts";
import type { Table } from "./table.ts";

/** Calls for all changes before it writes the first, so that a change that throws leaves nothing half done. */
export function changeEach(table: Table, { ids, change }: Changing): void {
  const rows = table.rowsOf(ids, Infinity);
  const writes: (() => void)[] = [];
  for (const id of ids) {
    const row = rows.get(id);
    const before = row && deserialize(row.bytes);
    const keys = before && table.keysOf(before);
    const after = change(before ?? null, id);
    if (!after) continue;
    const bytes = serialize(after);
    writes.push(row && keys ? () => table.replace(row.rowid, keys, after, bytes) : () => table.insert(bytes));
  }
  for (const write of writes) write();
}
