/** Where the record of a user is, and who can be one. */
import type { DataSpace } from "./account-store.ts";
import type { Place } from "./record-store.ts";
import { refusal } from "./refusal.ts";

/** Bytes of a user's id. */
const MAX_USERID = 512;
const APPID = /^[A-Za-z0-9_.@:-]{1,128}$/;

/** Throws DATA_ERROR where a data space that knows apps is given none. */
export function placeIn({ _id: space, kind }: DataSpace, appid: string): Place {
  if (kind === "did") return { space, app: "" };
  if (!APPID.test(appid)) throw refusal("DATA_ERROR", "appid: must be 1 to 128 of [A-Za-z0-9_.@:-]");
  return { space, app: appid };
}

/** Throws DATA_ERROR where it is no user's id. */
export function checkUser(userid: string): void {
  if (userid === "") throw refusal("DATA_ERROR", "userid: must not be empty");
  if (userid.length > MAX_USERID || Buffer.byteLength(userid) > MAX_USERID) {
    throw refusal("DATA_ERROR", `userid: must be at most ${MAX_USERID} bytes`);
  }
  // What was no UTF-8 was decoded so; ids that differ must not become one.
  if (userid.includes("\uFFFD")) throw refusal("DATA_ERROR", "userid: must be valid UTF-8");
}
