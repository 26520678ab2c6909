import type { Document } from "mongodb";
import { BSON } from "mongodb";
import { invalidArgument } from "../../errors.ts";
import type { Selection } from "../database.ts";

/** An aggregation over one collection. */
export interface Aggregation {
  collection: string;
  pipeline: Document[];
  /** The columns, where the selection says them. */
  columns?: string[];
}

/** Of a table a `$match` and a `$project`, of a statement what it says: `{"aggregate": "orders", "pipeline": […]}`. */
export function aggregationOf(selection: Selection): Aggregation {
  if ("statement" in selection) return fromStatement(selection.statement);
  const { table, columns, filter } = selection;
  const pipeline: Document[] = [];
  if (filter !== undefined && filter.trim() !== "") pipeline.push({ $match: parseDocument(filter, "filter") });
  if (columns === undefined) return { collection: table, pipeline };
  if (columns.length === 0) throw invalidArgument("columns", "is empty");
  const named = columns.map((name): [string, unknown] => {
    if (name === "" || name.startsWith("$") || name.includes(".") || name.includes("\0"))
      throw invalidArgument("columns", `${JSON.stringify(name)} is not the name of a field`);
    return [name, 1];
  });
  pipeline.push({ $project: { ...(columns.includes("_id") ? {} : { _id: 0 }), ...Object.fromEntries(named) } });
  return { collection: table, pipeline, columns: [...columns] };
}

function fromStatement(text: string): Aggregation {
  const { aggregate, pipeline, ...others } = parseDocument(text, "statement");
  const [unknown] = Object.keys(others);
  if (unknown !== undefined)
    throw invalidArgument("statement", `has a field ${JSON.stringify(unknown)} beside aggregate and pipeline`);
  if (typeof aggregate !== "string" || aggregate === "")
    throw invalidArgument("statement", "aggregate must be the name of a collection");
  if (!Array.isArray(pipeline) || !pipeline.every(isDocument))
    throw invalidArgument("statement", "pipeline must be an array of stages");
  const stages = pipeline as Document[];
  const columns = projected(stages.at(-1)?.$project);
  return { collection: aggregate, pipeline: stages, ...(columns ? { columns } : {}) };
}

/** The fields that a last `$project` leaves, where it says what stays and not what goes. */
function projected(project: unknown): string[] | undefined {
  if (!isDocument(project)) return undefined;
  const fields = Object.entries(project).filter(([name]) => name !== "_id");
  if (fields.length === 0 || fields.some(([, value]) => isNo(value))) return undefined;
  const names = fields.map(([name]) => name.split(".")[0]!);
  return [...new Set(isNo(project._id) ? names : ["_id", ...names])];
}

function isNo(value: unknown): boolean {
  return value === false || value === 0 || value === 0n || (value instanceof BSON.Double && value.value === 0);
}

function parseDocument(text: string, field: string): Document {
  let value: unknown;
  try {
    value = BSON.EJSON.parse(text, { relaxed: true, useBigInt64: true });
  } catch (error) {
    throw invalidArgument(field, `is not EJSON (${(error as Error).message.slice(0, 200)})`);
  }
  if (!isDocument(value)) throw invalidArgument(field, "must be an object");
  return value;
}

function isDocument(value: unknown): value is Document {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !("_bsontype" in value);
}
