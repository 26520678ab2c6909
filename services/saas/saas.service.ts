/**
 * saas: records of users in data spaces, by the public contract `saasapi` over HTTP and by its messages over gRPC.
 * Refusals are answers with a code and the status 200.
 */
import type { ActionSchema, Context, Service, ServiceSchema } from "moleculer";
import { configOf } from "../../lib/config.ts";
import { encryptionKeys } from "../../lib/encryption-keys.ts";
import { viewError } from "../../lib/errors.ts";
import { readPageSize } from "../../lib/page-size.ts";
import { readPageToken, writePageToken } from "../../lib/page-token.ts";
import type { BodyError } from "../../lib/rest-options.ts";
import { rest } from "../../lib/rest-options.ts";
import { signalOf } from "../../middlewares/cancellation.ts";
import { grpc } from "../../mixins/grpc.mixin.ts";
import type { ObjectStore } from "../../lib/objects/object-store.ts";
import type { WithDatastore } from "../../mixins/store.mixin.ts";
import { store } from "../../mixins/store.mixin.ts";
import { worker } from "../../mixins/worker.mixin.ts";
import type { Account } from "./account-store.ts";
import { AccountStore } from "./account-store.ts";
import type { Params } from "./admin.ts";
import { accountView, readAccount, readAccountId, readSpace, readSpaceId, spaceView } from "./admin.ts";
import { perform } from "./commands.ts";
import { LuaDebugger } from "./debug/lua-debugger.ts";
import { Quota } from "./quota.ts";
import { RecordStore } from "./record-store.ts";
import { codeOf, refusal } from "./refusal.ts";
import type { Credentials } from "./signature.ts";
import { HEADERS, checkSignature, checkTime, credentialsOf } from "./signature.ts";
import type { Attendant } from "./tasks/attendant.ts";
import { CHANNEL } from "./tasks/attendant.ts";
import type { BlockStore } from "./tasks/block-store.ts";
import { runOfHash } from "./tasks/load-task.ts";
import type { LoadStore } from "./tasks/load-store.ts";
import { taskActions } from "./tasks/rest-actions.ts";
import type { TaskCommands } from "./tasks/task-commands.ts";
import type { TaskStore } from "./tasks/task-store.ts";
import { openTasks, runTask } from "./tasks/tasks.ts";
import { uploadActions } from "./tasks/upload.ts";
import type { Command, Format, SaasAnswer, SaasRequest } from "./wire.ts";
import { MEDIA_TYPES, PROTO, decodeRequest, encodeAnswer, formatOf, messageOf, readMessage } from "./wire.ts";

interface SaasService extends WithDatastore {
  accounts: AccountStore;
  records: RecordStore;
  quota: Quota;
  scripts: LuaDebugger;
  objects: ObjectStore;
  tasks: TaskStore;
  blocks: BlockStore;
  loads: LoadStore;
  attendant: Attendant;
  taskCommands: TaskCommands;
  authenticate(credentials: Credentials, body: Uint8Array | undefined): Promise<Account>;
  answered(work: () => Promise<SaasAnswer>): Promise<SaasAnswer>;
  changed(): Promise<void>;
  sawEnded(hashes: string[]): Promise<void>;
}

export type This = Service & SaasService;

interface HttpParams {
  body?: Uint8Array;
  bodyError?: BodyError;
  contentType: string;
}

interface HttpMeta {
  headers: Record<string, string>;
  $responseType?: string;
  $statusCode?: number;
}

interface GrpcMeta {
  grpc?: Readonly<Record<string, string>>;
}

/** A node that is not heard of for so long has lost its loads. */
const LEASE_SECONDS = 15;
/** A write of 10,000 items with long ids has some 10 MB. */
const MAX_BODY = 16 * 1024 * 1024;

