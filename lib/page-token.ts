/** Page tokens: where the next page begins, bound to what was asked for (https://google.aip.dev/158). */
import { createHash } from "node:crypto";
import { invalidArgument } from "./errors.ts";

type Position = (string | number)[];

const CHECK_LENGTH = 12;

/** `query` is whatever must be the same for all pages. */
export function writePageToken(query: unknown, position: Position): string {
  const text = JSON.stringify(position);
  return Buffer.from(check(query, text) + text).toString("base64url");
}

/** The position; undefined for an empty token. Throws for one that was altered, or that belongs to another query. */
export function readPageToken(field: string, token: string, query: unknown): Position | undefined {
  if (token === "") return undefined;
  const text = Buffer.from(token, "base64url").toString();
  const position = text.slice(CHECK_LENGTH);
  if (token.length > 4_096 || text.slice(0, CHECK_LENGTH) !== check(query, position)) {
    throw invalidArgument(field, "is not the token of a page of this query");
  }
  return JSON.parse(position) as Position;
}

/** Not a secret: it tells a mistake, not an attack, for a position gives no more than the query itself. */
function check(query: unknown, text: string): string {
  return createHash("sha256").update(JSON.stringify(query)).update(text).digest("base64url").slice(0, CHECK_LENGTH);
}
