/** Accounts, with their tokens sealed, and the data spaces that are theirs. */
import { randomBytes } from "node:crypto";
import type { Collection, Datastore, IndexDescription } from "../../lib/datastore/datastore.ts";
import { isDuplicateKey } from "../../lib/datastore/datastore.ts";
import { LongshoreError, failedPrecondition, notFound } from "../../lib/errors.ts";
import { seal, unsealWith } from "../../lib/sealed.ts";
import type { SignatureKind } from "./signature.ts";

interface AccountTerms {
  disabled: boolean;
  /** Requests a second; 0: any number. */
  qps: number;
  /** Requests at a time; 0: any number. */
  concurrency: number;
  signature: SignatureKind;
  /** What scripts find as the account's targets. */
  targets: readonly string[];
}

export interface Account extends AccountTerms {
  id: string;
  token: string;
}

export interface StoredAccount extends AccountTerms {
  _id: string;
  token: string;
  createTime: Date;
}

export type SpaceKind = "did" | "wuid";

export interface DataSpace {
  _id: string;
  account: string;
  kind: SpaceKind;
  createTime: Date;
}

export type AccountChange = Partial<AccountTerms & { token: string }>;

/** How old what a request is checked against may be. */
const FRESH_MS = 1_000;
const MAX_KEPT = 10_000;
const TOKEN_BYTES = 24;

const TERMS: AccountTerms = { disabled: false, qps: 0, concurrency: 0, signature: "any", targets: [] };
const DEMO_ACCOUNT: Account = { ...TERMS, id: "2000", token: "ABCDEF" };
const DEMO_SPACES: readonly DataSpace[] = (["did", "wuid"] as const).map((kind, index) => ({
  _id: String(index + 1),
  account: DEMO_ACCOUNT.id,
  kind,
  createTime: new Date(0),
}));

const SPACE_INDEXES: IndexDescription[] = [
  { key: { account: 1, _id: 1 }, name: "account" },
  { key: { account: 1, kind: 1, _id: 1 }, name: "kind" },
];

export class AccountStore {
  readonly #accounts: Collection<StoredAccount>;
  readonly #spaces: Collection<DataSpace>;
  readonly #keys: readonly Buffer[];
  readonly #now: () => Date;
  /** Not stored: who turns the demonstration off is rid of it. */
  readonly #demo: boolean;
  readonly #kept = new Map<string, { value: Account | DataSpace; until: number }>();

  private constructor(
    accounts: Collection<StoredAccount>,
    spaces: Collection<DataSpace>,
    { keys, demo, now }: { keys: readonly Buffer[]; demo: boolean; now: () => Date },
  ) {
    this.#accounts = accounts;
    this.#spaces = spaces;
    this.#keys = keys;
    this.#demo = demo;
    this.#now = now;
  }

  static async open(datastore: Datastore, keys: readonly Buffer[], demo: boolean): Promise<AccountStore> {
    const accounts = await datastore.collection<StoredAccount>("saas_accounts");
    const spaces = await datastore.collection<DataSpace>("saas_dataspaces", SPACE_INDEXES);
    return new AccountStore(accounts, spaces, { keys, demo, now: () => datastore.now() });
  }

  /** Forgets what was read: something has changed. */
  refresh(): void {
    this.#kept.clear();
  }

