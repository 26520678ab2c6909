/** Marks that tell one claim, or one change, from all others: no secrets, they only never come again. */
import { randomBytes } from "node:crypto";

/** Tells this process from all others. */
const PROCESS = randomBytes(9).toString("base64url");
let fences = 0;

export function nextFence(): string {
  fences += 1;
  return `${PROCESS}.${fences.toString(36)}`;
}
