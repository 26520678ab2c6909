/** Why a statement or a filter is refused; whoever knows its field makes an INVALID_ARGUMENT of it. */
export class SqlProblem extends Error {
  override readonly name = "SqlProblem";
}

/** Where something stands, as people count: from 1. */
export function place(at: number): string {
  return `at character ${at + 1}`;
}
