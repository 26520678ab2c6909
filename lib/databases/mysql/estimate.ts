import type { Session } from "./session.ts";
import { run } from "./session.ts";

/** Parts of a statement whose rows it answers; those of the others are read for these. */
const ANSWERING = new Set(["SIMPLE", "PRIMARY", "UNION"]);

/** How many rows EXPLAIN expects: of each part the product of what it reads of its tables. */
export async function expectedRows(session: Session, statement: string): Promise<number | undefined> {
  const { rows, fields } = await run(session, `EXPLAIN ${statement}`);
  const place = (name: string) => fields.findIndex((field) => field.name === name);
  const [id, kind, expected, filtered] = ["id", "select_type", "rows", "filtered"].map(place) as [
    number,
    number,
    number,
    number,
  ];
  const parts = new Map<unknown, number>();
  for (const row of rows as unknown[][]) {
    if (!ANSWERING.has(row[kind] as string)) continue;
    // Without a table there is one row, or as many as what is grouped: the tables of it count.
    const read = row[expected] === null ? 1 : Number(row[expected]);
    const kept = filtered < 0 || row[filtered] === null ? 1 : Number(row[filtered]) / 100;
    parts.set(row[id], (parts.get(row[id]) ?? 1) * read * kept);
  }
  if (parts.size === 0) return undefined;
  return Math.round([...parts.values()].reduce((sum, part) => sum + part));
}
