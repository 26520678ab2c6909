/** What the console (`npm run repl`) knows beside Moleculer's own commands: `operations`, `queues` and `progress`, for operators. */
import type { ServiceBroker } from "moleculer";
import { viewError } from "../lib/errors.ts";

/** What moleculer-repl hands to a command. */
interface Args {
  what?: string;
  name?: string;
  channel?: string;
  options: { filter?: string; state?: string; size?: string; token?: string };
}

interface Helpers {
  table: (rows: unknown[][]) => string;
}

type Run = (broker: ServiceBroker, args: Args, helpers: Helpers) => Promise<string>;

/** An operation as REST has it. */
interface OperationView {
  name: string;
  done: boolean;
  metadata: Record<string, string | number>;
  error?: { code: number; message: string };
}

interface DataTaskView {
  task_id: string;
  name: string;
  state: string;
  submitter: string;
  dsn: string;
  create_time: string;
}

interface TrailView {
  steps: number;
  hash: string;
  broken?: number;
}

interface StatisticsView {
  Data: { Statistics: Record<string, unknown> };
}

const OPERATIONS: Record<string, Run> = { list: listOperations, show: showOperation, cancel: cancelOperation };
const QUEUES: Record<string, Run> = { stats: showStatistics };
const PROGRESS: Record<string, Run> = { list: listDataTasks, show: showDataTask, verify: verifyTrail };
const SHOWN_ERROR = 60;

export const REPL_COMMANDS = [
  {
    command: "operations <what> [name]",
    description: "Long jobs: operations list [--filter F], operations show NAME, operations cancel NAME",
    alias: ["ops"],
    options: [
      {
        option: "--filter <filter>",
        description: "list: which ones (AIP-160): 'done = false AND metadata.channel = \"mail\"'",
      },
      { option: "--size <number>", description: "list: how many, 20 by default" },
      { option: "--token <token>", description: "list: where the page before ended" },
    ],
    action: command("operations", OPERATIONS),
  },
  {
    command: "queues <what> <channel>",
    description: "Channels of the queue: queues stats CHANNEL",
    options: [],
    action: command("queues", QUEUES),
  },
  {
    command: "progress <what> [name]",
    description: "Data tasks: progress list [--state S], progress show ID, progress verify (the trail of all steps)",
    options: [
      { option: "--state <state>", description: "list: APPROVING, RUNNING, …" },
      { option: "--size <number>", description: "list: how many, 20 by default" },
      { option: "--token <token>", description: "list: where the page before ended" },
    ],
    action: command("progress", PROGRESS),
  },
];

/** Prints what came of it, or why nothing did: a console goes on. */
function command(name: string, runs: Record<string, Run>) {
  return async (broker: ServiceBroker, given: unknown, helpers: Helpers): Promise<void> => {
    const args = given as Args;
    const run = Object.hasOwn(runs, args.what ?? "") ? runs[args.what!] : undefined;
    try {
      console.log(
        run ? await run(broker, args, helpers) : `${name}: there is ${Object.keys(runs).join(", ")}; see help ${name}`,
      );
    } catch (error) {
      const { type, message } = viewError(error);
      console.log(type === "INTERNAL" ? error : `${type}: ${message}`);
    }
  };
}

async function listOperations(broker: ServiceBroker, { options }: Args, { table }: Helpers): Promise<string> {
  const { filter = "", size = "20", token = "" } = options;
  const params = { filter, pageSize: size, pageToken: token };
  const page: { operations: OperationView[]; nextPageToken: string } = await broker.call("operations.list", params);
  const rows = page.operations.map(({ name, metadata, error }) => [
    name,
    metadata["kind"],
    metadata["channel"],
    metadata["state"],
    `${metadata["progressPercent"]} %`,
    metadata["createTime"],
    error?.message.slice(0, SHOWN_ERROR) ?? "",
  ]);
  const head = ["name", "kind", "channel", "state", "progress", "created", "error"];
  const more = page.nextPageToken ? `more: --token ${page.nextPageToken}` : `${rows.length} in all`;
  return `${table([head, ...rows])}${more}`;
}

async function showOperation(broker: ServiceBroker, { name }: Args): Promise<string> {
  return JSON.stringify(await broker.call("operations.get", { name }), undefined, 2);
}

async function cancelOperation(broker: ServiceBroker, { name }: Args): Promise<string> {
  await broker.call("operations.cancel", { name });
  return `asked to cancel ${name}`;
}

async function showStatistics(broker: ServiceBroker, { channel }: Args, { table }: Helpers): Promise<string> {
  const { Data }: StatisticsView = await broker.call("queues.queryChannel", { Channel: channel });
  const rows = Object.entries(Data.Statistics).flatMap(([name, value]) =>
    typeof value === "object" && value !== null
      ? Object.entries(value).map(([part, inner]) => [`${name}.${part}`, inner])
      : [[name, value]],
  );
  return table([["statistic", "value"], ...rows]).trimEnd();
}

async function listDataTasks(broker: ServiceBroker, { options }: Args, { table }: Helpers): Promise<string> {
  const { state = "", size = "20", token = "" } = options;
  const params = { state: state.toUpperCase(), page_size: size, page_token: token };
  const page: { tasks: DataTaskView[]; next_page_token: string } = await broker.call("progress.listTasks", params);
  const rows = page.tasks.map((one) => [one.task_id, one.name, one.state, one.submitter, one.dsn, one.create_time]);
  const more = page.next_page_token ? `more: --token ${page.next_page_token}` : `${rows.length} in all`;
  return `${table([["id", "name", "state", "submitter", "data source", "created"], ...rows])}${more}`;
}

async function showDataTask(broker: ServiceBroker, { name }: Args): Promise<string> {
  return JSON.stringify(await broker.call("progress.getTaskDetail", { task_id: String(name) }), undefined, 2);
}

async function verifyTrail(broker: ServiceBroker): Promise<string> {
  const { steps, hash, broken }: TrailView = await broker.call("progress.verifyTrail");
  return broken === undefined
    ? `${steps} steps, all as they were written; the last has ${hash}`
    : `BROKEN at step ${broken}: it is missing or was altered; ${steps} steps before it are as they were written`;
}