const saas: ServiceSchema<object, object, object, This> = {
  name: "saas",

  mixins: [
    store,
    grpc({ proto: PROTO, service: "saasapi.Saas" }),
    worker({
      channel: CHANNEL,
      leaseSeconds: LEASE_SECONDS,
      concurrency: ({ broker }) => configOf(broker).saasLoadConcurrency,
      handler: (service, job) => runTask(service as This, job),
      operation: { proto: PROTO, response: "saasapi.Task", describe: "describeTasks" },
    }),
  ],

  actions: {
    /** Over gRPC. */
    do: {
      async handler(this: This, ctx: Context<Record<string, unknown>, GrpcMeta>) {
        const { params, meta } = ctx;
        const answer = await this.answered(async () => {
          const account = await this.authenticate(credentialsOf(meta.grpc), undefined);
          return this.quota.within(account, () =>
            perform(readMessage(params), undefined, account, this, signalOf(ctx)),
          );
        });
        return messageOf(answer);
      },
    },

    httpRead: commandOf(["/saas/read"], ["read"]),
    httpWrite: commandOf(["/saas/write"], ["write"]),
    httpColumnWrite: commandOf(["/saas/columwrite", "/saas/column_write"], ["column_write"]),
    httpDebug: commandOf(["/saas/debug"], ["debug"]),
    httpAny: commandOf(["/saas"]),
    httpTaskCreate: commandOf(["/saas/task/create"], ["task_create"]),
    httpTaskList: commandOf(["/saas/task/list"], ["task_list"]),
    httpTaskRun: commandOf(["/saas/task/run"], ["task_run"]),
    httpTaskDelete: commandOf(["/saas/task/delete"], ["task_delete"]),
    httpTaskInfo: commandOf(["/saas/task/info"], ["task_info"]),
    ...uploadActions,

    ...taskActions,

    createAccount: {
      rest: "POST /v1/saas/accounts",
      async handler(this: This, { params }: Context<Params>) {
        const { id, terms } = readAccount(params);
        const { account, token } = await this.accounts.createAccount(id, terms);
        await this.changed();
        return { ...accountView(account), token };
      },
    },

    updateAccount: {
      rest: "PATCH /v1/saas/accounts/{account}",
      async handler(this: This, { params }: Context<Params>) {
        const { id, terms } = readAccount(params);
        const account = await this.accounts.changeAccount(id, terms);
        await this.changed();
        return accountView(account);
      },
    },

    getAccount: {
      rest: "GET /v1/saas/accounts/{account}",
      async handler(this: This, { params }: Context<Params>) {
        return accountView(await this.accounts.loadAccount(readAccountId(params)));
      },
    },

    listAccounts: {
      rest: "GET /v1/saas/accounts",
      async handler(this: This, { params }: Context<Params>) {
        const page = await pageOf(params, "accounts", (limit, after) => this.accounts.pageOfAccounts(limit, after));
        return { accounts: page.found.map(accountView), next_page_token: page.next };
      },
    },

    createDataspace: {
      rest: "POST /v1/saas/dataspaces",
      async handler(this: This, { params }: Context<Params>) {
        const { id, account, kind } = readSpace(params);
        const space = await this.accounts.createSpace(id, account, kind);
        await this.changed();
        return spaceView(space);
      },
    },

    getDataspace: {
      rest: "GET /v1/saas/dataspaces/{dataspace}",
      async handler(this: This, { params }: Context<Params>) {
        return spaceView(await this.accounts.loadSpace(readSpaceId(params)));
      },
    },

    listDataspaces: {
      rest: "GET /v1/saas/dataspaces",
      async handler(this: This, { params }: Context<Params>) {
        const account = params["account"] === undefined ? undefined : readAccountId(params);
        const page = await pageOf(params, `dataspaces/${account ?? ""}`, (limit, after) =>
          this.accounts.pageOfSpaces(limit, after, account),
        );
        return { dataspaces: page.found.map(spaceView), next_page_token: page.next };
      },
    },
  },

  events: {
    /** A hint, from any node: loads have ended. */
    async "queues.ended"(this: This, ctx: Context<{ tasks: { hash: string }[] }>) {
      await this.sawEnded(ctx.params.tasks.map(({ hash }) => hash));
    },

    "saas.accountsChanged"(this: This) {
      this.accounts?.refresh();
    },
  },

  methods: {
    /** The account that the request is from. */
    async authenticate(this: This, credentials: Credentials, body: Uint8Array | undefined): Promise<Account> {
      const { account: id } = credentials;
      const account = id === "" ? undefined : await this.accounts.account(id);
      if (!account) throw refusal("INVALID_ACCOUNT", id === "" ? "Account: is missing" : "Account: is not known");
      checkTime(credentials, this.records.nowSeconds());
      checkSignature(credentials, account.token, account.signature, body);
      if (account.disabled) throw refusal("DISABLED_ACCOUNT", `account ${id} is disabled`);
      return account;
    },

    /** The answer, without a code where it is SUCC, the default; that of the refusal where the work throws one. */
    async answered(this: This, work: () => Promise<SaasAnswer>): Promise<SaasAnswer> {
      try {
        return await work();
      } catch (error) {
        const view = viewError(error);
        if (view.type === "INTERNAL") this.logger.error("a request failed", error);
        return { code: codeOf(view), status: view.message };
      }
    },

    /** What is missed here is seen when it is due. */
    async sawEnded(this: This, hashes: string[]): Promise<void> {
      const runs = hashes.map(runOfHash).filter((run) => run !== undefined);
      try {
        for (const run of runs) await this.attendant?.attendRun(run);
      } catch (error) {
        this.logger.warn("the end of a load could not be seen to", error);
      }
    },

    /** Before the operator has its answer, this node knows; the others within a second. */
    async changed(this: This): Promise<void> {
      this.accounts.refresh();
      await this.broker.broadcast("saas.accountsChanged");
    },
  },

  async started(this: This) {
    const config = configOf(this.broker);
    this.records = await RecordStore.open(this.datastore);
    this.scripts = new LuaDebugger({ timeZone: config.saasTimeZone });
    this.accounts = await AccountStore.open(this.datastore, await encryptionKeys(config), config.saasDemo);
    await openTasks(this);
    const nodes = () =>
      this.broker.registry.getServiceList({ onlyAvailable: true }).filter(({ name }) => name === "saas").length;
    this.quota = await Quota.open(this.datastore, nodes);
  },

  async stopped(this: This) {
    await this.attendant?.stop();
    await this.scripts?.close();
  },
};

