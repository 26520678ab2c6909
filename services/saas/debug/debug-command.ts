/** Debug: a script is run with the data of a user, the server's or the request's. */
import { invalidArgument } from "../../../lib/errors.ts";
import type { Account, SpaceKind } from "../account-store.ts";
import { readChange } from "../change.ts";
import type { Stores } from "../commands.ts";
import { checkUser, placeIn } from "../place.ts";
import { FLAGS, UINT32S, UserRecord } from "../record.ts";
import type { DebugCommand } from "../wire.ts";
import type { UserData } from "./script.ts";

/** Answers the DebugRes; what is wrong with the script is in it. */
export async function debug(
  command: DebugCommand,
  account: Account,
  stores: Stores,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const { lua_script: script, use_server_data: useServer, server_did, appid, server_openid } = command;
  const stored = (kind: SpaceKind, userid: string) => storedRecord(stores, account, { kind, appid, userid });
  const data = {
    did: useServer ? await stored("did", server_did) : localRecord("local_did_data", command.local_did_data),
    openid: useServer
      ? await stored("wuid", server_openid)
      : localRecord("local_openid_data", command.local_openid_data),
  };
  const now = stores.records.nowSeconds();
  const scriptData = { did: dataOf(data.did, now), openid: dataOf(data.openid, now), targets: account.targets };
  const outcome = await stores.scripts.run(script, scriptData, { signal, owner: account.id });
  return { PrintOutput: outcome.printOutput, Error: outcome.error, TargetsOutput: outcome.targetsOutput };
}

/** Of the account's first data space of that kind; a user who is not named, or is not known, has defaults. */
async function storedRecord(
  { accounts, records }: Stores,
  account: Account,
  { kind, appid, userid }: { kind: SpaceKind; appid: string; userid: string },
): Promise<UserRecord> {
  const space = userid === "" ? undefined : await accounts.firstSpace(account.id, kind);
  if (!space) return new UserRecord();
  checkUser(userid);
  const [record] = await records.read(placeIn(space, appid), [userid]);
  return record!;
}

function localRecord(field: string, regions: DebugCommand["local_did_data"]): UserRecord {
  const record = new UserRecord();
  if (!regions) return record;
  try {
    record.apply(readChange(regions, false));
  } catch (error) {
    throw invalidArgument(field, (error as Error).message);
  }
  return record;
}

function dataOf(record: UserRecord, nowSeconds: number): UserData {
  return {
    bytes: Uint8Array.from(record.bytes),
    uint32s: Uint32Array.from({ length: UINT32S }, (_, column) => record.uint32(column)),
    flags: Array.from({ length: FLAGS }, (_, column) => record.flagAt(column, nowSeconds).flag),
  };
}
