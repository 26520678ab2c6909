/** The Huffman code of HPACK (RFC 7541, appendix B), read only: what we write is not worth the time to compress it. */

/** Bits of each octet's code, and of the end of string's. The code is canonical: nothing else is needed to make it. */
const LENGTHS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6,
  5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23,
  22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22,
  23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26,
  20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27,
  27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
  27, 27, 27, 26, 30,
];
const END_OF_STRING = 256;
const LONGEST_PADDING = 7;
/** In bits. */
const SHORTEST_CODE = 5;

/** Two children a node: the place of a node, or of a leaf the octet's complement; 0 is none. */
const tree = buildTree();

function buildTree(): Int16Array {
  const nodes = [0, 0];
  const symbols = LENGTHS.map((_, symbol) => symbol).sort((a, b) => LENGTHS[a]! - LENGTHS[b]! || a - b);
  let code = 0;
  let length = LENGTHS[symbols[0]!]!;
  for (const symbol of symbols) {
    code <<= LENGTHS[symbol]! - length;
    length = LENGTHS[symbol]!;
    let node = 0;
    for (let bit = length - 1; bit > 0; bit--) {
      const child = node + ((code >>> bit) & 1);
      if (!nodes[child]) nodes[child] = nodes.push(0, 0) - 2;
      node = nodes[child]!;
    }
    nodes[node + (code & 1)] = ~symbol;
    code++;
  }
  return Int16Array.from(nodes);
}

/** The text of a coded string, an octet a character; `undefined` where it is malformed. */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string | undefined {
  const octets = Buffer.allocUnsafe(Math.floor(((end - start) * 8) / SHORTEST_CODE));
  let length = 0;
  let node = 0;
  /** Bits since the last whole symbol, and whether all of them were ones, as padding is. */
  let bits = 0;
  let ones = true;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    for (let shift = 7; shift >= 0; shift--) {
      const bit = (byte >>> shift) & 1;
      node = tree[node + bit]!;
      bits++;
      if (bit === 0) ones = false;
      if (node >= 0) continue;
      if (~node === END_OF_STRING) return undefined;
      octets[length++] = ~node;
      node = 0;
      bits = 0;
      ones = true;
    }
  }
  return ones && bits <= LONGEST_PADDING ? octets.toString("latin1", 0, length) : undefined;
}