  /** For a request: at most a second old. */
  account(id: string): Promise<Account | undefined> {
    return this.#keep(`account/${id}`, async () => {
      const stored = await this.#accounts.findOne({ _id: id });
      if (!stored) return this.#demo && id === DEMO_ACCOUNT.id ? DEMO_ACCOUNT : undefined;
      const token = unsealWith(stored.token, this.#keys);
      if (token === undefined) {
        throw failedPrecondition(`the token of account ${id} was sealed with a key that is not in ENCRYPTION_KEYS`);
      }
      const { disabled, qps, concurrency, signature, targets } = stored;
      return { id, token, disabled, qps, concurrency, signature, targets };
    });
  }

  /** For a request: at most a second old. */
  space(id: string): Promise<DataSpace | undefined> {
    return this.#keep(`space/${id}`, async () => {
      const demo = this.#demo ? DEMO_SPACES.find(({ _id }) => _id === id) : undefined;
      return (await this.#spaces.findOne({ _id: id })) ?? demo;
    });
  }

  /** Answers the token as well, which is made up where none is given. */
  async createAccount(id: string, { token = newToken(), ...terms }: AccountChange) {
    const stored = { ...TERMS, ...terms, _id: id, token: this.#seal(token), createTime: this.#now() };
    await insert(this.#accounts, stored, `account ${id}`);
    return { account: stored, token };
  }

  async changeAccount(id: string, { token, ...terms }: AccountChange): Promise<StoredAccount> {
    const changed = { ...terms, ...(token !== undefined && { token: this.#seal(token) }) };
    if (Object.keys(changed).length === 0) return this.loadAccount(id);
    const account = await this.#accounts.findOneAndUpdate({ _id: id }, { $set: changed }, { returnDocument: "after" });
    if (!account) throw notFound(`account: there is no account ${id}`);
    return account;
  }

  async loadAccount(id: string): Promise<StoredAccount> {
    const account = await this.#accounts.findOne({ _id: id });
    if (!account) throw notFound(`account: there is no account ${id}`);
    return account;
  }

  /** Those behind `after`, by their ids. */
  pageOfAccounts(limit: number, after = ""): Promise<StoredAccount[]> {
    return this.#accounts.find({ _id: { $gt: after } }, { sort: { _id: 1 }, limit }).toArray();
  }

  async createSpace(id: string, account: string, kind: SpaceKind): Promise<DataSpace> {
    if (!(await this.#accounts.findOne({ _id: account })) && !(this.#demo && account === DEMO_ACCOUNT.id)) {
      throw notFound(`account: there is no account ${account}`);
    }
    const space = { _id: id, account, kind, createTime: this.#now() };
    await insert(this.#spaces, space, `data space ${id}`);
    return space;
  }

  async loadSpace(id: string): Promise<DataSpace> {
    const space = await this.#spaces.findOne({ _id: id });
    if (!space) throw notFound(`dataspace: there is no data space ${id}`);
    return space;
  }

  /** Those behind `after`, by their ids; one account's, or all. */
  pageOfSpaces(limit: number, after = "", account?: string): Promise<DataSpace[]> {
    const filter = { ...(account !== undefined && { account }), _id: { $gt: after } };
    return this.#spaces.find(filter, { sort: { _id: 1 }, limit }).toArray();
  }

  /** The account's first data space of that kind, by ids. */
  async firstSpace(account: string, kind: SpaceKind): Promise<DataSpace | undefined> {
    const [stored] = await this.#spaces.find({ account, kind }, { sort: { _id: 1 }, limit: 1 }).toArray();
    const demo = this.#demo ? DEMO_SPACES.find((space) => space.account === account && space.kind === kind) : undefined;
    return stored ?? demo;
  }

  #seal(token: string): string {
    return seal(token, this.#keys[0]!);
  }

  async #keep<T extends Account | DataSpace>(key: string, load: () => Promise<T | undefined>): Promise<T | undefined> {
    const kept = this.#kept.get(key);
    if (kept && kept.until > performance.now()) return kept.value as T;
    const value = await load();
    if (this.#kept.size >= MAX_KEPT) this.#kept.clear();
    if (value) this.#kept.set(key, { value, until: performance.now() + FRESH_MS });
    else this.#kept.delete(key);
    return value;
  }
}

function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString("base64url");
}

async function insert<T extends { _id: string }>(collection: Collection<T>, document: T, what: string): Promise<void> {
  try {
    await collection.insertOne(document as never);
  } catch (error) {
    if (!isDuplicateKey(error)) throw error;
    throw new LongshoreError("ALREADY_EXISTS", `${what} is there already`, {}, { cause: error });
  }
}
