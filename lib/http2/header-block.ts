/** Header fields as the bytes of a block (HPACK, RFC 7541). */

/** Literals that enter no table, so that a block is the same on every connection. */
export function headerBlock(fields: Iterable<readonly [name: string, value: string]>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of fields) parts.push(LITERAL, ...text(name), ...text(value));
  return Buffer.concat(parts);
}

const LITERAL = Buffer.of(0x00);

function text(value: string): [Buffer, Buffer] {
  const bytes = Buffer.from(value, "latin1");
  return [length(bytes.length), bytes];
}

/** A string's length: a number of 7 bits, and what is beyond them in groups of 7, the lowest first. */
function length(value: number): Buffer {
  if (value < 127) return Buffer.of(value);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}