/** The action of these paths, which take these commands, or any where none are named. */
function commandOf(paths: string[], commands?: Command[]): ActionSchema {
  return {
    rest: paths.map((path) =>
      rest({ path: `POST ${path}`, body: "bytes", bodyErrors: "pass", limit: MAX_BODY, headers: [...HEADERS] }),
    ) as never,
    async handler(this: This, ctx: Context<HttpParams, HttpMeta>) {
      const { params, meta } = ctx;
      const { contentType, bodyError } = params;
      const format: Format = formatOf(contentType) ?? "protobuf";
      const answer = await this.answered(async () => {
        const body = bodyOf(params, meta.headers);
        const account = await this.authenticate(credentialsOf(meta.headers), body);
        const request = requestOf(body, contentType);
        return this.quota.within(account, () => perform(request, commands, account, this, signalOf(ctx)));
      });
      meta.$responseType = MEDIA_TYPES[format];
      if (bodyError?.status === 413) meta.$statusCode = 413;
      return encodeAnswer(answer, format);
    },
  } as unknown as ActionSchema;
}

function bodyOf({ body, bodyError }: HttpParams, headers: Record<string, string>): Uint8Array {
  const { "content-encoding": encoding = "identity" } = headers;
  if (encoding !== "identity") throw refusal("READ_BODY", `the body cannot be read: content-encoding ${encoding}`);
  if (!body) throw refusal("READ_BODY", `the body cannot be read: ${bodyError?.message ?? "there is none"}`);
  return body;
}

function requestOf(body: Uint8Array, contentType: string): SaasRequest {
  const format = formatOf(contentType);
  if (!format) {
    throw refusal("INVALID_CONTENT_TYPE", `content-type: must be ${MEDIA_TYPES.protobuf} or ${MEDIA_TYPES.json}`);
  }
  return decodeRequest(body, format);
}

/** A page of what is ordered by ids. */
async function pageOf<T extends { _id: string }>(
  params: Params,
  query: string,
  find: (limit: number, after?: string) => Promise<T[]>,
): Promise<{ found: T[]; next: string }> {
  const size = readPageSize(params["page_size"]);
  const [after] = readPageToken("page_token", String(params["page_token"] ?? ""), query) ?? [];
  const found = await find(size + 1, after as string | undefined);
  const page = found.slice(0, size);
  const last = found.length > size ? page.at(-1) : undefined;
  return { found: page, next: last ? writePageToken(query, [last._id]) : "" };
}

export default saas;
