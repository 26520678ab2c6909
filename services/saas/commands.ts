/** What each command does. Refusals are thrown as errors whose reason is a code of the contract. */
import { viewError } from "../../lib/errors.ts";
import type { Account, AccountStore, DataSpace } from "./account-store.ts";
import { isEmpty, readChange } from "./change.ts";
import { debug } from "./debug/debug-command.ts";
import type { LuaDebugger } from "./debug/lua-debugger.ts";
import { checkUser, placeIn } from "./place.ts";
import type { Place, RecordStore, UserChange } from "./record-store.ts";
import { RecordsRead } from "./records-read.ts";
import { refusal } from "./refusal.ts";
import type { TaskCommands } from "./tasks/task-commands.ts";
import type {
  ColumnWriteCommand,
  Command,
  ReadCommand,
  SaasAnswer,
  SaasRequest,
  TaskMessage,
  WriteCommand,
} from "./wire.ts";

const MAX_READS = 100;
const MAX_WRITES = 10_000;

export interface Stores {
  accounts: AccountStore;
  records: RecordStore;
  scripts: LuaDebugger;
  taskCommands: TaskCommands;
}

/** Does the request's command, which must be one of these; answers the SaasRes without its code. */
export async function perform(
  request: SaasRequest,
  allowed: readonly Command[] | undefined,
  account: Account,
  stores: Stores,
  signal: AbortSignal,
): Promise<SaasAnswer> {
  const { cmd } = request;
  const { taskCommands: tasks } = stores;
  if (cmd === undefined) throw refusal("CMDS_NULL", "the request holds no command");
  if (allowed && !allowed.includes(cmd)) throw refusal("CMD_ERROR", `${cmd}: is not a command of this path`);
  switch (cmd) {
    case "read":
      return read(request.read, account, stores);
    case "write":
      return write(request.write, account, stores);
    case "column_write":
      return writeColumns(request.column_write, account, stores);
    case "debug":
      return { debug_res: await debug(request.debug, account, stores, signal) };
    case "task_create":
      return createTask(request.task_create, account, stores);
    case "task_list":
      return tasks.list(request.task_list, account);
    case "task_run":
      return tasks.run(request.task_run, account);
    case "task_delete":
      return tasks.delete(request.task_delete, account);
    case "task_info":
      return tasks.info(request.task_info, account);
  }
}

async function read(command: ReadCommand, account: Account, { accounts, records }: Stores): Promise<SaasAnswer> {
  const { read_items: items } = command;
  checkCount(items.length, MAX_READS, "read_items");
  const place = await findPlace(command, account, accounts);
  const found = await records.read(
    place,
    items.map(({ userid }) => userid),
  );
  return new RecordsRead(found, records.nowSeconds());
}

async function write(command: WriteCommand, account: Account, { accounts, records }: Stores): Promise<SaasAnswer> {
  const { write_items: items, is_clear_all_first: clear } = command;
  checkCount(items.length, MAX_WRITES, "write_items");
  const place = await findPlace(command, account, accounts);
  const changes: UserChange[] = [];
  const failed: string[] = [];
  let problem = "";
  for (const [index, item] of items.entries()) {
    try {
      checkUser(item.userid);
      changes.push({ userid: item.userid, change: readChange(item, clear) });
    } catch (error) {
      failed.push(item.userid);
      problem ||= `write_items[${index}].${viewError(error).message}`;
    }
  }
  await records.write(place, changes);
  if (failed.length === 0) return { write_res: {} };
  const status = `${failed.length} of ${items.length} items failed, the first because of ${problem}`;
  return { status, write_res: { failed_userid: failed } };
}

async function writeColumns(
  command: ColumnWriteCommand,
  account: Account,
  { accounts, records, taskCommands }: Stores,
): Promise<SaasAnswer> {
  const change = readChange(command, command.is_clear_all_first);
  if (isEmpty(change)) throw refusal("CMDS_NULL", "column_write: names no column");
  const space = await findSpace(command.dataspace_id, account, accounts);
  if (await taskCommands.runsIn(space)) {
    throw refusal("TASK_IS_RUNNING", "column_write: a task of the data space runs");
  }
  await records.writeColumns(space._id, change);
  return { write_res: {} };
}

async function createTask(task: TaskMessage, account: Account, { accounts, taskCommands }: Stores) {
  return taskCommands.create(task, await findSpace(task.dataspace_id, account, accounts), account);
}

async function findSpace(id: string, account: Account, accounts: AccountStore): Promise<DataSpace> {
  const space = await accounts.space(id);
  // Whether another account has it is not for this one to know.
  if (space?.account !== account.id) {
    throw refusal("DATASPACE_NOT_EXISTS", "dataspace_id: the account has no such data space");
  }
  return space;
}

async function findPlace(
  { dataspace_id, appid }: { dataspace_id: string; appid: string },
  account: Account,
  accounts: AccountStore,
): Promise<Place> {
  return placeIn(await findSpace(dataspace_id, account, accounts), appid);
}

function checkCount(count: number, most: number, field: string): void {
  if (count === 0) throw refusal("CMDS_NULL", `${field}: is empty`);
  if (count > most) throw refusal("CMDS_LIMIT", `${field}: holds ${count}, more than ${most}`);
}
