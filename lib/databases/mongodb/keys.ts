import type { Document } from "mongodb";
import { failedPrecondition } from "../../errors.ts";
import type { Session } from "./session.ts";
import { ask } from "./session.ts";

/** A workbook has 16,384 columns; documents with more keys than this have data in their keys. */
const MAX_KEYS = 1_000;

/** A key of the documents of a collection. */
export interface Key {
  name: string;
  /** What types its values have: `double`, `objectId`, … */
  types: string[];
  /** In how many documents it is. */
  documents: number;
}

/** The keys of all documents that a pipeline answers, in the order of their places: every document is looked at. */
export async function keysOf(
  session: Session,
  { collection, pipeline }: { collection: string; pipeline: readonly Document[] },
  maxTimeMS: number,
): Promise<Key[]> {
  const stages = [
    ...pipeline,
    { $project: { _id: 0, keys: { $objectToArray: "$$ROOT" } } },
    { $unwind: { path: "$keys", includeArrayIndex: "place" } },
    {
      $group: {
        _id: "$keys.k",
        place: { $min: "$place" },
        types: { $addToSet: { $type: "$keys.v" } },
        documents: { $sum: 1 },
      },
    },
    { $sort: { place: 1, _id: 1 } },
    { $limit: MAX_KEYS + 1 },
  ];
  const found = await ask(session, () =>
    session.database.collection(collection).aggregate(stages, { session: session.session, maxTimeMS }).toArray(),
  );
  if (found.length > MAX_KEYS)
    throw failedPrecondition(`the documents of ${collection} have more than ${MAX_KEYS} keys`);
  return found.map(({ _id, types, documents }) => ({
    name: _id as string,
    types: (types as string[]).toSorted(),
    documents: Number(documents),
  }));
}
