import { invalidArgument } from "./errors.ts";

const DEFAULT_PAGE_SIZE = 50;
const MAX_PAGE_SIZE = 1_000;

/** 0 is the default, more than there may be is what there may be (https://google.aip.dev/158). */
export function readPageSize(value: unknown): number {
  const size = Number(value ?? 0);
  if (!Number.isInteger(size) || size < 0) throw invalidArgument("page_size", "must be a whole number, 0 or more");
  return Math.min(size, MAX_PAGE_SIZE) || DEFAULT_PAGE_SIZE;
}
