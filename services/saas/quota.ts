/** How much an account may ask: requests a second over all nodes, and its share of requests at a time on this one. */
import type { Collection, Datastore } from "../../lib/datastore/datastore.ts";
import type { Account } from "./account-store.ts";
import { refusal } from "./refusal.ts";

/** The requests of one account in one second of the datastore's clock. */
interface Second {
  _id: string;
  count: number;
  at: Date;
}

const SECOND_INDEXES = [{ key: { at: 1 }, name: "expiry", expireAfterSeconds: 60 }];

export class Quota {
  readonly #seconds: Collection<Second>;
  readonly #now: () => Date;
  /** How many nodes share what an account may do at a time. */
  readonly #nodes: () => number;
  readonly #running = new Map<string, number>();

  private constructor(seconds: Collection<Second>, now: () => Date, nodes: () => number) {
    this.#seconds = seconds;
    this.#now = now;
    this.#nodes = nodes;
  }

  static async open(datastore: Datastore, nodes: () => number): Promise<Quota> {
    const seconds = await datastore.collection<Second>("saas_seconds", SECOND_INDEXES);
    return new Quota(seconds, () => datastore.now(), nodes);
  }

  /** Does the work where the account may have it done now; throws QPS_LIMIT where not. */
  async within<T>(account: Account, work: () => Promise<T>): Promise<T> {
    const { id, concurrency } = account;
    const running = this.#running.get(id) ?? 0;
    if (concurrency > 0 && running >= Math.ceil(concurrency / Math.max(1, this.#nodes()))) {
      throw refusal("QPS_LIMIT", `account ${id} may have ${concurrency} requests at a time`);
    }
    this.#running.set(id, running + 1);
    try {
      await this.#count(account);
      return await work();
    } finally {
      const left = (this.#running.get(id) ?? 1) - 1;
      if (left > 0) this.#running.set(id, left);
      else this.#running.delete(id);
    }
  }

  async #count({ id, qps }: Account): Promise<void> {
    if (qps === 0) return;
    const at = this.#now();
    const _id = `${id}/${Math.floor(at.getTime() / 1_000)}`;
    const update = { $inc: { count: 1 }, $setOnInsert: { at } };
    const second = await this.#seconds.findOneAndUpdate({ _id }, update, { upsert: true, returnDocument: "after" });
    if ((second?.count ?? 1) > qps) throw refusal("QPS_LIMIT", `account ${id} may send ${qps} requests a second`);
  }
}
