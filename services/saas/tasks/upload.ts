/** How the blocks of bulk loads come: as objects, which the gateway stores as they are sent, so that they never cross nodes. */
import type { ActionSchema, Context } from "moleculer";
import { configOf } from "../../../lib/config.ts";
import type { BodyError, BodyTerms, StoredBody } from "../../../lib/rest-options.ts";
import { rest } from "../../../lib/rest-options.ts";
import type { Account } from "../account-store.ts";
import { isCode, refusal } from "../refusal.ts";
import type { This } from "../saas.service.ts";
import { HEADERS, credentialsOf } from "../signature.ts";
import { MEDIA_TYPES, encodeAnswer } from "../wire.ts";
import { readSha256 } from "./task-request.ts";

interface UploadParams {
  block_sha256?: unknown;
}

interface TakeParams extends UploadParams {
  object?: StoredBody;
  bodyError?: BodyError;
}

interface Meta {
  headers: Record<string, string>;
  $responseType?: string;
  $statusCode?: number;
}

const TOO_LARGE = 413;

export const uploadActions = {
  /** Asked before a block's first byte is read: whose it is, and how long it may be. */
  checkUpload: {
    async handler(this: This, { params, meta }: Context<UploadParams, Meta>): Promise<BodyTerms> {
      const { account, sha256 } = await authenticated(this, params, meta);
      if (meta.headers["content-encoding"] !== "gzip") throw refusal("READ_BODY", "content-encoding: must be gzip");
      const limit = Math.max(...(await listed(this, account, sha256)).map(({ length }) => length));
      const { exportMinFree } = configOf(this.broker);
      if ((await this.objects.freeBytes()) < exportMinFree + limit) {
        throw refusal("CMD_ERROR", "upload: there is no room left for blocks");
      }
      return { limit };
    },
  },

  /** Answers a SaasRes, whatever has become of the block. */
  httpTaskUpload: {
    rest: rest({
      path: "POST /saas/task/upload",
      body: "object",
      bodyErrors: "pass",
      keepEncoding: true,
      check: "saas.checkUpload",
      headers: [...HEADERS],
    }),
    async handler(this: This, { params, meta }: Context<TakeParams, Meta>) {
      const { object, bodyError } = params;
      const answer = await this.answered(async () => {
        if (!object) throw refused(bodyError);
        try {
          const { account, sha256 } = await authenticated(this, params, meta);
          return await this.quota.within(account, () => take(this, account, sha256, object));
        } finally {
          // Gone where it was taken.
          await this.objects.delete(object.key);
        }
      });
      meta.$responseType = MEDIA_TYPES.protobuf;
      if (bodyError?.status === TOO_LARGE && !object) meta.$statusCode = TOO_LARGE;
      return encodeAnswer(answer, "protobuf");
    },
  },
} satisfies Record<string, ActionSchema<This>>;

/** A block's signature is over its sum: that is in the URL, and says what the body is. */
async function authenticated(service: This, { block_sha256 }: UploadParams, { headers }: Meta) {
  const named = String(block_sha256 ?? "");
  const account = await service.authenticate(credentialsOf(headers), Buffer.from(named));
  return { account, sha256: readSha256("block_sha256", named) };
}

/** Throws TASK_IS_NOT_EXISTS where no task of the account waits for such a block. */
async function listed({ blocks }: This, account: Account, sha256: string) {
  const found = await blocks.listed(account.id, sha256);
  if (found.length === 0) {
    throw refusal("TASK_IS_NOT_EXISTS", "block_sha256: no task of the account lists such a block");
  }
  return found;
}

async function take(service: This, account: Account, sha256: string, { key, ...came }: StoredBody) {
  const blocks = await listed(service, account, sha256);
  if (came.sha256 !== sha256) throw refusal("DATA_ERROR", `block_sha256: that of the body is ${came.sha256}`);
  const block = blocks.find(({ length }) => length === came.size);
  if (!block) throw refusal("DATA_ERROR", `block_length: that of the body is ${came.size}`);
  await service.blocks.put(block.id, key);
  for (const id of block.tasks) {
    const task = await service.tasks.find(id);
    const whole = task?.state === "WAITING" ? await service.tasks.whole(task) : undefined;
    if (whole) await service.taskCommands.settle(whole);
  }
  return {};
}

/** Why there is no body, as a client is told it. */
function refused({ status = 0, message = "there is none", reason = "" }: Partial<BodyError> = {}) {
  if (status === TOO_LARGE) return refusal("TASK_BLOCK_SIZE", "the block has more bytes than its task says");
  return isCode(reason) ? refusal(reason, message) : refusal("READ_BODY", `the body cannot be read: ${message}`);
}
