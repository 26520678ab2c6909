/** How far loads are, in the datastore: where one goes on after its node has died. */
import type { Collection, Datastore } from "../../../lib/datastore/datastore.ts";
import type { BadLine, LoadPlace } from "./load-batch.ts";
import type { LoadTask } from "./load-task.ts";

/** A load as far as it is applied. */
export interface Checkpoint {
  at: LoadPlace;
  /** Lines that held an item, and that did not. */
  good: number;
  bad: number;
}

export interface StoredLoad extends Checkpoint {
  /** The run of its task. */
  _id: string;
  /** Of all loads of its data space a later one has a greater number. */
  load: number;
  /** The first ones. */
  badLines: BadLine[];
  /** The key of the report of them. */
  report?: string;
}

/** How many loads of a data space have begun. */
interface Numbers {
  _id: string;
  load: number;
}

const START: Checkpoint = { at: { file: 0, block: 0, offset: 0, line: 0, position: 0 }, good: 0, bad: 0 };

export class LoadStore {
  readonly #loads: Collection<StoredLoad>;
  readonly #numbers: Collection<Numbers>;

  private constructor(loads: Collection<StoredLoad>, numbers: Collection<Numbers>) {
    this.#loads = loads;
    this.#numbers = numbers;
  }

  static async open(datastore: Datastore): Promise<LoadStore> {
    const loads = await datastore.collection<StoredLoad>("saas_loads");
    return new LoadStore(loads, await datastore.collection<Numbers>("saas_load_numbers"));
  }

  async find(run: string): Promise<StoredLoad | undefined> {
    return (await this.#loads.findOne({ _id: run })) ?? undefined;
  }

  /**
   * The load of a task that is RUNNING: where it was left, or as it begins. Its number is taken while no other load of the
   * account runs, so it is greater than that of any that ran before.
   */
  async begin({ run, space }: LoadTask): Promise<StoredLoad> {
    const known = await this.find(run);
    if (known) return known;
    const options = { upsert: true, returnDocument: "after" } as const;
    const numbers = await this.#numbers.findOneAndUpdate({ _id: space }, { $inc: { load: 1 } }, options);
    const update = { $setOnInsert: { load: numbers!.load, badLines: [], ...START } };
    return (await this.#loads.findOneAndUpdate({ _id: run }, update, options))!;
  }

  /** Bad lines only where there are more of them. False where the load is not there any more. */
  async keep(run: string, checkpoint: Checkpoint, badLines?: readonly BadLine[]): Promise<boolean> {
    const set = { ...checkpoint, ...(badLines && { badLines: [...badLines] }) };
    return (await this.#loads.updateOne({ _id: run }, { $set: set })).matchedCount === 1;
  }

  /** False where the load is not there any more. */
  async keepReport(run: string, report: string): Promise<boolean> {
    return (await this.#loads.updateOne({ _id: run }, { $set: { report } })).matchedCount === 1;
  }

  async remove(run: string): Promise<void> {
    await this.#loads.deleteOne({ _id: run });
  }
}
