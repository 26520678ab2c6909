/** What operators say of accounts and data spaces, and what they are told. */
import { z } from "zod";
import { invalidArgument } from "../../lib/errors.ts";
import type { AccountChange, DataSpace, SpaceKind, StoredAccount } from "./account-store.ts";

export type Params = Record<string, unknown>;

const ID = /^[A-Za-z0-9_-]{1,64}$/;
/** The console gives digits as a number. */
const id = z
  .union([z.string(), z.number()], "must be given")
  .transform(String)
  .refine((value) => ID.test(value), "must be 1 to 64 of [A-Za-z0-9_-]");
const limit = z.coerce.number().int("must be a whole number").min(0, "must be 0 or more").max(1_000_000);
const change = {
  token: z.string().min(6, "must be at least 6 characters").max(256, "must be at most 256 characters").optional(),
  disabled: z.boolean("must be true or false").optional(),
  qps: limit.optional(),
  concurrency: limit.optional(),
  targets: z.array(z.string().min(1, "must not be empty").max(1_000)).max(10_000, "must be at most 10,000").optional(),
  signature: z.enum(["any", "hmac-sha256"], "must be any or hmac-sha256").optional(),
};

const schemas = {
  account: z.strictObject({ account: id, ...change }),
  space: z.strictObject({
    dataspace: id,
    account: id,
    kind: z.enum(["did", "wuid"], "must be did or wuid"),
  }),
  idOfAccount: z.object({ account: id }),
  idOfSpace: z.object({ dataspace: id }),
};

/** Throws INVALID_ARGUMENT that names the field. */
export function readAccount(params: Params): { id: string; terms: AccountChange } {
  const { account, ...terms } = parse(schemas.account, params);
  const given = Object.entries(terms).filter(([, value]) => value !== undefined);
  return { id: account, terms: Object.fromEntries(given) as AccountChange };
}

export function readAccountId(params: Params): string {
  return parse(schemas.idOfAccount, params).account;
}

export function readSpace(params: Params): { id: string; account: string; kind: SpaceKind } {
  const { dataspace, account, kind } = parse(schemas.space, params);
  return { id: dataspace, account, kind };
}

export function readSpaceId(params: Params): string {
  return parse(schemas.idOfSpace, params).dataspace;
}

/** Without the token. */
export function accountView({ _id, disabled, qps, concurrency, signature, targets, createTime }: StoredAccount) {
  return { account: _id, disabled, qps, concurrency, signature, targets, createTime: createTime.toISOString() };
}

export function spaceView({ _id, account, kind, createTime }: DataSpace) {
  return { dataspace: _id, account, kind, createTime: createTime.toISOString() };
}

function parse<T>(schema: z.ZodType<T>, params: Params): T {
  const result = schema.safeParse(params);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const unknown = issue?.code === "unrecognized_keys" ? issue.keys[0] : undefined;
  if (unknown !== undefined) throw invalidArgument(unknown, "is not a field");
  throw invalidArgument(String(issue?.path[0] ?? "request"), issue?.message ?? "is not valid");
}
