/** The users of the benches, and requests for them. */
import { encodeRequest } from "./saas-load.ts";

const RECORD_BYTES = 249;

let written = 0;

export function userOf(number: number): string {
  return `user-${String(number).padStart(27, "0")}`;
}

/** Different ones of so many. */
export function someUsers(count: number, of: number): string[] {
  const users = new Set<string>();
  while (users.size < count) users.add(userOf(Math.floor(Math.random() * of)));
  return [...users];
}

export function readOf(userids: readonly string[]): Buffer {
  return encodeRequest({ read: { dataspace_id: "1", read_items: userids.map((userid) => ({ userid })) } });
}

/** Some columns of each region. */
export function writeOf(userids: readonly string[]): Buffer {
  const write_items = userids.map((userid) => ({
    userid,
    write_bytes: { bytes: Buffer.from([1, 2, 3, 4]), index_1: 15 },
    write_uint32s: { uint32s: [Math.floor(Math.random() * 2 ** 32)], index_1: 1 },
    write_flags_with_expire: { flags_with_expire: [{ flag: true }], index_1: 1 },
  }));
  return encodeRequest({ write: { dataspace_id: "1", write_items } });
}

/** As long as a record is stored. Never twice the same: neither store writes what is there already. */
export function nextRecord(): Buffer {
  const record = Buffer.alloc(RECORD_BYTES, 1);
  record.writeDoubleLE((written += 1));
  return record;
}
