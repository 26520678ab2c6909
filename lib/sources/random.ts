/** Numbers that look random, and are the same for the same seed, stream and place on every machine. */
export class Random {
  readonly #seed: number;
  #a = 0;
  #b = 0;
  #c = 0;
  #counter = 1;

  /** Streams of one seed, such as those of two columns, have nothing to do with each other. */
  constructor(seed: number, stream: number) {
    this.#seed = mix(mix(seed >>> 0) ^ mix(Math.floor(seed / 2 ** 32)) ^ Math.imul(stream + 1, 0x9e3779b1));
  }

  /** What follows depends only on seed, stream and this place, which is a whole number. */
  moveTo(place: number): void {
    this.#a = this.#seed;
    this.#b = mix(place >>> 0);
    this.#c = mix(Math.floor(place / 2 ** 32) ^ this.#seed);
    this.#counter = 1;
    for (let round = 0; round < 12; round++) this.#next32();
  }

  /** From 0 up to 1, without 1; with all 53 bits. */
  next(): number {
    return ((this.#next32() >>> 5) * 0x4000000 + (this.#next32() >>> 6)) / 2 ** 53;
  }

  /** A whole number, both ends included; there must be at most 2^53 between them. */
  integer(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  /** sfc32, of PractRand (https://pracrand.sourceforge.net). */
  #next32(): number {
    const result = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result >>> 0;
  }
}

/** Every bit of the result depends on every bit of the number (the finalizer of MurmurHash3). */
function mix(number: number): number {
  let mixed = number | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

const ROUNDS = 4;

/**
 * Another order of the numbers from 0 to `size` - 1, in which each is once: the one at a place, for a seed and a stream. A
 * Feistel network over the next power of four, walked until it is in the range.
 */
export function permuted(place: number, size: number, seed: number, stream: number): number {
  let bits = 1;
  while (4 ** bits < size) bits += 1;
  const half = 2 ** bits;
  let number = place;
  do {
    let [left, right] = [Math.floor(number / half), number % half];
    for (let round = 0; round < ROUNDS; round++) {
      const key = mix(mix(seed ^ Math.imul(stream + 1, 0x9e3779b1)) ^ mix(Math.floor(seed / 2 ** 32) + round));
      [left, right] = [right, left ^ ((mix(right ^ key) >>> 0) % half)];
    }
    number = left * half + right;
  } while (number >= size);
  return number;
}
