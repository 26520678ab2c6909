/** A filter that is not well formed, or too large; the message says where and what, for whoever wrote it. */
export class FilterError extends Error {
  /** Of the character (code point) that it is about, from 1; one more than there are for the end. */
  readonly position: number;

  constructor(position: number, problem: string) {
    super(`at ${position}: ${problem}`);
    this.name = "FilterError";
    this.position = position;
  }
}
