/** How `npm start` and the image run Node, for scripts and tests that start the program as they do. */
import { join } from "node:path";

export const COMPILE_CACHE = ["--import", join(import.meta.dirname, "compile-cache.js")];

export const NODE_FLAGS = [
  // Node would let the young generation grow to 64 MB and keep it: a node at rest needs none of it.
  "--max-semi-space-size=16",
  // What is made in batches outlives a collection of a young generation that is still small. V8 would take it for what lives long
  // and put all that comes after where only a full collection looks: a bulk load took 350 MB in place of 245.
  "--no-allocation-site-pretenuring",
  ...COMPILE_CACHE,
];

/** The program itself. */
export const START = join(import.meta.dirname, "start.ts");
