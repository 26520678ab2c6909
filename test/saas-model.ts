/** A plain model of a data space, and random writes to it. */
import fc from "fast-check";
import { bitmap } from "./saas-client.ts";
import type { FlagMessage, ValueMessage } from "./saas-client.ts";

/** Values by column. */
export interface Regions {
  bytes: Map<number, number>;
  uint32s: Map<number, number>;
  flags: Map<number, FlagMessage>;
}

export interface RandomWrite extends Regions {
  user: number;
  clear: boolean;
}

export const USERS = 3;

const uint32 = fc.oneof(fc.constantFrom(0, 1, 127, 128, 2 ** 31, 2 ** 32 - 1), fc.nat({ max: 2 ** 32 - 1 }));
const byColumn = <T>(columns: number, value: fc.Arbitrary<T>, maxLength: number) =>
  fc.array(fc.tuple(fc.nat({ max: columns - 1 }), value), { maxLength }).map((entries) => new Map(entries));

/** No flag expires while the test runs: each has, or does in 2096. */
const flag = fc.record({
  flag: fc.boolean(),
  default_flag: fc.boolean(),
  expire: fc.constantFrom(0, 1, 4_000_000_000),
});

export const randomWrite: fc.Arbitrary<RandomWrite> = fc.record({
  user: fc.nat({ max: USERS - 1 }),
  clear: fc.boolean(),
  bytes: byColumn(128, fc.nat({ max: 255 }), 128),
  uint32s: byColumn(16, uint32, 16),
  flags: byColumn(8, flag, 8),
});

/** As a WriteItem or a ColumnWrite has them. */
export function regionsOf({ bytes, uint32s, flags }: Regions): object {
  const sorted = <T>(values: Map<number, T>) => [...values].sort(([a], [b]) => a - b);
  const columns = sorted(bytes).map(([column]) => column);
  return {
    write_bytes: {
      bytes: Buffer.from(sorted(bytes).map(([, value]) => value)),
      index_1: bitmap(columns.filter((column) => column < 64)),
      index_2: bitmap(columns.filter((column) => column >= 64).map((column) => column - 64)),
    },
    write_uint32s: { uint32s: sorted(uint32s).map(([, value]) => value), index_1: bitmap([...uint32s.keys()]) },
    write_flags_with_expire: {
      flags_with_expire: sorted(flags).map(([, value]) => value),
      index_1: bitmap([...flags.keys()]),
    },
  };
}

/** As a line of a bulk load. */
export function lineOf(userid: string, write: Regions): string {
  const regions = regionsOf(write) as { write_bytes: { bytes: Buffer } };
  const write_bytes = { ...regions.write_bytes, bytes: regions.write_bytes.bytes.toString("base64") };
  return `${JSON.stringify({ userid, ...regions, write_bytes })}\n`;
}

interface Columns {
  bytes: number[];
  uint32s: number[];
  flags: FlagMessage[];
}

/** Every user's columns, written one by one. */
export class SpaceModel {
  readonly users: Columns[] = Array.from({ length: USERS }, defaults);

  write(write: RandomWrite): void {
    apply(this.users, write.user, write);
  }

  writeColumns(write: RandomWrite): void {
    for (const user of this.users.keys()) apply(this.users, user, write);
  }

  /** As a read tells it now. */
  read(user: number): Columns {
    const { bytes, uint32s, flags } = this.users[user]!;
    const expired = ({ expire }: FlagMessage) => expire !== 0 && expire <= Date.now() / 1_000;
    return { bytes, uint32s, flags: flags.map((one) => (expired(one) ? { ...one, flag: one.default_flag } : one)) };
  }
}

export function columnsOf({ bytes, uint32s, flags_with_expire }: ValueMessage): Columns {
  return { bytes: [...bytes], uint32s, flags: flags_with_expire };
}

function defaults(): Columns {
  return {
    bytes: new Array<number>(128).fill(0),
    uint32s: new Array<number>(16).fill(0),
    flags: Array.from({ length: 8 }, () => ({ flag: false, default_flag: false, expire: 0 })),
  };
}

function apply(users: Columns[], user: number, { clear, bytes, uint32s, flags }: RandomWrite): void {
  if (clear) users[user] = defaults();
  const columns = users[user]!;
  for (const [column, value] of bytes) columns.bytes[column] = value;
  for (const [column, value] of uint32s) columns.uint32s[column] = value;
  for (const [column, value] of flags) columns.flags[column] = value;
}
